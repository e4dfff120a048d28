import { useLayoutEffect, useRef } from "preact/hooks";
import type { OutputFile } from "../../api/types";
import { t } from "../../i18n";

interface SampleDialogProps {
  file: OutputFile;
  onClose: () => void;
}

/** A sample image as large as the window allows. Esc, the button and a click beside it close. */
export function SampleDialog({ file, onClose }: SampleDialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  // Before the browser draws: Esc must work from the first moment the dialog is seen.
  useLayoutEffect(() => {
    const element = dialog.current;
    element?.showModal();
    return () => element?.close();
  }, []);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Esc is the keyboard's way, and native
    <dialog
      ref={dialog}
      class="dialog dialog-image"
      aria-label={file.path}
      onClose={onClose}
      onClick={(event) => event.target === dialog.current && onClose()}
    >
      <img src={file.url} alt={file.path} />
      <div class="dialog-actions">
        <code>{file.path}</code>
        <a class="button" href={file.url} rel="noreferrer">
          {t("action.download")}
        </a>
        <button type="button" class="button" onClick={onClose}>
          {t("action.close")}
        </button>
      </div>
    </dialog>
  );
}
