import { type ReadonlySignal, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { ApiError } from "../../api/client";
import { getJob, listJobs } from "../../api/jobs";
import type { Job, JobPage, JobStatus } from "../../api/types";
import type { PollState } from "../../live/poller";
import { usePoll } from "../../live/usePoll";
import { activeBeyond, fromPage, type JobList, withFirstPage, withJob, withOlderPage } from "./jobList";
import { PageReader } from "./readPage";

const PAGE = 50;
const BUSY_MS = 5_000;
const CALM_MS = 30_000;
/** Active jobs beyond the first page that are looked at again in each round. */
const REFRESHED = 10;
/** From here on somebody reads further down: new rows wait instead of pushing the others away. */
const READING_PX = 160;

export interface Jobs {
  state: ReadonlySignal<PollState<JobPage>>;
  list: ReadonlySignal<JobList>;
  /** The rows a reader has before their eyes while they read further down, else null. */
  held: ReadonlySignal<ReadonlySet<string> | null>;
  release: () => void;
  refresh: () => void;
  /** Asks the server to confirm active jobs with the provider. Resolves `onSynced` once it has. */
  sync: (onSynced: () => void) => void;
  loadMore: () => Promise<void>;
}

/** The jobs of one status (null: all), kept up to date. */
export function useJobs(status: JobStatus | null): Jobs {
  const list = useSignal<JobList>({ jobs: [], next: null });
  const held = useSignal<ReadonlySet<string> | null>(null);
  const syncNext = useSignal<(() => void) | null>(null);
  const reader = useRef<PageReader>(undefined);
  reader.current ??= new PageReader();
  const { current: pages } = reader;

  const { state, refresh } = usePoll<JobPage>(
    `jobs/${status}`,
    async (signal, previous) => {
      const synced = syncNext.peek();
      const query = { limit: PAGE, status };
      const page = synced
        ? await listJobs({ ...query, syncActive: true }, signal)
        : await pages.read(query, previous, Date.now(), signal);
      signal.throwIfAborted();
      if (synced) {
        syncNext.value = null;
        synced();
      }
      if (!previous) {
        held.value = null;
        list.value = fromPage(page);
        return page;
      }
      if (window.scrollY > READING_PX) held.value ??= new Set(list.peek().jobs.map((job) => job.job_id));
      list.value = withFirstPage(list.peek(), page);
      for (const job of activeBeyond(list.peek(), page).slice(0, REFRESHED)) {
        const now = await lookAgain(job.job_id, signal);
        if (now !== undefined) list.value = withJob(list.peek(), job.job_id, now);
      }
      return page;
    },
    (page) => (page.jobs.some((job) => job.is_active) ? BUSY_MS : CALM_MS),
  );

  useEffect(() => {
    const onScroll = () => {
      if (window.scrollY <= READING_PX) held.value = null;
    };
    window.addEventListener("scroll", onScroll, { passive: true });
    return () => window.removeEventListener("scroll", onScroll);
  }, [held]);

  return {
    state,
    list,
    held,
    release: () => {
      held.value = null;
    },
    refresh,
    sync: (onSynced) => {
      syncNext.value = onSynced;
      refresh();
    },
    loadMore: async () => {
      const { next } = list.peek();
      if (next === null) return;
      const page = await listJobs({ limit: PAGE, status, cursor: next });
      // Another status may have been chosen, or the list started over, meanwhile: its own cursor counts then.
      if (list.peek().next === next) list.value = withOlderPage(list.peek(), page);
    },
  };
}

/** The job as it is now, null when it is gone, undefined when it can't be said (the next round asks again). */
async function lookAgain(jobId: string, signal: AbortSignal): Promise<Job | null | undefined> {
  try {
    return await getJob(jobId, signal);
  } catch (error) {
    signal.throwIfAborted();
    return error instanceof ApiError && error.status === 404 ? null : undefined;
  }
}
