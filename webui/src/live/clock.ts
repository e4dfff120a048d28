/** Shared clocks for relative times. They stand still in a hidden tab. */

import { type ReadonlySignal, signal } from "@preact/signals";

function ticking(ms: number): ReadonlySignal<number> {
  const now = signal(Date.now());
  const tick = () => {
    if (!document.hidden) now.value = Date.now();
  };
  setInterval(tick, ms);
  document.addEventListener("visibilitychange", tick);
  return now;
}

export const everySecond = ticking(1_000);
export const everyTenSeconds = ticking(10_000);
