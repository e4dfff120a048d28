import { useSignal } from "@preact/signals";
import { cancelJob, deleteJob } from "../api/jobs";
import type { Job } from "../api/types";
import { fmt, t } from "../i18n";
import { jobName } from "../job-facts";
import { notify } from "./announcer";
import { ConfirmDialog } from "./ConfirmDialog";

interface JobActionsProps {
  job: Job;
  onChanged: () => void;
  onDeleted: () => void;
  /** In a table row: a quieter button. */
  small?: boolean;
}

/** Cancel or Delete, whichever the job's state allows, each with its question. */
export function JobActions({ job, onChanged, onDeleted, small = false }: JobActionsProps) {
  const asking = useSignal<"cancel" | "delete" | null>(null);
  const name = jobName(job);
  const close = () => {
    asking.value = null;
  };
  const cancel = async () => {
    const result = await cancelJob(job.job_id);
    notify(t(result.status === "cancelled" ? "job.cancelled" : "job.cancelSent", { name }));
  };
  const remove = async () => {
    await deleteJob(job.job_id);
    notify(t("job.deleted", { name }));
  };
  const cancelling = job.cancel_requested && job.is_active;
  const word = cancelling ? "status.cancelling" : job.is_active ? "job.cancel" : "job.delete";
  return (
    <>
      <button
        type="button"
        class={small ? "button button-small" : "button"}
        aria-disabled={cancelling}
        onClick={() => {
          if (!cancelling) asking.value = job.is_active ? "cancel" : "delete";
        }}
      >
        {t(word)}
        {small && <span class="visually-hidden"> {name}</span>}
      </button>
      {asking.value === "cancel" && (
        <ConfirmDialog
          title={t("job.cancelAsk", { name })}
          body={
            job.cost_usd ? t("job.cancelBody", { cost: fmt().money(job.cost_usd) }) : t("job.cancelBodyFree")
          }
          confirm={t("job.cancelDo")}
          keep={t("job.cancelKeep")}
          onConfirm={cancel}
          onDone={onChanged}
          onClose={close}
        />
      )}
      {asking.value === "delete" && (
        <ConfirmDialog
          title={t("job.deleteAsk", { name })}
          body={deleteBody(job)}
          confirm={t("job.deleteDo")}
          keep={t("job.deleteKeep")}
          onConfirm={remove}
          onDone={onDeleted}
          onClose={close}
        />
      )}
    </>
  );
}

function deleteBody(job: Job): string {
  if (job.delivery.files === 0) return t("job.deleteBodyPlain");
  return t("job.deleteBody", {
    files: t("job.files", { n: job.delivery.files }),
    size: fmt().bytes(job.delivery.bytes),
  });
}
