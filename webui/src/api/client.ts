/** The one fetch wrapper: same origin, JSON, a timeout on every call, problem documents as `ApiError`. */

import { signal } from "@preact/signals";

const DEFAULT_TIMEOUT_MS = 30_000;
const RETRYABLE = new Set([408, 425, 429]);

export type ApiErrorKind = "http" | "network" | "timeout" | "format";

export interface FieldError {
  field: string;
  message: string;
}

export interface ApiErrorInit {
  kind: ApiErrorKind;
  status?: number;
  code?: string;
  requestId?: string | null;
  fields?: FieldError[];
  retryAfterSeconds?: number | null;
}

/** A call that did not give the answer asked for. `message` is the server's own sentence when there is one. */
export class ApiError extends Error {
  readonly kind: ApiErrorKind;
  /** HTTP status; 0 when no answer came. */
  readonly status: number;
  readonly code: string;
  readonly requestId: string | null;
  readonly fields: FieldError[];
  readonly retryAfterSeconds: number | null;

  constructor(message: string, init: ApiErrorInit) {
    super(message);
    this.name = "ApiError";
    this.kind = init.kind;
    this.status = init.status ?? 0;
    this.code = init.code ?? init.kind;
    this.requestId = init.requestId ?? null;
    this.fields = init.fields ?? [];
    this.retryAfterSeconds = init.retryAfterSeconds ?? null;
  }

  /** True when asking again with the same request can't help (not found, not allowed, bad request). */
  get permanent(): boolean {
    return this.status >= 400 && this.status < 500 && !RETRYABLE.has(this.status);
  }
}

/**
 * Whether this tab may ask. A session lies in cookies that no script can read; a key that was typed lives in this tab's
 * memory only, since storage can be read by anything that gets to run on the page.
 *
 * `needed`: nobody is signed in (any more). `rejected`: the key given is not taken. `changes` counts callers: pollers
 * start over, since what they know is somebody else's. `renewals` counts new sessions of the same caller: pollers ask
 * again and keep what they show.
 */
export const access = {
  needed: signal(false),
  rejected: signal(false),
  changes: signal(0),
  renewals: signal(0),
};
let bearer: string | null = null;

/** Send this key or token with all further calls of this tab; null goes back to the cookies. */
export function setAccessToken(token: string | null): void {
  bearer = token || null;
}

/** Somebody is signed in. `same`: who was before. */
export function admitted(same: boolean): void {
  const counter = same ? access.renewals : access.changes;
  access.needed.value = false;
  access.rejected.value = false;
  counter.value += 1;
}

export const usesKey = (): boolean => bearer !== null;

export interface RequestOptions {
  query?: Record<string, string | number | boolean | null | undefined>;
  body?: unknown;
  signal?: AbortSignal;
  /** A 401 is an answer like others: nobody is asked to sign in, and no session is renewed. */
  anonymous?: boolean;
  timeoutMs?: number;
  /** For tests; the browser's fetch otherwise. */
  fetch?: typeof fetch;
}

type Method = "GET" | "POST" | "PUT" | "DELETE";

/**
 * Ask the API. Resolves with the parsed JSON body.
 *
 * Rejects with `ApiError`, or with the caller's own abort reason when `signal` was aborted.
 */
export async function request<T>(method: Method, path: string, options: RequestOptions = {}): Promise<T> {
  const timeout = AbortSignal.timeout(options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
  const abort = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout;
  const sentAt = access.changes.value + access.renewals.value;
  const send = () => sendOnce(method, path, options, abort);
  try {
    let response = await send();
    if (response.status === 401 && !options.anonymous && (await renewed(options.fetch ?? fetch))) {
      response = await send();
    }
    if (!response.ok) throw await problem(response, options.anonymous ? null : sentAt);
    return await parse<T>(response);
  } catch (error) {
    if (error instanceof ApiError) throw error;
    options.signal?.throwIfAborted();
    if (timeout.aborted) throw new ApiError("The server did not answer in time.", { kind: "timeout" });
    throw new ApiError("The server can't be reached.", { kind: "network" });
  }
}

function sendOnce(
  method: Method,
  path: string,
  options: RequestOptions,
  abort: AbortSignal,
): Promise<Response> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  else if (method !== "GET") Object.assign(headers, csrfHeader());
  if (options.body !== undefined) headers["Content-Type"] = "application/json";
  return (options.fetch ?? fetch)(path + queryString(options.query), {
    method,
    headers,
    body: options.body === undefined ? null : JSON.stringify(options.body),
    signal: abort,
    credentials: "same-origin",
    cache: "no-store",
  });
}

const CSRF_COOKIE = "stc_csrf";

/** What proves that our own page sends a request: only it can read this cookie. Empty without a session. */
function csrfHeader(): Record<string, string> {
  const token = csrfToken();
  return token ? { "X-CSRF-Token": token } : {};
}

function csrfToken(): string | null {
  if (typeof document === "undefined") return null;
  const found = document.cookie.split("; ").find((pair) => pair.startsWith(`${CSRF_COOKIE}=`));
  return found?.slice(CSRF_COOKIE.length + 1) || null;
}

let renewing: Promise<boolean> | null = null;

/**
 * Gets the next 15 minutes of the session, whose refresh token lies in a cookie. True when the call may be repeated.
 * All calls that fail at the same time wait for the same renewal.
 */
function renewed(ask: typeof fetch): Promise<boolean> {
  if (bearer !== null || csrfToken() === null) return Promise.resolve(false);
  renewing ??= renew(ask).finally(() => {
    renewing = null;
  });
  return renewing;
}

async function renew(ask: typeof fetch): Promise<boolean> {
  try {
    const response = await ask("/api/auth/refresh", {
      method: "POST",
      headers: { Accept: "application/json", "Content-Type": "application/json", ...csrfHeader() },
      body: "{}",
      signal: AbortSignal.timeout(DEFAULT_TIMEOUT_MS),
      credentials: "same-origin",
      cache: "no-store",
    });
    return response.ok;
  } catch {
    return false; // the caller's own 401 says it
  }
}

function queryString(query: RequestOptions["query"]): string {
  const entries = Object.entries(query ?? {}).filter(([, value]) => value !== null && value !== undefined);
  return entries.length ? `?${new URLSearchParams(entries.map(([key, value]) => [key, String(value)]))}` : "";
}

async function parse<T>(response: Response): Promise<T> {
  const text = await response.text();
  try {
    return JSON.parse(text) as T;
  } catch {
    // A page of a proxy or of a half-started stack: 200, but not ours.
    throw new ApiError("The answer was not JSON.", { kind: "format", status: response.status });
  }
}

/** `sentAt` null: a call whose refusal asks nobody to sign in. */
async function problem(response: Response, sentAt: number | null): Promise<ApiError> {
  const body = await bodyOf(response);
  // Cookies of the session are gone from this browser: as good as no session.
  const nobody = response.status === 401 || body.code === "csrf_failed";
  // A late 401 of the old caller must not ask again for the one just admitted.
  if (nobody && sentAt === access.changes.value + access.renewals.value) {
    access.rejected.value = bearer !== null;
    access.needed.value = true;
  }
  const retryAfter = Number.parseFloat(response.headers.get("Retry-After") ?? "");
  return new ApiError(text(body.detail) ?? text(body.title) ?? `HTTP ${response.status}`, {
    kind: "http",
    status: response.status,
    code: text(body.code) ?? `http_${response.status}`,
    requestId: text(body.request_id) ?? response.headers.get("x-amzn-requestid"),
    fields: Array.isArray(body.errors) ? (body.errors as FieldError[]) : [],
    retryAfterSeconds: Number.isFinite(retryAfter) ? retryAfter : null,
  });
}

async function bodyOf(response: Response): Promise<Record<string, unknown>> {
  const raw = await response.text();
  try {
    const body: unknown = JSON.parse(raw);
    return typeof body === "object" && body !== null ? (body as Record<string, unknown>) : {};
  } catch {
    return {}; // an HTML error page; the status says enough
  }
}

const text = (value: unknown): string | null => (typeof value === "string" && value !== "" ? value : null);
