import type { Job } from "../api/types";
import { fmt, t } from "../i18n";
import { Icon } from "./icons";

/** Icon, word and phase. Says "Cancelling…" from the request until the provider has agreed. */
export function StatusBadge({ job }: { job: Job }) {
  const cancelling = job.cancel_requested && job.is_active;
  const word = cancelling ? t("status.cancelling") : t(`status.${job.status}`);
  const phase = job.phase !== "finished" && job.is_active ? t(`phase.${job.phase}`) : null;
  return (
    <span
      class={`badge badge-${cancelling ? "cancelled" : job.status}`}
      title={fmt().dateTime(job.updated_at)}
    >
      <Icon name={job.status} turning={job.status === "running"} />
      <span class="badge-word">{word}</span>
      {phase && <span class="badge-phase">{phase}</span>}
    </span>
  );
}

/** Says where a job really runs: the sandbox, somebody's own machine, or a cloud GPU. */
export function JobTags({ job }: { job: Job }) {
  const where = job.job_type === "local" ? "local" : job.sandbox ? "sandbox" : "cloud";
  return <span class={`tag tag-${where}`}>{t(`tag.${where}`)}</span>;
}
