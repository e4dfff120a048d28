import { type ReadonlySignal, useComputed, useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { getLogs } from "../../api/jobs";
import type { Job, LogPage } from "../../api/types";
import type { PollState } from "../../live/poller";
import { usePoll } from "../../live/usePoll";
import { LogBuffer } from "./logBuffer";
import { type LossPoint, LossSeries } from "./lossSeries";

const ACTIVE_MS = 2_000;
/** The first answer is the last MiB; a shorter log is whole at once. */
const EARLIER_BYTES = 262_144;
/** Pages read per round when a lot is new; the rest follows in the next one. */
const PAGES = 8;

export interface JobLog {
  buffer: LogBuffer;
  state: ReadonlySignal<PollState<LogPage>>;
  points: ReadonlySignal<LossPoint[]>;
  /** Whether the beginning of the log is held. */
  fromStart: ReadonlySignal<boolean>;
  loadEarlier: () => Promise<void>;
  refresh: () => void;
}

/** Follows the log of a job by byte offset, for the log panel and the loss chart alike. */
export function useLog(job: Job): JobLog {
  const held = useRef<{ buffer: LogBuffer; series: LossSeries }>(undefined);
  held.current ??= { buffer: new LogBuffer(), series: new LossSeries() };
  const { buffer, series } = held.current;
  const changed = useSignal(0);

  const { state, refresh } = usePoll<LogPage>(
    `log/${job.job_id}/${job.is_active}`,
    async (signal) => {
      let page = await getLogs(job.job_id, buffer.start === null ? {} : { offset: buffer.end }, signal);
      for (let more = 1; ; more += 1) {
        signal.throwIfAborted();
        series.read(page.logs);
        buffer.append(page.logs, page.offset, page.next_offset);
        if (more >= PAGES || page.next_offset >= page.size || page.logs === "") break;
        page = await getLogs(job.job_id, { offset: buffer.end }, signal);
      }
      changed.value += 1;
      return page;
    },
    (page) =>
      page.complete && page.next_offset >= page.size ? null : job.is_active ? ACTIVE_MS : ACTIVE_MS * 5,
  );

  const loadEarlier = async () => {
    if (!buffer.start) return;
    const offset = Math.max(0, buffer.start - EARLIER_BYTES);
    const page = await getLogs(job.job_id, { offset, limit: buffer.start - offset });
    series.readEarlier(page.logs);
    buffer.prepend(page.logs, page.offset, page.next_offset);
    changed.value += 1;
  };

  const points = useComputed(() => {
    changed.value; // the buffers are not signals; this is
    return series.points();
  });
  const fromStart = useComputed(() => {
    changed.value;
    return !buffer.start;
  });
  return { buffer, state, points, fromStart, loadEarlier, refresh };
}
