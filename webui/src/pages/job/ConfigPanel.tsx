import { ApiError } from "../../api/client";
import { getJobConfig } from "../../api/jobs";
import type { Job, JobConfig } from "../../api/types";
import { t } from "../../i18n";
import { usePoll } from "../../live/usePoll";
import { CopyButton } from "../../ui/CopyButton";
import { ErrorBox } from "../../ui/ErrorBox";
import { Skeleton } from "../../ui/Skeleton";
import { saveFile } from "../../ui/saveFile";
import { settings } from "./settings";

/** What the job was launched with: what was changed on the way, and both files as the trainer got them. */
export function ConfigPanel({ job }: { job: Job }) {
  const { state, refresh } = usePoll<JobConfig>(
    `config/${job.job_id}`,
    (signal) => getJobConfig(job.job_id, signal),
    () => null, // it never changes
  );
  const { data, error } = state.value;
  return (
    <section class="panel panel-wide" aria-labelledby="config">
      <h2 id="config">{t("config.title")}</h2>
      {data ? <Launched launched={data} /> : <Missing error={error} onRetry={refresh} />}
    </section>
  );
}

function Missing({ error, onRetry }: { error: Error | null; onRetry: () => void }) {
  if (!error) return <Skeleton rows={2} />;
  if (error instanceof ApiError && error.code === "config_not_found") {
    return <p class="meta">{t("config.gone")}</p>;
  }
  return <ErrorBox error={error} onRetry={onRetry} />;
}

function Launched({ launched }: { launched: JobConfig }) {
  const { config_name: name, config_version: version, adjustments } = launched;
  const entries = settings(launched.config);
  const origin =
    name === null
      ? t("config.inline")
      : version === null
        ? name
        : t("job.fact.configVersion", { name, version });
  return (
    <>
      <p>{origin}</p>
      {adjustments.length > 0 && (
        <>
          <h3 id="adjustments">{t("config.adjusted")}</h3>
          <ul class="adjustments" aria-labelledby="adjustments" lang="en">
            {adjustments.map((note) => (
              <li key={note}>{note}</li>
            ))}
          </ul>
        </>
      )}
      <File name="config.json" value={launched.config} what={t("config.settings", { n: entries.length })}>
        <dl class="settings" lang="en">
          {entries.map(({ name: key, value }) => (
            <div key={key}>
              <dt>
                <code>{key}</code>
              </dt>
              <dd>
                <code>{value}</code>
              </dd>
            </div>
          ))}
        </dl>
      </File>
      <File
        name="multidatabackend.json"
        value={launched.dataloader_config}
        what={t("config.entries", { n: launched.dataloader_config.length })}
      >
        {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and the keyboard must be able to */}
        <section class="log json" tabIndex={0} aria-label="multidatabackend.json" lang="en">
          {JSON.stringify(launched.dataloader_config, null, 2)}
        </section>
      </File>
    </>
  );
}

interface FileProps {
  name: string;
  value: unknown;
  /** How much is inside, in words. */
  what: string;
  children: preact.ComponentChildren;
}

/** A file to open, copy and keep. What is copied and kept is JSON, whatever it is shown as. */
function File({ name, value, what, children }: FileProps) {
  const text = `${JSON.stringify(value, null, 2)}\n`;
  return (
    <details class="json-file">
      <summary>
        <code>{name}</code> <span class="meta">{what}</span>
      </summary>
      <div class="json-tools">
        <button
          type="button"
          class="button button-small"
          onClick={() => saveFile(name, [text], "application/json")}
        >
          {t("action.download")}
          <span class="visually-hidden"> {name}</span>
        </button>
        <CopyButton text={text} what={name} />
      </div>
      {children}
    </details>
  );
}
