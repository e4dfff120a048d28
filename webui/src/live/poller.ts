/**
 * The one way this UI keeps a value fresh: ask, wait, ask again.
 *
 * - A hidden tab asks nothing; showing it, or coming back online, asks at once.
 * - Errors back off 2, 4, 8 … 60 s with jitter, or as long as the server's Retry-After says. The last good value stays.
 * - An error that asking again can't mend (404, 403 …) rests until `refresh`.
 * - `stop` aborts the request under way, and no answer that arrives after it is ever shown.
 */

export interface PollState<T> {
  data: T | undefined;
  error: Error | null;
  /** When `data` arrived, ms since the epoch; null before the first answer. */
  confirmedAt: number | null;
  failures: number;
  loading: boolean;
}

export interface PollOptions<T> {
  /** Gets the last good value, so that a loader can go on from it. */
  load: (signal: AbortSignal, previous: T | undefined) => Promise<T>;
  /** Milliseconds to the next request, or null to rest. Called after each good answer. */
  interval: (data: T) => number | null;
  onChange: (state: PollState<T>) => void;
  environment?: PollEnvironment;
}

/** What the poller needs of a browser; tests bring their own. */
export interface PollEnvironment {
  now: () => number;
  random: () => number;
  hidden: () => boolean;
  setTimer: (callback: () => void, ms: number) => number;
  clearTimer: (id: number) => void;
  /** Calls `listener` when the tab becomes visible or the network returns. Returns the undo. */
  onWake: (listener: () => void) => () => void;
}

const FIRST_BACKOFF_MS = 2_000;
const LAST_BACKOFF_MS = 60_000;

/** Milliseconds to wait after the n-th failure in a row (n from 1): full seconds doubled, less up to a quarter. */
export function backoff(failures: number, random: () => number): number {
  const ceiling = Math.min(LAST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(failures - 1, 16));
  return ceiling * (1 - 0.25 * random());
}

export class Poller<T> {
  private state: PollState<T> = {
    data: undefined,
    error: null,
    confirmedAt: null,
    failures: 0,
    loading: false,
  };
  private timer: number | null = null;
  private flight: AbortController | null = null;
  private unlisten: (() => void) | null = null;
  private resting = false;
  private readonly env: PollEnvironment;

  constructor(private readonly options: PollOptions<T>) {
    this.env = options.environment ?? browserEnvironment;
  }

  /** Asks at once, even in a hidden tab: a page opened in the background needs its title. */
  start(): void {
    if (this.unlisten) return;
    this.unlisten = this.env.onWake(() => this.wake());
    this.ask();
  }

  stop(): void {
    this.unlisten?.();
    this.unlisten = null;
    this.clear();
    this.flight?.abort();
    this.flight = null;
  }

  /** Ask now and forget the answer under way: it may be older than what the caller just did. */
  refresh(): void {
    if (this.unlisten) this.ask();
  }

  private wake(): void {
    // A resting value is final unless its last request failed for a reason that may have gone.
    if (this.resting || this.flight) return;
    this.ask();
  }

  private ask(): void {
    this.clear();
    this.flight?.abort();
    const flight = new AbortController();
    this.flight = flight;
    this.resting = false;
    this.update({ loading: true });
    this.options.load(flight.signal, this.state.data).then(
      (data) => this.flight === flight && this.succeed(data),
      (error: unknown) => this.flight === flight && this.fail(asError(error)),
    );
  }

  private succeed(data: T): void {
    this.flight = null;
    this.update({ data, error: null, confirmedAt: this.env.now(), failures: 0, loading: false });
    this.schedule(this.options.interval(data));
  }

  private fail(error: Error): void {
    this.flight = null;
    const failures = this.state.failures + 1;
    this.update({ error, failures, loading: false });
    const hints = error as { permanent?: boolean; retryAfterSeconds?: number | null };
    const asked = (hints.retryAfterSeconds ?? 0) * 1000;
    this.schedule(hints.permanent ? null : Math.max(asked, backoff(failures, this.env.random)));
  }

  private schedule(ms: number | null): void {
    this.resting = ms === null;
    if (ms === null) return;
    this.timer = this.env.setTimer(() => {
      this.timer = null;
      if (!this.env.hidden()) this.ask(); // hidden: the wake-up asks
    }, ms);
  }

  private clear(): void {
    if (this.timer !== null) this.env.clearTimer(this.timer);
    this.timer = null;
  }

  private update(change: Partial<PollState<T>>): void {
    this.state = { ...this.state, ...change };
    this.options.onChange(this.state);
  }
}

const asError = (value: unknown): Error => (value instanceof Error ? value : new Error(String(value)));

export const browserEnvironment: PollEnvironment = {
  now: () => Date.now(),
  random: () => Math.random(),
  hidden: () => document.hidden,
  setTimer: (callback, ms) => window.setTimeout(callback, ms),
  clearTimer: (id) => window.clearTimeout(id),
  onWake: (listener) => {
    const visible = () => {
      if (!document.hidden) listener();
    };
    document.addEventListener("visibilitychange", visible);
    window.addEventListener("online", listener);
    return () => {
      document.removeEventListener("visibilitychange", visible);
      window.removeEventListener("online", listener);
    };
  },
};
