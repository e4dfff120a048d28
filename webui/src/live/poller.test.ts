import { beforeEach, describe, expect, it } from "vitest";
import { ApiError } from "../api/client";
import { backoff, type PollEnvironment, Poller, type PollState } from "./poller";

/** A browser in virtual time: timers fire in order when the test moves the clock. */
class FakeBrowser implements PollEnvironment {
  time = 0;
  isHidden = false;
  timers = new Map<number, { at: number; callback: () => void }>();
  wakers = new Set<() => void>();
  private ids = 0;

  now = () => this.time;
  random = () => 0;
  hidden = () => this.isHidden;
  setTimer = (callback: () => void, ms: number) => {
    this.ids += 1;
    this.timers.set(this.ids, { at: this.time + ms, callback });
    return this.ids;
  };
  clearTimer = (id: number) => void this.timers.delete(id);
  onWake = (listener: () => void) => {
    this.wakers.add(listener);
    return () => void this.wakers.delete(listener);
  };

  async advance(ms: number) {
    this.time += ms;
    for (const [id, timer] of [...this.timers]) {
      if (timer.at <= this.time && this.timers.delete(id)) timer.callback();
    }
    await settle();
  }

  async show() {
    this.isHidden = false;
    for (const waker of this.wakers) waker();
    await settle();
  }
}

/** Lets promise callbacks run; no real time passes. */
const settle = async () => {
  for (let i = 0; i < 5; i += 1) await Promise.resolve();
};

interface Call {
  signal: AbortSignal;
  previous: string | undefined;
  resolve: (value: string) => void;
  reject: (error: Error) => void;
}

let browser: FakeBrowser;
let calls: Call[];
let seen: PollState<string>[];

function poller(interval: (data: string) => number | null = () => 1000) {
  return new Poller<string>({
    load: (signal, previous) =>
      new Promise((resolve, reject) => {
        calls.push({ signal, previous, resolve, reject });
      }),
    interval,
    onChange: (state) => seen.push(state),
    environment: browser,
  });
}

async function answer(value: string | Error) {
  const call = calls.at(-1);
  if (!call) throw new Error("nothing was asked");
  if (value instanceof Error) call.reject(value);
  else call.resolve(value);
  await settle();
}

const last = () => seen.at(-1);

beforeEach(() => {
  browser = new FakeBrowser();
  calls = [];
  seen = [];
});

describe("Poller", () => {
  it("asks at once, then after the interval, handing on the last value", async () => {
    poller().start();
    expect(calls).toHaveLength(1);
    await answer("a");
    expect(last()).toMatchObject({ data: "a", error: null, confirmedAt: 0, loading: false });
    await browser.advance(999);
    expect(calls).toHaveLength(1);
    await browser.advance(1);
    expect(calls).toHaveLength(2);
    expect(calls[1]?.previous).toBe("a");
  });

  it("rests when the interval is null, and a wake-up does not disturb it", async () => {
    poller(() => null).start();
    await answer("done");
    await browser.advance(3_600_000);
    await browser.show();
    expect(calls).toHaveLength(1);
  });

  it("asks nothing while hidden and at once when shown", async () => {
    poller().start();
    await answer("a");
    browser.isHidden = true;
    await browser.advance(60_000);
    expect(calls).toHaveLength(1);
    await browser.show();
    expect(calls).toHaveLength(2);
  });

  it("backs off on errors, keeps the last value, and starts over after a good answer", async () => {
    poller().start();
    await answer("a");
    await browser.advance(1000);
    for (const wait of [2000, 4000, 8000]) {
      await answer(new Error("down"));
      expect(last()).toMatchObject({ data: "a", confirmedAt: 0 });
      const asked = calls.length;
      await browser.advance(wait - 1);
      expect(calls).toHaveLength(asked);
      await browser.advance(1);
      expect(calls).toHaveLength(asked + 1);
    }
    await answer("b");
    expect(last()).toMatchObject({ data: "b", error: null, failures: 0 });
    await browser.advance(1000);
    await answer(new Error("down"));
    expect(last()?.failures).toBe(1);
  });

  it("asks at once when the network returns during a back-off", async () => {
    poller().start();
    await answer(new Error("down"));
    await browser.show();
    expect(calls).toHaveLength(2);
    expect(browser.timers.size).toBe(0);
  });

  it("waits as long as Retry-After says", async () => {
    poller().start();
    await answer(new ApiError("slow down", { kind: "http", status: 429, retryAfterSeconds: 30 }));
    await browser.advance(29_999);
    expect(calls).toHaveLength(1);
    await browser.advance(1);
    expect(calls).toHaveLength(2);
  });

  it("does not repeat what can't succeed, until asked to", async () => {
    const mine = poller();
    mine.start();
    await answer(new ApiError("gone", { kind: "http", status: 404 }));
    await browser.advance(3_600_000);
    await browser.show();
    expect(calls).toHaveLength(1);
    mine.refresh();
    expect(calls).toHaveLength(2);
  });

  it("aborts on stop and shows nothing that arrives later", async () => {
    const mine = poller();
    mine.start();
    mine.stop();
    const before = seen.length;
    expect(calls[0]?.signal.aborted).toBe(true);
    await answer("late");
    await browser.show();
    expect(seen).toHaveLength(before);
    expect(calls).toHaveLength(1);
    mine.refresh();
    expect(calls).toHaveLength(1);
  });

  it("a refresh drops the answer under way: it may be older than the change", async () => {
    const mine = poller();
    mine.start();
    mine.refresh();
    expect(calls[0]?.signal.aborted).toBe(true);
    calls[0]?.resolve("old");
    await settle();
    expect(last()?.data).toBeUndefined();
    await answer("new");
    expect(last()?.data).toBe("new");
    expect(browser.timers.size).toBe(1);
  });
});

describe("backoff", () => {
  it("doubles from 2 s to 60 s and jitters downwards by at most a quarter", () => {
    expect([1, 2, 3, 4, 5, 6, 60].map((n) => backoff(n, () => 0))).toEqual([
      2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000,
    ]);
    expect(backoff(2, () => 1)).toBe(3000);
  });
});
