import { useSignal, useSignalEffect } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { getLogs, LOG_PAGE_MAX } from "../../api/jobs";
import type { Job } from "../../api/types";
import { fmt, t } from "../../i18n";
import { ErrorBox } from "../../ui/ErrorBox";
import type { LogLine } from "./logBuffer";
import type { JobLog } from "./useLog";

const SHOWN = 1_000;
const NEAR_END_PX = 24;
/** A log larger than this many pages of 1 MiB is not put together in the browser. */
const DOWNLOAD_PAGES = 256;

/** The log: follows its end while the end is in view, stays put while somebody reads further up. */
export function LogsPanel({ job, log }: { job: Job; log: JobLog }) {
  const box = useRef<HTMLDivElement>(null);
  const shown = useSignal(SHOWN);
  const following = useSignal(true);
  const seen = useSignal(0);
  const wrap = useSignal(false);
  const fold = useSignal(true);
  const failed = useSignal<Error | null>(null);

  const { data, error } = log.state.value;
  const lines = log.buffer.last(shown.value, fold.value);
  const size = log.buffer.size;
  if (following.value) seen.value = size;

  // After every draw: a reader at the end stays at the end.
  useLayoutEffect(() => {
    if (following.value && box.current) box.current.scrollTop = box.current.scrollHeight;
  });
  useSignalEffect(() => {
    if (following.value && box.current) box.current.scrollTop = box.current.scrollHeight;
  });

  const onScroll = () => {
    const element = box.current;
    if (element)
      following.value = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_END_PX;
  };
  const attempt = (action: () => Promise<void>) => {
    failed.value = null;
    action().catch((reason: unknown) => {
      failed.value = reason instanceof Error ? reason : new Error(String(reason));
    });
  };
  const earlier = () =>
    attempt(async () => {
      following.value = false;
      if (lines.length < shown.value) await log.loadEarlier();
      shown.value += SHOWN;
    });

  const more = lines.length === shown.value || !log.fromStart.value;
  const unread = size - seen.value;
  return (
    <section class="panel panel-wide" aria-labelledby="logs">
      <div class="panel-head">
        <h2 id="logs">{t("logs.title")}</h2>
        <div class="panel-tools">
          <label class="check">
            <input
              type="checkbox"
              checked={wrap.value}
              onChange={(event) => (wrap.value = event.currentTarget.checked)}
            />
            {t("logs.wrap")}
          </label>
          <label class="check">
            <input
              type="checkbox"
              checked={fold.value}
              onChange={(event) => (fold.value = event.currentTarget.checked)}
            />
            {t("logs.fold")}
          </label>
          <button type="button" class="button" onClick={() => attempt(() => download(job))}>
            {t("logs.download")}
          </button>
        </div>
      </div>
      {error && !data && <ErrorBox error={error} onRetry={log.refresh} />}
      {failed.value && <ErrorBox error={failed.value} />}
      {data && size === 0 && <p class="meta">{t("logs.empty")}</p>}
      {size > 0 && (
        <>
          <div
            ref={box}
            class={wrap.value ? "log log-wrap" : "log"}
            role="log"
            aria-live="off"
            aria-labelledby="logs"
            lang="en"
            // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and the keyboard must be able to
            tabIndex={0}
            onScroll={onScroll}
          >
            {more && (
              <button
                type="button"
                class="button log-earlier"
                lang={document.documentElement.lang}
                onClick={earlier}
              >
                {t("logs.earlier")}
              </button>
            )}
            <Lines lines={lines} />
          </div>
          <div class="log-foot">
            <p class="meta num">
              {t(data?.complete ? "logs.complete" : "logs.live", { size: fmt().bytes(data?.size ?? 0) })}
            </p>
            {!following.value && (
              <button type="button" class="button" onClick={() => (following.value = true)}>
                {unread > 0 ? t("logs.toEndNew", { n: unread }) : t("logs.toEnd")}
              </button>
            )}
          </div>
        </>
      )}
    </section>
  );
}

function Lines({ lines }: { lines: LogLine[] }) {
  return (
    <>
      {lines.map((line, index) =>
        line.gap === undefined ? (
          <div key={index} class="log-line">
            {line.folded !== undefined && (
              <span class="log-folded" lang={document.documentElement.lang}>
                {t("logs.folded", { n: line.folded })}
              </span>
            )}
            {line.text || "\u00a0"}
          </div>
        ) : (
          <div key={index} class="log-gap" lang={document.documentElement.lang}>
            {t("logs.gap", { size: fmt().bytes(line.gap) })}
          </div>
        ),
      )}
    </>
  );
}

/** Reads the whole log page by page and hands it to the browser as a file. */
async function download(job: Job): Promise<void> {
  const parts: string[] = [];
  let offset = 0;
  for (let page = 0; page < DOWNLOAD_PAGES; page += 1) {
    const answer = await getLogs(job.job_id, { offset, limit: LOG_PAGE_MAX });
    parts.push(answer.logs);
    if (answer.logs === "" || answer.next_offset >= answer.size) break;
    offset = answer.next_offset;
  }
  const url = URL.createObjectURL(new Blob(parts, { type: "text/plain;charset=utf-8" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = `${job.job_id}.log.txt`;
  link.click();
  // Revoking at once would race the browser's reading of it.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
