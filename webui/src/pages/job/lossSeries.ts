/** Loss and learning rate by step, read from the trainer's progress lines. The API keeps only the newest of each. */

export interface LossPoint {
  step: number;
  loss: number;
}

/** tqdm's line: `Steps:  25%|##  | 250/1000 [00:12<00:36, 20.1it/s, lr=0.0001, step_loss=0.123]`. */
const LINE = /Steps:\s+\d+%\|[^|]*\|\s*(\d+)\/\d+\s*\[[^\]]*?\b(?:step_)?loss=([-+.\w]+)(?=[,\]])/g;
const WORDS: Record<string, number> = {
  nan: Number.NaN,
  inf: Number.POSITIVE_INFINITY,
  "-inf": Number.NEGATIVE_INFINITY,
};
/** Longest piece of an unfinished line kept for the next text. */
const CARRY = 4_096;

export class LossSeries {
  /** Sorted by step, each step once. */
  private readonly held: LossPoint[] = [];
  private carry = "";

  /** Reads further log text; a line may be cut between two calls. */
  read(text: string): void {
    const whole = this.carry + text;
    for (const [, step, loss] of whole.matchAll(LINE)) this.add(Number(step), number(loss ?? ""));
    this.carry = whole.slice(Math.max(whole.lastIndexOf("\n"), whole.lastIndexOf("\r")) + 1).slice(-CARRY);
  }

  /** Reads text from before what was read; of a step that is known already the value known is the newer one. */
  readEarlier(text: string): void {
    const earlier = new LossSeries();
    earlier.read(text);
    const known = new Set(this.held.map((point) => point.step));
    this.held.push(...earlier.held.filter((point) => !known.has(point.step)));
    this.held.sort((a, b) => a.step - b.step);
  }

  /** A copy, sorted by step. */
  points(): LossPoint[] {
    return [...this.held];
  }

  private add(step: number, loss: number): void {
    const last = this.held.at(-1);
    if (!last || step > last.step) {
      this.held.push({ step, loss });
      return;
    }
    // A redraw of the newest step, or a training that went back to an earlier checkpoint.
    const at = lowerBound(this.held, step);
    const replace = this.held[at]?.step === step ? 1 : 0;
    this.held.splice(at, replace, { step, loss });
  }
}

/** The first index whose step is not below `step`. */
function lowerBound(points: LossPoint[], step: number): number {
  let low = 0;
  let high = points.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((points[middle]?.step ?? 0) < step) low = middle + 1;
    else high = middle;
  }
  return low;
}

const number = (text: string): number => WORDS[text.toLowerCase()] ?? Number(text);

/**
 * At most about `2 × columns` points with the lowest and the highest of every column kept, so that a spike is never
 * sampled away. Points must be finite and sorted by step.
 */
export function reduce(points: LossPoint[], columns: number): LossPoint[] {
  if (points.length <= columns * 2) return points;
  const first = points[0]?.step ?? 0;
  const span = (points.at(-1)?.step ?? 0) - first || 1;
  const buckets = new Map<number, { low: LossPoint; high: LossPoint }>();
  for (const point of points) {
    const column = Math.min(columns - 1, Math.floor(((point.step - first) / span) * columns));
    const bucket = buckets.get(column);
    if (!bucket) buckets.set(column, { low: point, high: point });
    else if (point.loss < bucket.low.loss) bucket.low = point;
    else if (point.loss > bucket.high.loss) bucket.high = point;
  }
  return [...buckets.values()].flatMap(({ low, high }) =>
    low === high ? [low] : low.step < high.step ? [low, high] : [high, low],
  );
}
