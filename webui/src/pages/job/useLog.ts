import { type ReadonlySignal, useComputed, useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { getLogs, LOG_PAGE_MAX } from "../../api/jobs";
import type { Job, LogPage } from "../../api/types";
import type { PollState } from "../../live/poller";
import { usePoll } from "../../live/usePoll";
import { LogBuffer } from "./logBuffer";
import { type LossPoint, LossSeries } from "./lossSeries";

const ACTIVE_MS = 2_000;
/** The end of a job's log arrives shortly after the job's own. */
const ENDED_MS = 10_000;
/** A log up to this size is read from its beginning, so that the loss curve is whole; of a longer one the end. */
const WHOLE_BYTES = 8 * LOG_PAGE_MAX;
/** Pages read per round when a lot is new; the rest follows in the next one. */
const PAGES = 8;

export interface JobLog {
  buffer: LogBuffer;
  state: ReadonlySignal<PollState<LogPage>>;
  points: ReadonlySignal<LossPoint[]>;
  /** Counts the changes of the buffer, which is no signal itself. */
  changes: ReadonlySignal<number>;
  /** Whether the loss curve holds the training's beginning. */
  fromStart: ReadonlySignal<boolean>;
  loadEarlier: () => Promise<void>;
  refresh: () => void;
}

/** Where the first read begins, in a log that had `size` bytes when last seen. */
export const firstOffset = (size: number): number => (size <= WHOLE_BYTES ? 0 : size - LOG_PAGE_MAX);

/**
 * Follows the log of a job by byte offset, for the log panel and the loss chart alike. Always with an offset: without
 * one the server folds progress bars away, and the losses with them.
 */
export function useLog(job: Job): JobLog {
  const held = useRef<{ buffer: LogBuffer; series: LossSeries }>(undefined);
  held.current ??= { buffer: new LogBuffer(), series: new LossSeries() };
  const { buffer, series } = held.current;
  const changes = useSignal(0);
  const earliest = useSignal<number | null>(null);

  const { state, refresh } = usePoll<LogPage>(
    `log/${job.job_id}/${job.is_active}`,
    async (signal) => {
      for (let page = 1; ; page += 1) {
        const offset = buffer.start === null ? firstOffset(job.log_bytes) : buffer.end;
        const answer = await getLogs(job.job_id, { offset }, signal);
        signal.throwIfAborted();
        if (answer.logs !== "") {
          earliest.value ??= answer.offset;
          series.read(answer.logs);
          buffer.append(answer.logs, answer.offset, answer.next_offset);
          changes.value += 1;
        }
        if (page >= PAGES || answer.next_offset >= answer.size || answer.logs === "") return answer;
      }
    },
    (page) => {
      if (page.complete && page.next_offset >= page.size) return null;
      return job.is_active || page.next_offset < page.size ? ACTIVE_MS : ENDED_MS;
    },
  );

  const loadEarlier = async () => {
    if (!buffer.start || buffer.full) return;
    const offset = Math.max(0, buffer.start - LOG_PAGE_MAX);
    const page = await getLogs(job.job_id, { offset, limit: buffer.start - offset });
    if (offset >= (buffer.start ?? 0)) return; // a second click was faster
    series.readEarlier(page.logs);
    buffer.prepend(page.logs, page.offset, page.next_offset);
    earliest.value = offset;
    changes.value += 1;
  };

  const points = useComputed(() => {
    changes.value; // the series is no signal; this is
    return series.points();
  });
  const fromStart = useComputed(() => !earliest.value);
  return { buffer, state, points, changes, fromStart, loadEarlier, refresh };
}
