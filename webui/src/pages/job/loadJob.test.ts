import { afterEach, describe, expect, it, vi } from "vitest";
import type { InlineProgress, Job } from "../../api/types";
import { type LoadedJob, loadJob } from "./loadJob";

const NOW = 1_000_000;
const job = {
  job_id: "j1",
  status: "running",
  phase: "training",
  is_active: true,
  is_terminal: false,
  cancel_requested: false,
  last_confirmed_at: "2026-11-24T10:00:00Z",
  updated_at: "2026-11-24T10:00:00Z",
  cost_usd: 0.1,
  run_name: "kept",
  progress: { step: 1, percent: 1, checkpoint_count: 2 },
} as Job;
const progress = {
  job_id: "j1",
  status: "running",
  phase: "training",
  cancel_requested: true,
  last_confirmed_at: "2026-11-24T10:00:04Z",
  updated_at: "2026-11-24T10:00:05Z",
  cost_usd: 0.2,
  step: 5,
  progress: 50,
} as InlineProgress;

/** Answers the two routes; the list says which were asked. */
function serve(answers: { job?: Job; progress?: InlineProgress }): string[] {
  const asked: string[] = [];
  vi.stubGlobal("fetch", async (path: string) => {
    asked.push(path);
    const body = path.endsWith("/inline-progress") ? answers.progress : { job: answers.job };
    return new Response(JSON.stringify(body));
  });
  return asked;
}

const load = (previous: LoadedJob | undefined, now = NOW) =>
  loadJob("j1", previous, now, new AbortController().signal);

afterEach(() => vi.unstubAllGlobals());

describe("loadJob", () => {
  it("puts what moved over the record, a cancellation made elsewhere too", async () => {
    const asked = serve({ progress });
    const loaded = await load({ job, fullAt: NOW - 2_000 });
    expect(asked).toEqual(["/api/cloud/jobs/j1/inline-progress"]);
    expect(loaded.fullAt).toBe(NOW - 2_000);
    expect(loaded.job).toMatchObject({
      cancel_requested: true,
      last_confirmed_at: "2026-11-24T10:00:04Z",
      cost_usd: 0.2,
      run_name: "kept",
      progress: { step: 5, percent: 50, checkpoint_count: 2 },
    });
  });

  it("reads the whole record when the state moved", async () => {
    const ended = { ...job, status: "cancelled", phase: "finished" } as Job;
    const asked = serve({ job: ended, progress: { ...progress, status: "cancelled", phase: "finished" } });
    expect(await load({ job, fullAt: NOW - 2_000 })).toEqual({ job: ended, fullAt: NOW });
    expect(asked).toEqual(["/api/cloud/jobs/j1/inline-progress", "/api/cloud/jobs/j1"]);
  });

  it("reads the whole record at first, every ten seconds, and of a job that is over", async () => {
    const over = { ...job, is_terminal: true } as Job;
    for (const previous of [undefined, { job, fullAt: NOW - 10_000 }, { job: over, fullAt: NOW }]) {
      const asked = serve({ job });
      await load(previous);
      expect(asked).toEqual(["/api/cloud/jobs/j1"]);
    }
  });
});
