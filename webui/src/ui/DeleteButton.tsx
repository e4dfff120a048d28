import { useSignal } from "@preact/signals";
import { t } from "../i18n";
import { ConfirmDialog } from "./ConfirmDialog";

interface DeleteButtonProps {
  /** Which thing, for those who can't see the row. */
  name: string;
  ask: string;
  body: string;
  confirm: string;
  onDelete: () => Promise<void>;
  onDeleted: () => void;
}

/** Delete in a table row, with its question. */
export function DeleteButton({ name, ask, body, confirm, onDelete, onDeleted }: DeleteButtonProps) {
  const asking = useSignal(false);
  return (
    <>
      <button type="button" class="button button-small" onClick={() => (asking.value = true)}>
        {t("job.delete")}
        <span class="visually-hidden"> {name}</span>
      </button>
      {asking.value && (
        <ConfirmDialog
          title={ask}
          body={body}
          confirm={confirm}
          keep={t("job.deleteKeep")}
          onConfirm={onDelete}
          onDone={onDeleted}
          onClose={() => (asking.value = false)}
        />
      )}
    </>
  );
}
