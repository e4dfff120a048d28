import type { ComponentChildren } from "preact";
import type { Job } from "../../api/types";
import { fmt, type MessageKey, t } from "../../i18n";
import { en } from "../../i18n/en";
import { type StepState, timeline } from "../../job-facts";
import { CopyButton } from "../../ui/CopyButton";
import { Icon, type IconName } from "../../ui/icons";

const STEP_ICON: Record<StepState, IconName> = {
  done: "done",
  now: "running",
  open: "open",
  stopped: "cancelled",
};

/** The phases from left to right (downward on a phone), with what is done, under way and not reached. */
export function PhaseLine({ job }: { job: Job }) {
  return (
    <ol class="phases" aria-label={t("phase.label")}>
      {timeline(job).map(({ step, state }) => (
        <li key={step} class={`phase phase-${state}`} aria-current={state === "now" ? "step" : undefined}>
          <Icon name={STEP_ICON[state]} turning={state === "now"} />
          <span>{t(`phase.${step}`)}</span>
          <span class="visually-hidden">
            {state === "stopped" ? t(`status.${job.status}`) : t(`phase.${state}`)}
          </span>
        </li>
      ))}
    </ol>
  );
}

/** Why a job failed, whose turn it is, and what to do: before everything else on the page. */
export function FailureBox({ job }: { job: Job }) {
  const kindKey = `failure.kind.${job.failure?.kind}`;
  const kind = kindKey in en ? t(kindKey as MessageKey) : null;
  return (
    <section class="notice notice-error" aria-label={t("failure.title")}>
      <Icon name="failed" />
      <div class="notice-body">
        <h2 class="notice-title">{kind ?? t("failure.title")}</h2>
        <p lang="en">{job.failure?.message ?? job.error_message}</p>
        {job.failure?.advice && (
          <p>
            <strong>{t("failure.advice")}: </strong>
            <span lang="en">{job.failure.advice}</span>
          </p>
        )}
        {job.failure && <p class="meta">{t("error.code", { code: job.failure.code })}</p>}
      </div>
    </section>
  );
}

export function Facts({ job }: { job: Job }) {
  const prediction = typeof job.metadata.prediction_id === "string" ? job.metadata.prediction_id : null;
  const config = job.config_name;
  const rows: [MessageKey, ComponentChildren | null][] = [
    [
      "job.fact.stage",
      job.is_active && job.progress.stage ? <span lang="en">{job.progress.stage}</span> : null,
    ],
    ["job.fact.loss", job.progress.loss === null ? null : fmt().loss(job.progress.loss)],
    [
      "job.fact.lr",
      job.progress.learning_rate === null ? null : fmt().learningRate(job.progress.learning_rate),
    ],
    ["job.fact.checkpoints", job.progress.checkpoint_count || null],
    [job.is_terminal ? "job.fact.costFinal" : "job.fact.cost", fmt().money(job.cost_usd)],
    ["job.fact.hardware", job.hardware_type],
    ["job.fact.provider", job.provider],
    ["job.fact.created", fmt().dateTime(job.created_at)],
    ["job.fact.started", job.started_at && fmt().dateTime(job.started_at)],
    ["job.fact.ended", job.completed_at && fmt().dateTime(job.completed_at)],
    ["job.fact.duration", job.duration_seconds === null ? null : fmt().duration(job.duration_seconds)],
    ["job.fact.deadline", job.is_active && job.deadline ? fmt().dateTime(job.deadline) : null],
    ["job.fact.config", config && configWords(config, job.config_version)],
    ["job.fact.attempt", job.attempt > 1 ? job.attempt : null],
    ["job.fact.id", <Identifier key="id" id={job.job_id} what={t("job.fact.id")} />],
    ["job.fact.prediction", prediction && <Identifier id={prediction} what={t("job.fact.prediction")} />],
  ];
  return (
    <section class="panel panel-facts" aria-labelledby="facts">
      <h2 id="facts">{t("job.section.facts")}</h2>
      <dl class="facts">
        {rows
          .filter(([, value]) => value !== null && value !== "")
          .map(([key, value]) => (
            <div key={key}>
              <dt>{t(key)}</dt>
              <dd class="num">
                {value}
                {key === "job.fact.hardware" && job.price_per_hour !== null && (
                  <span class="meta">
                    {" "}
                    · {t("job.fact.price", { price: fmt().money(job.price_per_hour) })}
                  </span>
                )}
              </dd>
            </div>
          ))}
      </dl>
    </section>
  );
}

const configWords = (name: string, version: number | null) =>
  version === null ? name : t("job.fact.configVersion", { name, version });

function Identifier({ id, what }: { id: string; what: string }) {
  return (
    <span class="identifier">
      <code>{id}</code>
      <CopyButton text={id} what={what} />
    </span>
  );
}

/** The exact dataset versions this job trains on. */
export function Datasets({ job }: { job: Job }) {
  return (
    <section class="panel" aria-labelledby="job-datasets">
      <h2 id="job-datasets">{t("datasets.title")}</h2>
      {job.datasets.length === 0 ? (
        <p class="meta">{t("datasets.none")}</p>
      ) : (
        <ul class="plain-list">
          {job.datasets.map((dataset) => (
            <li key={dataset.entry_id}>
              <strong>{dataset.dataset_id}</strong> <code>{dataset.version_id}</code>
              <p class="meta num">
                {t("datasets.job", { entry: dataset.entry_id })} · {t("job.files", { n: dataset.files })} ·{" "}
                {fmt().bytes(dataset.bytes)}
              </p>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
