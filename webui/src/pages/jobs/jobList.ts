/**
 * The list of jobs as pages come and go. Pure.
 *
 * The first page is asked for again and again; further ones are read once, by cursor, when somebody wants more. Rows
 * are one list by id, newest first, so a job that moved from the first page to the second is neither lost nor doubled.
 */

import type { Job, JobPage } from "../../api/types";

export interface JobList {
  jobs: Job[];
  /** Cursor of the next older page; null when the oldest job is here. */
  next: string | null;
}

const newestFirst = (a: Job, b: Job) =>
  Date.parse(b.created_at) - Date.parse(a.created_at) || b.job_id.localeCompare(a.job_id);

/** The list from its first page alone. */
export const fromPage = (page: JobPage): JobList => ({
  jobs: page.jobs.toSorted(newestFirst),
  next: page.next ?? null,
});

/**
 * The list after its first page was read again. Older rows stay, except when the first page no longer reaches them
 * (so many new jobs came that there would be a hole): then the list starts over.
 */
export function withFirstPage(list: JobList, page: JobPage): JobList {
  const first = fromPage(page);
  const last = first.jobs.at(-1);
  if (first.next === null || !last) return first;
  const older = list.jobs.filter((job) => newestFirst(job, last) > 0);
  const known = new Set(list.jobs.map((job) => job.job_id));
  const touches = first.jobs.some((job) => known.has(job.job_id));
  if (older.length === 0 || !touches) return first;
  return { jobs: [...first.jobs, ...older], next: list.next };
}

/** The list with a further page behind it. */
export function withOlderPage(list: JobList, page: JobPage): JobList {
  const known = new Set(list.jobs.map((job) => job.job_id));
  const added = page.jobs.filter((job) => !known.has(job.job_id));
  return { jobs: [...list.jobs, ...added].toSorted(newestFirst), next: page.next ?? null };
}

/** The list with one job read again, or without it when it is gone. */
export function withJob(list: JobList, jobId: string, job: Job | null): JobList {
  const jobs = list.jobs.flatMap((row) => (row.job_id === jobId ? (job ? [job] : []) : [row]));
  return { ...list, jobs };
}

/** Active jobs beyond the first page, which reading it again does not bring up to date. */
export function activeBeyond(list: JobList, firstPage: JobPage): Job[] {
  const first = new Set(firstPage.jobs.map((job) => job.job_id));
  return list.jobs.filter((job) => job.is_active && !first.has(job.job_id));
}

/**
 * Which rows to draw: all, or, while somebody is reading further down, those known when they began. A row that is new
 * would push the others away under their eyes; it waits.
 */
export function shownRows(jobs: Job[], held: ReadonlySet<string> | null): { rows: Job[]; waiting: number } {
  if (!held) return { rows: jobs, waiting: 0 };
  const oldestHeld = jobs.findLastIndex((job) => held.has(job.job_id));
  // New rows above are held back; those below are pages asked for.
  const rows = jobs.filter((job, index) => held.has(job.job_id) || index > oldestHeld);
  return { rows, waiting: jobs.length - rows.length };
}
