import { signal } from "@preact/signals";

const message = signal({ text: "", id: 0 });
const toast = signal<{ text: string; id: number } | null>(null);
const TOAST_MS = 6000;
let timer = 0;

/** Say something politely to assistive technology, without showing it. */
export function announce(text: string): void {
  message.value = { text, id: message.value.id + 1 };
}

/** The result of the reader's own action, shown for six seconds and said. */
export function notify(text: string): void {
  toast.value = { text, id: (toast.value?.id ?? 0) + 1 };
  clearTimeout(timer);
  timer = window.setTimeout(() => {
    toast.value = null;
  }, TOAST_MS);
}

/** The page's two live regions. Rendered once, always present: a region that comes with its text is not read. */
export function Announcer() {
  return (
    <>
      <p class="visually-hidden" aria-live="polite">
        {message.value.text}
      </p>
      <div class="toasts" role="status">
        {toast.value && <p class="toast">{toast.value.text}</p>}
      </div>
    </>
  );
}
