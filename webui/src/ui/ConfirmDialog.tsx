import { useSignal } from "@preact/signals";
import { useId, useLayoutEffect, useRef } from "preact/hooks";
import { t } from "../i18n";
import { ErrorBox } from "./ErrorBox";

interface ConfirmDialogProps {
  title: string;
  body: string;
  /** The verb that does it, and the verb that leaves everything as it is. */
  confirm: string;
  keep: string;
  onConfirm: () => Promise<void>;
  /** After the dialog has closed because it was done: the page is no longer inert and can take the focus. */
  onDone?: () => void;
  onClose: () => void;
}

/**
 * A question with two verbs. Native modal: the page behind is inert, Esc is the safe answer, focus starts on the safe
 * button and returns to where it was. Stays open with the error when the action fails.
 */
export function ConfirmDialog({
  title,
  body,
  confirm,
  keep,
  onConfirm,
  onDone,
  onClose,
}: ConfirmDialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const safe = useRef<HTMLButtonElement>(null);
  const busy = useSignal(false);
  const failed = useSignal<Error | null>(null);
  const heading = useId();
  const text = useId();

  // Before the browser draws: Esc must work from the first moment the dialog is seen.
  useLayoutEffect(() => {
    const element = dialog.current;
    element?.showModal();
    safe.current?.focus();
    return () => element?.close();
  }, []);

  const act = async () => {
    if (busy.value) return;
    busy.value = true;
    failed.value = null;
    try {
      await onConfirm();
      dialog.current?.close();
      onClose();
      onDone?.();
    } catch (error) {
      failed.value = error instanceof Error ? error : new Error(String(error));
    } finally {
      busy.value = false;
    }
  };

  return (
    <dialog ref={dialog} class="dialog" aria-labelledby={heading} aria-describedby={text} onClose={onClose}>
      <h2 id={heading}>{title}</h2>
      <p id={text}>{body}</p>
      {failed.value && <ErrorBox error={failed.value} action />}
      <div class="dialog-actions">
        <button ref={safe} type="button" class="button" onClick={onClose}>
          {keep}
        </button>
        <button type="button" class="button button-danger" aria-disabled={busy.value} onClick={act}>
          {busy.value ? t("action.working") : confirm}
        </button>
      </div>
    </dialog>
  );
}
