import { request } from "./client";
import type {
  CancelResult,
  EventPage,
  InlineProgress,
  Job,
  JobConfig,
  JobPage,
  JobStatus,
  LogPage,
  Outputs,
} from "./types";

export const LOG_PAGE_MAX = 1_048_576;

const base = "/api/cloud/jobs";
const one = (jobId: string, part = "") => `${base}/${encodeURIComponent(jobId)}${part}`;

export interface JobQuery {
  limit: number;
  status?: JobStatus | null;
  /** `next` of the page before. */
  cursor?: string | null;
  /** Ask the server to confirm active jobs with the provider before it answers. */
  syncActive?: boolean;
}

export const listJobs = (query: JobQuery, signal?: AbortSignal, timeoutMs?: number) =>
  request<JobPage>("GET", base, {
    query: {
      limit: query.limit,
      status: query.status,
      cursor: query.cursor,
      sync_active: query.syncActive || null,
    },
    ...opt(signal),
    ...(timeoutMs ? { timeoutMs } : {}),
  });

export const getJob = (jobId: string, signal?: AbortSignal) =>
  request<{ job: Job }>("GET", one(jobId), opt(signal)).then((body) => body.job);

/** Cheaper than the whole job, and makes the server ask the provider when its own state is older than 2 s. */
export const getProgress = (jobId: string, signal?: AbortSignal) =>
  request<InlineProgress>("GET", one(jobId, "/inline-progress"), opt(signal));

/** The raw log from byte `offset`, at most `limit` bytes. An offset behind the end is refused (400). */
export const getLogs = (jobId: string, at: { offset: number; limit?: number }, signal?: AbortSignal) =>
  request<LogPage>("GET", one(jobId, "/logs"), { query: { ...at }, ...opt(signal) });

export const getEvents = (jobId: string, after: number, signal?: AbortSignal) =>
  request<EventPage>("GET", one(jobId, "/events"), { query: { after, limit: 200 }, ...opt(signal) });

/** What the job was launched with. */
export const getJobConfig = (jobId: string, signal?: AbortSignal) =>
  request<JobConfig>("GET", one(jobId, "/config"), opt(signal));

const OUTPUT_PAGES_MAX = 50;

/** All files of the job, however many pages they take. */
export async function getOutputs(jobId: string, signal?: AbortSignal): Promise<Outputs> {
  const files: Outputs["files"] = [];
  let after: string | null = null;
  for (let page = 0; ; page++) {
    const part: Outputs = await request("GET", one(jobId, "/outputs"), { query: { after }, ...opt(signal) });
    files.push(...part.files);
    after = part.next ?? null;
    if (after === null || page === OUTPUT_PAGES_MAX) return { ...part, files };
  }
}

export const cancelJob = (jobId: string) => request<CancelResult>("POST", one(jobId, "/cancel"));

export const deleteJob = (jobId: string) => request<{ success: boolean }>("DELETE", one(jobId));

const opt = (signal: AbortSignal | undefined) => (signal ? { signal } : {});
