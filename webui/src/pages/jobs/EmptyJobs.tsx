import { t } from "../../i18n";
import { Command } from "../../ui/CopyButton";

const STEPS = [
  { key: "jobs.empty.push", line: "stcloud datasets push ./my-pictures" },
  { key: "jobs.empty.config", line: "stcloud configs push my-lora config.json" },
  { key: "jobs.empty.submit", line: "stcloud jobs submit --config-name my-lora --watch" },
] as const;

/** Nothing yet: the three commands of the main job, ready to copy. */
export function EmptyJobs() {
  return (
    <section class="panel empty">
      <h2>{t("jobs.empty.title")}</h2>
      <p class="lead">{t("jobs.empty.lead")}</p>
      <ol class="steps">
        {STEPS.map((step) => (
          <li key={step.key}>
            <p>{t(step.key)}</p>
            <Command line={step.line} />
          </li>
        ))}
      </ol>
      <p class="meta">{t("jobs.empty.install")}</p>
    </section>
  );
}
