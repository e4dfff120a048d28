/** The icon set: 20 px line drawings. Always beside a word, so hidden from assistive technology. */

const PATHS = {
  pending: "M10 2.5v0M15.3 4.7v0M17.5 10v0M15.3 15.3v0M10 17.5v0M4.7 15.3v0M2.5 10v0M4.7 4.7v0",
  uploading: "M10 13V3M6 7l4-4 4 4M3 13v3.5h14V13",
  queued: "M5 2.5h10M5 17.5h10M6 2.5c0 4 4 5 4 7.5s-4 3.5-4 7.5M14 2.5c0 4-4 5-4 7.5s4 3.5 4 7.5",
  running: "M10 2.5a7.5 7.5 0 1 0 7.5 7.5",
  completed: "M10 2.5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15M6.5 10.2l2.5 2.5 4.5-5",
  failed: "M6.9 2.5h6.2l4.4 4.4v6.2l-4.4 4.4H6.9l-4.4-4.4V6.9zM7.5 7.5l5 5M12.5 7.5l-5 5",
  cancelled: "M10 2.5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15M5 15 15 5",
  warning: "M10 3 18 17H2zM10 8v4M10 14.5v.1",
  done: "M4 10.5 8 14.5 16 5.5",
  open: "M10 4.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11",
  info: "M10 2.5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15M10 9v5M10 6.2v.1",
  back: "M12.5 4 6.5 10l6 6",
  copy: "M7 7h9.5v9.5H7zM4 13H3.5V3.5H13V4",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, turning = false }: { name: IconName; turning?: boolean }) {
  return (
    <svg
      class={turning ? "icon icon-turning" : "icon"}
      viewBox="0 0 20 20"
      aria-hidden="true"
      focusable="false"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}
