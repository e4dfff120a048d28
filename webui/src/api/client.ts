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
 * The access token of a hosted stack. It lives in this tab's memory only: storage can be read by anything that gets
 * to run on the page. `rejected` is true while the token given is not taken; `changes` counts up so that pollers ask
 * again after it was set.
 */
export const access = { needed: signal(false), rejected: signal(false), changes: signal(0) };
let bearer: string | null = null;

/** Use this token for all further calls of this tab. */
export function setAccessToken(token: string): void {
  bearer = token;
  access.needed.value = false;
  access.rejected.value = false;
  access.changes.value += 1;
}

export interface RequestOptions {
  query?: Record<string, string | number | boolean | null | undefined>;
  body?: unknown;
  signal?: AbortSignal;
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
  const headers: Record<string, string> = { Accept: "application/json" };
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  if (options.body !== undefined) headers["Content-Type"] = "application/json";
  const sentAt = access.changes.value;
  try {
    const response = await (options.fetch ?? fetch)(path + queryString(options.query), {
      method,
      headers,
      body: options.body === undefined ? null : JSON.stringify(options.body),
      signal: abort,
      credentials: "same-origin",
      cache: "no-store",
    });
    if (!response.ok) throw await problem(response, sentAt);
    return await parse<T>(response);
  } catch (error) {
    if (error instanceof ApiError) throw error;
    options.signal?.throwIfAborted();
    if (timeout.aborted) throw new ApiError("The server did not answer in time.", { kind: "timeout" });
    throw new ApiError("The server can't be reached.", { kind: "network" });
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

async function problem(response: Response, sentAt: number): Promise<ApiError> {
  // A late 401 of the old token must not ask again for the one just given.
  if (response.status === 401 && sentAt === access.changes.value) {
    access.needed.value = true;
    access.rejected.value = bearer !== null;
  }
  const body = await bodyOf(response);
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
