import { afterEach, describe, expect, it, vi } from "vitest";
import { ApiError, access, admitted, request, setAccessToken } from "./client";

const answering =
  (status: number, body: unknown, headers: Record<string, string> = {}): typeof fetch =>
  async () =>
    new Response(typeof body === "string" ? body : JSON.stringify(body), { status, headers });

const failure = (promise: Promise<unknown>): Promise<ApiError> =>
  promise.then(
    () => {
      throw new Error("expected a failure");
    },
    (error: unknown) => {
      if (error instanceof ApiError) return error;
      throw error;
    },
  );

afterEach(() => {
  setAccessToken(null);
  admitted(false);
  vi.unstubAllGlobals();
});

describe("request", () => {
  it("leaves out empty query values and sends JSON", async () => {
    let asked: { url: string; init: RequestInit } | null = null;
    const spy: typeof fetch = async (url, init) => {
      asked = { url: String(url), init: init ?? {} };
      return new Response('{"ok":true}');
    };
    const query = { limit: 50, status: null, cursor: undefined, q: "a b" };
    await expect(request("POST", "/x", { query, body: { n: 1 }, fetch: spy })).resolves.toEqual({ ok: true });
    expect(asked).toMatchObject({ url: "/x?limit=50&q=a+b", init: { method: "POST", body: '{"n":1}' } });
  });

  it("turns a problem document into an ApiError", async () => {
    const body = {
      title: "Conflict",
      detail: "The job has ended.",
      code: "invalid_job_state",
      request_id: "r-1",
      errors: [{ field: "job", message: "ended" }],
    };
    const error = await failure(
      request("GET", "/x", { fetch: answering(409, body, { "Retry-After": "3" }) }),
    );
    expect(error).toMatchObject({
      message: "The job has ended.",
      status: 409,
      code: "invalid_job_state",
      requestId: "r-1",
      fields: [{ field: "job", message: "ended" }],
      retryAfterSeconds: 3,
      permanent: true,
    });
  });

  it("survives error pages and half-started stacks that do not speak JSON", async () => {
    const gateway = await failure(request("GET", "/x", { fetch: answering(502, "<html>Bad gateway") }));
    expect(gateway).toMatchObject({ status: 502, code: "http_502", permanent: false });
    const page = await failure(request("GET", "/x", { fetch: answering(200, "<!doctype html>") }));
    expect(page.kind).toBe("format");
  });

  it("tells a lost network from a caller that left", async () => {
    const down: typeof fetch = async () => {
      throw new TypeError("Failed to fetch");
    };
    expect((await failure(request("GET", "/x", { fetch: down }))).kind).toBe("network");
    const left = AbortSignal.abort();
    await expect(request("GET", "/x", { fetch: down, signal: left })).rejects.toBe(left.reason);
  });

  it("asks to sign in after a 401, but not for the late 401 of an older caller", async () => {
    await failure(request("GET", "/x", { fetch: answering(401, {}) }));
    expect(access.needed.value).toBe(true);
    const late: typeof fetch = async () => {
      admitted(false);
      return new Response("{}", { status: 401 });
    };
    await failure(request("GET", "/x", { fetch: late }));
    expect(access.needed.value).toBe(false);
  });
});

/** A server whose session ends: `/api/auth/refresh` begins another one when `renews`. */
function sessions(renews: boolean) {
  vi.stubGlobal("document", { cookie: "theme=dark; stc_csrf=canary-csrf" });
  const asked: string[] = [];
  let good = false;
  const server: typeof fetch = async (url, init) => {
    const headers = init?.headers as Record<string, string>;
    asked.push(`${init?.method} ${url} ${headers["X-CSRF-Token"] ?? "-"}`);
    if (String(url) === "/api/auth/refresh") {
      good = renews;
      return new Response("{}", { status: renews ? 200 : 401 });
    }
    return new Response("{}", { status: good ? 200 : 401 });
  };
  return { asked, server };
}

describe("a session in cookies", () => {
  it("is renewed once for all calls that find it ended, and what was asked is asked again", async () => {
    const { asked, server } = sessions(true);
    await Promise.all([
      request("POST", "/x", { body: {}, fetch: server }),
      request("GET", "/y", { fetch: server }),
    ]);
    expect(asked.filter((line) => line === "POST /api/auth/refresh canary-csrf")).toHaveLength(1);
    expect(asked.filter((line) => line === "POST /x canary-csrf")).toHaveLength(2);
    expect(asked.filter((line) => line === "GET /y -")).toHaveLength(2);
    expect(access.needed.value).toBe(false);
  });

  it("that can't be renewed asks to sign in, once a call", async () => {
    const { asked, server } = sessions(false);
    expect((await failure(request("GET", "/y", { fetch: server }))).status).toBe(401);
    expect(asked).toEqual(["GET /y -", "POST /api/auth/refresh canary-csrf"]);
    expect(access.needed.value).toBe(true);
  });

  it("is neither renewed nor proven where a key is used", async () => {
    const { asked, server } = sessions(true);
    setAccessToken("stk_canary");
    await failure(request("DELETE", "/x", { fetch: server }));
    expect(asked).toEqual(["DELETE /x -"]);
    expect(access.rejected.value).toBe(true);
  });

  it("has nothing to renew without its cookie, and an anonymous call asks nobody", async () => {
    const { asked, server } = sessions(true);
    await failure(request("POST", "/login", { body: {}, anonymous: true, fetch: server }));
    expect(access.needed.value).toBe(false);
    vi.stubGlobal("document", { cookie: "" });
    await failure(request("GET", "/y", { fetch: server }));
    expect(asked).toEqual(["POST /login canary-csrf", "GET /y -"]);
    expect(access.needed.value).toBe(true);
  });

  it("whose cookies are gone asks to sign in", async () => {
    await failure(request("POST", "/x", { fetch: answering(403, { code: "csrf_failed" }) }));
    expect(access.needed.value).toBe(true);
  });
});
