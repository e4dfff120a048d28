import { type JobQuery, listJobs } from "../../api/jobs";
import type { JobPage } from "../../api/types";

/** How often the provider is asked about the active jobs on the page. */
const CONFIRM_EVERY_MS = 15_000;
/** A slow provider must not keep the list from being read. */
const CONFIRM_TIMEOUT_MS = 10_000;

/** Reads first pages; remembers when the provider was asked last. */
export class PageReader {
  private confirmedAt = Number.NEGATIVE_INFINITY;

  /**
   * The first page. From time to time the server confirms active jobs with the provider first: otherwise their numbers
   * only move when the workflow looks, minutes apart in a long training. What the provider does not give in time is
   * left out. Rejects as `listJobs` does.
   */
  async read(query: JobQuery, previous: JobPage | undefined, now: number, signal: AbortSignal) {
    const due = now - this.confirmedAt >= CONFIRM_EVERY_MS;
    if (!due || !previous?.jobs.some((job) => job.is_active)) return listJobs(query, signal);
    this.confirmedAt = now;
    try {
      return await listJobs({ ...query, syncActive: true }, signal, CONFIRM_TIMEOUT_MS);
    } catch {
      signal.throwIfAborted();
      return listJobs(query, signal); // fails with a reason of its own if that is the server's
    }
  }
}
