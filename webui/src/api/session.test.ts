import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { access, usesKey } from "./client";
import { answer, caller, firstAdmin, recognize, signIn, signOut, useKey } from "./session";

const ADA = { id: "1", username: "ada", role: "admin" };
let asked: { line: string; body: unknown; authorization: string | undefined }[] = [];

function serving(answers: Record<string, [number, unknown]>): void {
  vi.stubGlobal("fetch", async (url: string, init: RequestInit) => {
    const headers = init.headers as Record<string, string>;
    const body = init.body ? JSON.parse(String(init.body)) : null;
    asked.push({ line: `${init.method} ${url}`, body, authorization: headers.Authorization });
    const [status, content] = answers[String(url)] ?? [404, {}];
    return new Response(JSON.stringify(content), { status });
  });
}

beforeEach(() => {
  asked = [];
  caller.value = null;
  access.needed.value = true;
});
afterEach(() => vi.unstubAllGlobals());

describe("signing in", () => {
  it("puts the session into cookies and starts over for somebody else, but not for the same person", async () => {
    serving({ "/api/auth/login": [200, { success: true, user: ADA }] });
    const [changes, renewals] = [access.changes.value, access.renewals.value];
    expect(await signIn("ada", "canary")).toBeNull();
    expect(asked[0]?.body).toEqual({ username: "ada", password: "canary", session: "cookie" });
    expect([access.needed.value, access.changes.value, access.renewals.value]).toEqual([
      false,
      changes + 1,
      renewals,
    ]);
    await signIn("ada", "canary");
    expect([access.changes.value, access.renewals.value]).toEqual([changes + 1, renewals + 1]);
  });

  it("goes on with the next step", async () => {
    const challenge = { name: "SOFTWARE_TOKEN_MFA", session: "s", message: "" };
    serving({
      "/api/auth/login": [200, { success: false, challenge }],
      "/api/auth/login/challenge": [200, { success: true, user: ADA }],
    });
    const step = await signIn("ada", "canary");
    expect(step).toMatchObject({ name: "SOFTWARE_TOKEN_MFA", username: "ada" });
    expect(caller.value).toBeNull();
    if (step) expect(await answer(step, "246810")).toBeNull();
    expect(asked[1]?.body).toMatchObject({
      challenge: "SOFTWARE_TOKEN_MFA",
      challenge_session: "s",
      answer: "246810",
    });
    expect(caller.value).toMatchObject(ADA);
  });

  it("that is refused changes nothing", async () => {
    serving({ "/api/auth/login": [401, { code: "invalid_credentials" }] });
    await expect(signIn("ada", "wrong")).rejects.toMatchObject({ status: 401 });
    expect([access.needed.value, caller.value]).toEqual([true, null]);
  });

  it("follows on the first admin", async () => {
    serving({
      "/api/auth/setup/first-admin": [200, { success: true }],
      "/api/auth/login": [200, { success: true, user: ADA }],
    });
    await firstAdmin({ username: "ada", email: "a@b.c", password: "canary", setup_code: "setup_1" });
    expect(asked.map((one) => one.line)).toEqual([
      "POST /api/auth/setup/first-admin",
      "POST /api/auth/login",
    ]);
  });
});

describe("a key", () => {
  it("is kept only when the server takes it", async () => {
    serving({ "/api/auth/me": [401, {}] });
    await expect(useKey("stk_wrong")).rejects.toMatchObject({ status: 401 });
    expect(usesKey()).toBe(false);
    serving({ "/api/auth/me": [200, { ...ADA, kind: "key" }] });
    await useKey("stk_canary");
    expect(asked.at(-1)?.authorization).toBe("Bearer stk_canary");
    expect([usesKey(), caller.value?.kind]).toEqual([true, "key"]);
    await signOut(); // only forgotten here: it stays good
    expect([usesKey(), asked.length, access.needed.value]).toEqual([false, 2, true]);
  });

  it("gives way to a session", async () => {
    serving({
      "/api/auth/me": [200, { ...ADA, kind: "key" }],
      "/api/auth/login": [200, { success: true, user: ADA }],
    });
    await useKey("stk_canary");
    await signIn("ada", "canary");
    await recognize();
    expect([usesKey(), asked.at(-1)?.authorization]).toEqual([false, undefined]);
  });
});

describe("signing out", () => {
  it("ends the session at the server, or says that it goes on", async () => {
    caller.value = ADA as never;
    serving({ "/api/auth/logout": [503, { code: "unavailable" }] });
    await expect(signOut()).rejects.toMatchObject({ status: 503 });
    expect(caller.value).not.toBeNull();
    serving({ "/api/auth/logout": [200, { success: true }] });
    await signOut();
    expect([caller.value, access.needed.value]).toEqual([null, true]);
  });

  it("is done when the browser has lost the session's cookies", async () => {
    serving({ "/api/auth/logout": [403, { code: "csrf_failed" }] });
    await signOut();
    expect(access.needed.value).toBe(true);
  });
});
