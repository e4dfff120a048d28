import { type Signal, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { access } from "../api/client";
import { Poller, type PollState } from "./poller";

export interface Polled<T> {
  state: Signal<PollState<T>>;
  refresh: () => void;
}

const EMPTY = { data: undefined, error: null, confirmedAt: null, failures: 0, loading: true };

/**
 * Poll while the component is mounted. A change of `key` (the thing asked for) or of the caller starts over with no data;
 * a new session of the same caller asks again. `load` and `interval` are read afresh each time, so they may close over props.
 */
export function usePoll<T>(
  key: string,
  load: (signal: AbortSignal, previous: T | undefined) => Promise<T>,
  interval: (data: T) => number | null,
): Polled<T> {
  const state = useSignal<PollState<T>>(EMPTY);
  const poller = useRef<Poller<T> | null>(null);
  const latest = useRef({ load, interval });
  latest.current = { load, interval };
  const token = access.changes.value;

  // Key and token are the identity of the question; the rest is read through `latest`.
  useEffect(() => {
    state.value = EMPTY;
    const mine = new Poller<T>({
      load: (signal, previous) => latest.current.load(signal, previous),
      interval: (data) => latest.current.interval(data),
      onChange: (next) => {
        state.value = next;
      },
    });
    poller.current = mine;
    mine.start();
    return () => mine.stop();
  }, [key, token]);

  const renewals = access.renewals.value;
  // Not at first: the poller has just asked.
  const asked = useRef(renewals);
  useEffect(() => {
    if (asked.current === renewals) return;
    asked.current = renewals;
    poller.current?.refresh();
  }, [renewals]);

  return { state, refresh: () => poller.current?.refresh() };
}
