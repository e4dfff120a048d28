/** Readings of a job record that more than one place needs. */

import type { Job } from "./api/types";

export const jobName = (job: Job): string => job.run_name ?? job.config_name ?? job.job_id;

/** The steps of the time line, in order. */
export const TIMELINE = [
  "submitted",
  "preparing",
  "launching",
  "training",
  "collecting",
  "delivering",
  "verifying",
  "finished",
] as const;
export type TimelineStep = (typeof TIMELINE)[number];
export type StepState = "done" | "now" | "open" | "stopped";

/**
 * How far a job got. An active job's phase says it; a completed one did everything; of a job that ended early only
 * facts count that prove a step was reached (it started, files arrived), because its phase is "finished" by then.
 */
export function timeline(job: Job): { step: TimelineStep; state: StepState }[] {
  const reached = TIMELINE.indexOf(furthest(job));
  return TIMELINE.map((step, index) => {
    if (job.status === "completed" || index < reached) return { step, state: "done" };
    if (index > reached) return { step, state: "open" };
    return { step, state: job.is_active ? "now" : "stopped" };
  });
}

function furthest(job: Job): TimelineStep {
  if (job.is_active) return job.phase;
  if (job.status === "completed") return "finished";
  if (job.delivery.files > 0) return "delivering";
  if (job.started_at !== null || job.progress.step !== null) return "training";
  return job.metadata.prediction_id ? "launching" : "preparing";
}
