import type { ComponentChildren } from "preact";
import type { Job } from "../../api/types";
import { fmt, type MessageKey, t } from "../../i18n";
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
  const kind = job.failure && t(`failure.kind.${job.failure.kind}`);
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

/** The numbers people come for: what it costs, how well it goes, how long it has run. */
export function Figures({ job }: { job: Job }) {
  const most = (job.price_per_hour * job.max_run_seconds) / 3600;
  const figures: [MessageKey, string, (string | undefined)?][] = [
    [
      job.is_terminal ? "job.fact.costFinal" : "job.fact.cost",
      fmt().money(job.cost_usd),
      job.is_active
        ? t("job.fact.atMost", { cost: fmt().money(most), time: fmt().duration(job.max_run_seconds) })
        : undefined,
    ],
    ["job.fact.loss", fmt().loss(job.progress.loss)],
    ["job.fact.lr", fmt().learningRate(job.progress.learning_rate)],
    ["job.fact.duration", fmt().duration(job.duration_seconds)],
    ["job.fact.checkpoints", fmt().integer(job.progress.checkpoint_count)],
  ];
  return (
    <dl class="figures">
      {figures.map(([key, value, note]) => (
        <div key={key}>
          <dt>{t(key)}</dt>
          <dd class="num">
            <span class="figure">{value}</span>
            {note && <span class="meta">{note}</span>}
          </dd>
        </div>
      ))}
    </dl>
  );
}

export function Facts({ job }: { job: Job }) {
  const prediction = text(job.metadata.prediction_id);
  const trainer = text(job.metadata.model);
  const rows: [MessageKey, ComponentChildren | null][] = [
    [
      "job.fact.stage",
      job.is_active && job.progress.stage ? <span lang="en">{job.progress.stage}</span> : null,
    ],
    ["job.fact.hardware", job.hardware_type && <Hardware job={job} />],
    ["job.fact.provider", job.provider],
    ["job.fact.trainer", trainer && <code>{trainer}</code>],
    ["job.fact.created", fmt().dateTime(job.created_at)],
    ["job.fact.started", job.started_at && fmt().dateTime(job.started_at)],
    ["job.fact.ended", job.completed_at && fmt().dateTime(job.completed_at)],
    ["job.fact.deadline", job.is_active && job.deadline ? fmt().dateTime(job.deadline) : null],
    ["job.fact.config", job.config_name && configWords(job.config_name, job.config_version)],
    ["job.fact.owner", job.user_id],
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
              <dd class="num">{value}</dd>
            </div>
          ))}
      </dl>
    </section>
  );
}

const text = (value: unknown) => (typeof value === "string" && value !== "" ? value : null);

const Hardware = ({ job }: { job: Job }) => (
  <>
    {job.hardware_type}
    <span class="meta"> · {t("job.fact.price", { price: fmt().money(job.price_per_hour) })}</span>
  </>
);

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
              <a href={`/datasets?open=${encodeURIComponent(dataset.dataset_id)}`}>{dataset.dataset_id}</a>{" "}
              <code>{dataset.version_id}</code>
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
