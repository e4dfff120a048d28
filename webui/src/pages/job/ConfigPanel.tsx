import { ApiError } from "../../api/client";
import { getConfig } from "../../api/configs";
import type { Job, SavedConfig } from "../../api/types";
import { t } from "../../i18n";
import { usePoll } from "../../live/usePoll";
import { CopyButton } from "../../ui/CopyButton";
import { ErrorBox } from "../../ui/ErrorBox";
import { Skeleton } from "../../ui/Skeleton";
import { saveFile } from "../../ui/saveFile";

/** The configuration the job was submitted with, in the exact version. */
export function ConfigPanel({ job }: { job: Job }) {
  return (
    <section class="panel panel-wide" aria-labelledby="config">
      <h2 id="config">{t("config.title")}</h2>
      {job.config_name === null ? (
        <p class="meta">{t("config.inline")}</p>
      ) : (
        <Saved name={job.config_name} version={job.config_version} />
      )}
    </section>
  );
}

function Saved({ name, version }: { name: string; version: number | null }) {
  const { state, refresh } = usePoll<SavedConfig>(
    `config/${name}/${version}`,
    (signal) => getConfig(name, version, signal),
    () => null, // a version never changes
  );
  const { data, error } = state.value;
  if (!data) {
    if (error instanceof ApiError && error.status === 404) return <p class="meta">{t("config.gone")}</p>;
    return error ? <ErrorBox error={error} onRetry={refresh} /> : <Skeleton rows={1} />;
  }
  return (
    <>
      <p>{t("job.fact.configVersion", { name: data.name, version: data.version })}</p>
      <JsonFile name="config.json" value={data.config} />
      {data.dataloader_config && <JsonFile name="multidatabackend.json" value={data.dataloader_config} />}
    </>
  );
}

function JsonFile({ name, value }: { name: string; value: unknown }) {
  const text = JSON.stringify(value, null, 2);
  return (
    <details class="json-file">
      <summary>
        <code>{name}</code>
      </summary>
      <div class="json-tools">
        <button
          type="button"
          class="button button-small"
          onClick={() => saveFile(name, [`${text}\n`], "application/json")}
        >
          {t("action.download")}
          <span class="visually-hidden"> {name}</span>
        </button>
        <CopyButton text={text} what={name} />
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and the keyboard must be able to */}
      <section class="log json" tabIndex={0} aria-label={name} lang="en">
        {text}
      </section>
    </details>
  );
}
