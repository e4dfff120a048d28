import { afterEach, describe, expect, it } from "vitest";
import { ApiError, access, request, setAccessToken } from "./client";

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

afterEach(() => setAccessToken(""));

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

  it("asks for a token after a 401, but not for the late 401 of an older one", async () => {
    await failure(request("GET", "/x", { fetch: answering(401, {}) }));
    expect(access.needed.value).toBe(true);
    const late: typeof fetch = async () => {
      setAccessToken("fresh");
      return new Response("{}", { status: 401 });
    };
    await failure(request("GET", "/x", { fetch: late }));
    expect(access.needed.value).toBe(false);
  });
});
