import { signal } from "@preact/signals";

/** Whether the browser believes that it has a network. True says little, false is certain. */
export const online = signal(navigator.onLine);

for (const type of ["online", "offline"] as const) {
  window.addEventListener(type, () => {
    online.value = type === "online";
  });
}
