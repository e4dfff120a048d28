import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Job } from "../../api/types";
import { fmt, t } from "../../i18n";
import { type LossPoint, reduce } from "./lossSeries";

const FIRST_WIDTH = 640;
const HEIGHT = 240;
const PAD = { left: 52, right: 12, top: 10, bottom: 24 };
const TABLE_ROWS = 50;

interface LossPanelProps {
  points: LossPoint[];
  job: Job;
  /** False when the log's beginning is not held: the curve then starts later than the training. */
  fromStart: boolean;
}

/** The loss curve with its summary in words and the same numbers as a table. */
export function LossPanel({ points, job, fromStart }: LossPanelProps) {
  const all = withNewest(points, job);
  const finite = all.filter((point) => Number.isFinite(point.loss));
  const bad = all.filter((point) => !Number.isFinite(point.loss));
  return (
    <section class="panel panel-chart" aria-labelledby="loss">
      <h2 id="loss">{t("chart.title")}</h2>
      {finite.length < 2 ? (
        <p class="meta">{t("chart.empty")}</p>
      ) : (
        <>
          <Chart finite={finite} bad={bad} all={all} />
          <p class="meta num" id="loss-summary">
            {summary(finite)} {!fromStart && t("chart.partial", { first: finite[0]?.step ?? 0 })}
          </p>
        </>
      )}
      {bad.length > 0 && <p class="notice notice-warning">{t("chart.bad", { n: bad.length })}</p>}
      {finite.length >= 2 && <Table points={all} />}
    </section>
  );
}

/** The newest value of the record is often ahead of the log. */
function withNewest(points: LossPoint[], job: Job): LossPoint[] {
  const { step, loss } = job.progress;
  if (step === null || loss === null || step <= (points.at(-1)?.step ?? -1)) return points;
  return [...points, { step, loss }];
}

function summary(points: LossPoint[]): string {
  const lowest = points.reduce((low, point) => (point.loss < low.loss ? point : low));
  return t("chart.summary", {
    n: points.length,
    first: points[0]?.step ?? 0,
    last: points.at(-1)?.step ?? 0,
    latest: fmt().loss(points.at(-1)?.loss ?? null),
    lowest: fmt().loss(lowest.loss),
    lowestStep: lowest.step,
  });
}

function Chart({ finite, bad, all }: { finite: LossPoint[]; bad: LossPoint[]; all: LossPoint[] }) {
  const [box, width] = useWidth();
  const first = all[0]?.step ?? 0;
  const last = all.at(-1)?.step ?? 1;
  const values = finite.map((point) => point.loss);
  const ticks = niceTicks(
    values.reduce((a, b) => Math.min(a, b)),
    values.reduce((a, b) => Math.max(a, b)),
  );
  const low = ticks[0] ?? 0;
  const high = ticks.at(-1) ?? 1;
  const x = (step: number) =>
    PAD.left + ((step - first) / (last - first || 1)) * (width - PAD.left - PAD.right);
  const y = (loss: number) => PAD.top + (1 - (loss - low) / (high - low)) * (HEIGHT - PAD.top - PAD.bottom);
  const path = reduce(finite, width / 2)
    .map(
      (point, index) => `${index === 0 ? "M" : "L"}${x(point.step).toFixed(1)} ${y(point.loss).toFixed(1)}`,
    )
    .join("");
  const base = HEIGHT - PAD.bottom;
  return (
    <svg
      ref={box}
      class="chart"
      height={HEIGHT}
      viewBox={`0 0 ${width} ${HEIGHT}`}
      role="img"
      aria-labelledby="loss-chart"
      aria-describedby="loss-summary"
    >
      <title id="loss-chart">{t("chart.title")}</title>
      {ticks.map((tick) => (
        <g key={tick}>
          <line class="chart-grid" x1={PAD.left} x2={width - PAD.right} y1={y(tick)} y2={y(tick)} />
          <text class="chart-text" x={PAD.left - 8} y={y(tick) + 4} text-anchor="end">
            {fmt().tick(tick)}
          </text>
        </g>
      ))}
      <text class="chart-text" x={PAD.left} y={HEIGHT - 6}>
        {fmt().integer(first)}
      </text>
      <text class="chart-text" x={width - PAD.right} y={HEIGHT - 6} text-anchor="end">
        {t("progress.step", { step: last })}
      </text>
      <path class="chart-line" d={path} />
      {bad.map((point) => (
        <line
          key={point.step}
          class="chart-bad"
          x1={x(point.step)}
          x2={x(point.step)}
          y1={base - 8}
          y2={base}
        />
      ))}
    </svg>
  );
}

/** The drawn width in pixels, so that text and lines keep their size on every screen. */
function useWidth() {
  const box = useRef<SVGSVGElement>(null);
  const [width, setWidth] = useState(FIRST_WIDTH);
  useLayoutEffect(() => {
    if (!box.current) return;
    const observer = new ResizeObserver(
      ([entry]) => entry && setWidth(Math.max(200, entry.contentRect.width)),
    );
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  return [box, width] as const;
}

/** Three to six round values that span low to high. */
export function niceTicks(low: number, high: number): number[] {
  const span = high - low || Math.abs(high) || 1;
  const rough = span / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const size = ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10) * power;
  const from = Math.floor(low / size);
  const to = Math.max(from + 1, Math.ceil(high / size));
  // From whole numbers, so that no 0.30000000000000004 comes out.
  return Array.from({ length: to - from + 1 }, (_, index) => Number(((from + index) * size).toPrecision(12)));
}

function Table({ points }: { points: LossPoint[] }) {
  const every = Math.ceil(points.length / TABLE_ROWS);
  const rows = points.filter((_, index) => index % every === 0 || index === points.length - 1);
  return (
    <details>
      <summary>{t("chart.table")}</summary>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and the keyboard must be able to */}
      <section class="scroll" tabIndex={0} aria-label={t("chart.table")}>
        <table class="small-table num">
          <thead>
            <tr>
              <th scope="col">{t("chart.step")}</th>
              <th scope="col">{t("chart.title")}</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((point) => (
              <tr key={point.step}>
                <th scope="row">{fmt().integer(point.step)}</th>
                <td>{fmt().loss(point.loss)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
    </details>
  );
}
