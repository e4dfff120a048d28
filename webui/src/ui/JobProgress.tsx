import type { Job } from "../api/types";
import { fmt, t } from "../i18n";
import { jobName } from "../job-facts";

/** Bar and words, from the trainer's steps. Without a known total there is a count and no bar. */
export function JobProgress({ job, withTimeLeft = false }: { job: Job; withTimeLeft?: boolean }) {
  const { step, total_steps: total, percent, eta_seconds: eta } = job.progress;
  if (step === null)
    return job.is_active && withTimeLeft ? <p class="meta">{t("progress.waiting")}</p> : null;
  const words = [
    total === null ? t("progress.step", { step }) : t("progress.steps", { step, total }),
    percent === null ? null : fmt().percent(percent),
    withTimeLeft && eta !== null && job.is_active ? t("progress.left", { time: fmt().duration(eta) }) : null,
  ].filter((part) => part !== null);
  return (
    <div class="progress">
      {percent !== null && (
        <progress
          class={`bar bar-${job.status}`}
          max={100}
          value={percent}
          aria-label={`${t("progress.label")}: ${jobName(job)}`}
        />
      )}
      <span class="progress-words num">{words.join(" · ")}</span>
    </div>
  );
}
