import { useSignal } from "@preact/signals";
import { Component } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { getLogs, LOG_PAGE_MAX } from "../../api/jobs";
import type { Job } from "../../api/types";
import { fmt, language, t } from "../../i18n";
import { ErrorBox } from "../../ui/ErrorBox";
import { saveFile } from "../../ui/saveFile";
import { CAPACITY, type LogBlock, type LogLine } from "./logBuffer";
import type { JobLog } from "./useLog";

const LINE_PX = 18;
const NEAR_END_PX = 24;
/** So few blocks are laid out whole; more only where they are in view. */
const SHORT_BLOCKS = 5;
/** A log larger than this many pages of 1 MiB is not put together in the browser. */
const DOWNLOAD_PAGES = 256;

/** The log: follows its end while the end is in view, stays put while somebody reads further up. */
export function LogsPanel({ job, log }: { job: Job; log: JobLog }) {
  const wrap = useSignal(false);
  const fold = useSignal(true);
  const busy = useSignal(false);
  const failed = useSignal<Error | null>(null);

  log.changes.value;
  log.buffer.fold = fold.value;
  const { data, error } = log.state.value;
  const size = log.buffer.size;

  const attempt = async (action: () => Promise<void>) => {
    if (busy.value) return;
    busy.value = true;
    failed.value = null;
    try {
      await action();
    } catch (reason) {
      failed.value = reason instanceof Error ? reason : new Error(String(reason));
    } finally {
      busy.value = false;
    }
  };
  return (
    <section class="panel panel-wide" aria-labelledby="logs">
      <div class="panel-head">
        <h2 id="logs">{t("logs.title")}</h2>
        <div class="panel-tools">
          <Check checked={wrap.value} onChange={(on) => (wrap.value = on)} label={t("logs.wrap")} />
          <Check checked={fold.value} onChange={(on) => (fold.value = on)} label={t("logs.fold")} />
          {size > 0 && (
            <button
              type="button"
              class="button"
              aria-disabled={busy.value}
              onClick={() => attempt(() => download(job))}
            >
              {t("logs.download")}
            </button>
          )}
        </div>
      </div>
      {error && !data && <ErrorBox error={error} onRetry={log.refresh} />}
      {failed.value && <ErrorBox error={failed.value} action />}
      {data && size === 0 && (
        <p class="meta">{t(job.is_active && !data.complete ? "logs.empty" : "logs.emptyEnded")}</p>
      )}
      {size > 0 && (
        <Scroller
          log={log}
          wrap={wrap.value}
          foot={t(data?.complete ? "logs.complete" : "logs.live", {
            size: fmt().bytes(data?.size ?? log.buffer.end),
          })}
          onEarlier={() => attempt(log.loadEarlier)}
        />
      )}
    </section>
  );
}

function Check(props: { checked: boolean; onChange: (on: boolean) => void; label: string }) {
  return (
    <label class="check">
      <input
        type="checkbox"
        checked={props.checked}
        onChange={(event) => props.onChange(event.currentTarget.checked)}
      />
      {props.label}
    </label>
  );
}

interface ScrollerProps {
  log: JobLog;
  wrap: boolean;
  foot: string;
  onEarlier: () => Promise<void>;
}

function Scroller({ log, wrap, foot, onEarlier }: ScrollerProps) {
  const box = useRef<HTMLDivElement>(null);
  const following = useSignal(true);
  const seen = useSignal(0);
  /** What was drawn last: older lines that came in above since must not move what is being read. */
  const drawn = useRef({ start: log.buffer.start, height: 0 });
  log.changes.value;
  const { buffer } = log;
  if (following.value) seen.value = buffer.size;

  // After every draw: a reader at the end stays at the end, one who asked for older lines stays where they were.
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const { start, height } = drawn.current;
    if (following.value) element.scrollTop = element.scrollHeight;
    else if ((buffer.start ?? 0) < (start ?? 0)) element.scrollTop += element.scrollHeight - height;
    drawn.current = { start: buffer.start, height: element.scrollHeight };
  });

  const onScroll = () => {
    const element = box.current;
    if (element)
      following.value = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_END_PX;
  };
  const earlier = () => {
    following.value = false;
    void onEarlier();
  };
  const unread = buffer.size - seen.value;
  return (
    <>
      <div
        ref={box}
        class={`log${wrap ? " log-wrap" : ""}${buffer.view().length > SHORT_BLOCKS ? " log-long" : ""}`}
        role="log"
        aria-live="off"
        aria-labelledby="logs"
        lang="en"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and the keyboard must be able to
        tabIndex={0}
        onScroll={onScroll}
      >
        {buffer.start !== 0 && (
          <p class="log-earlier" lang={language.value}>
            {buffer.full ? (
              t("logs.held", { n: CAPACITY })
            ) : (
              <button type="button" class="button" onClick={earlier}>
                {t("logs.earlier")}
              </button>
            )}
          </p>
        )}
        {buffer.view().map((block) => (
          <Block key={block.id} block={block} version={block.version} locale={language.value} />
        ))}
        {buffer.unfinished && <div>{buffer.unfinished}</div>}
      </div>
      <div class="log-foot">
        <p class="meta num">{foot}</p>
        {!following.value && (
          <button type="button" class="button" onClick={() => (following.value = true)}>
            {unread > 0 ? t("logs.toEndNew", { n: unread }) : t("logs.toEnd")}
          </button>
        )}
      </div>
    </>
  );
}

interface BlockProps {
  block: LogBlock;
  version: number;
  locale: string;
}

/**
 * Two hundred lines as a few pieces of text. The browser lays out only the blocks in view (`content-visibility`), yet
 * searching in the page and selecting work across all of them. Drawn again only when its version moves.
 */
class Block extends Component<BlockProps> {
  override shouldComponentUpdate(next: BlockProps): boolean {
    const { block, version, locale } = this.props;
    return block !== next.block || version !== next.version || locale !== next.locale;
  }

  render({ block, locale }: BlockProps) {
    return (
      <div class="log-block" style={{ containIntrinsicBlockSize: `auto ${height(block.lines) * LINE_PX}px` }}>
        {pieces(block.lines).map((piece, index) =>
          typeof piece === "string" ? (
            piece
          ) : (
            <span key={index} class={piece.gap === undefined ? "log-folded" : "log-gap"} lang={locale}>
              {piece.gap === undefined
                ? `${t("logs.folded", { n: piece.folded ?? 0 })}\n`
                : `${t("logs.gap", { size: fmt().bytes(piece.gap) })}\n`}
            </span>
          ),
        )}
      </div>
    );
  }
}

/** Lines drawn: a fold has one of its own above the line it stands for. */
const height = (lines: readonly LogLine[]) =>
  lines.reduce((count, line) => count + (line.folded === undefined ? 1 : 2), 0);

/** Runs of plain lines as one text; marks between them. */
export function pieces(lines: readonly LogLine[]): (string | LogLine)[] {
  const out: (string | LogLine)[] = [];
  let text = "";
  for (const line of lines) {
    if (line.gap !== undefined || line.folded !== undefined) {
      if (text) out.push(text);
      text = "";
      out.push(line);
    }
    if (line.gap === undefined) text += `${line.text}\n`;
  }
  if (text) out.push(text);
  return out;
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
  saveFile(`${job.job_id}.log.txt`, parts, "text/plain;charset=utf-8");
}
