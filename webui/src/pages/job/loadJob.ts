import { getJob, getProgress } from "../../api/jobs";
import type { InlineProgress, Job } from "../../api/types";

const FULL_EVERY_MS = 10_000;

export interface LoadedJob {
  job: Job;
  /** When the whole record was last read, ms since the epoch. */
  fullAt: number;
}

/**
 * The job as of now. Moving values come from the small progress route, which also makes the server ask the provider;
 * the whole record is read again when its state moved, and every ten seconds for the fields progress does not carry.
 */
export async function loadJob(
  jobId: string,
  previous: LoadedJob | undefined,
  now: number,
  signal: AbortSignal,
): Promise<LoadedJob> {
  if (!previous || previous.job.is_terminal || now - previous.fullAt >= FULL_EVERY_MS) {
    return { job: await getJob(jobId, signal), fullAt: now };
  }
  const progress = await getProgress(jobId, signal);
  if (moved(previous.job, progress)) return { job: await getJob(jobId, signal), fullAt: now };
  return { job: withProgress(previous.job, progress), fullAt: previous.fullAt };
}

const moved = (job: Job, progress: InlineProgress) =>
  job.status !== progress.status || job.phase !== progress.phase || progress.updated_at < job.updated_at;

/** The record with the values of a progress answer put over it. */
export function withProgress(job: Job, progress: InlineProgress): Job {
  return {
    ...job,
    cost_usd: progress.cost_usd,
    cancel_requested: progress.cancel_requested,
    last_confirmed_at: progress.last_confirmed_at,
    updated_at: progress.updated_at,
    progress: {
      ...job.progress,
      step: progress.step,
      total_steps: progress.total_steps,
      percent: progress.progress,
      loss: progress.loss,
      learning_rate: progress.learning_rate,
      eta_seconds: progress.eta_seconds,
      stage: progress.stage,
      last_line: progress.last_log,
    },
  };
}
