import { useSignal } from "@preact/signals";
import { getOutputs } from "../../api/jobs";
import type { Job, OutputFile, Outputs } from "../../api/types";
import { fmt, t } from "../../i18n";
import { usePoll } from "../../live/usePoll";
import { Command, CopyButton } from "../../ui/CopyButton";
import { type Column, DataTable } from "../../ui/DataTable";
import { ErrorBox } from "../../ui/ErrorBox";
import { Icon } from "../../ui/icons";
import { SampleDialog } from "./SampleDialog";

const ACTIVE_MS = 15_000;
/** Presigned links live for an hour: new ones are fetched before they end. */
const RENEW_MS = 45 * 60_000;
const IMAGE = /\.(png|jpe?g|webp)$/i;
const SAMPLES_SHOWN = 24;

export function OutputsPanel({ job }: { job: Job }) {
  const { state, refresh } = usePoll<Outputs>(
    `outputs/${job.job_id}/${job.status}/${job.phase}`,
    (signal) => getOutputs(job.job_id, signal),
    (outputs) => (job.is_active ? ACTIVE_MS : outputs.files.length > 0 ? RENEW_MS : null),
  );
  const { data, error } = state.value;
  return (
    <section class="panel panel-wide" aria-labelledby="outputs">
      <h2 id="outputs">{t("outputs.title")}</h2>
      {error && !data && <ErrorBox error={error} onRetry={refresh} />}
      {data?.files.length === 0 && (
        <p class="meta">{t(job.is_active ? "outputs.empty" : "outputs.emptyEnded")}</p>
      )}
      {data && data.files.length > 0 && <Files job={job} outputs={data} />}
    </section>
  );
}

function Files({ job, outputs }: { job: Job; outputs: Outputs }) {
  const files = outputs.files.map((file) => ({ ...file, path: withoutJob(file.path, job.job_id) }));
  const samples = files.filter((file) => file.kind === "sample" && IMAGE.test(file.path));
  const counted = {
    files: t("job.files", { n: outputs.files.length }),
    size: fmt().bytes(outputs.total_bytes),
    verified: outputs.files.filter((file) => file.verified).length,
  };
  return (
    <>
      <p>
        {t(outputs.verified ? "outputs.summaryVerified" : "outputs.summary", counted)}{" "}
        {outputs.manifest_url && <a href={outputs.manifest_url}>{t("outputs.manifest")}</a>}
      </p>
      {samples.length > 0 && <Samples files={samples.slice(-SAMPLES_SHOWN)} />}
      <DataTable
        name="outputs"
        label={t("outputs.title")}
        columns={columns(outputs.complete)}
        rows={byKind(files)}
        rowKey={(file) => file.path}
      />
      {outputs.complete && (
        <>
          <p class="meta">{t("outputs.pull")}</p>
          <Command line={`stcloud jobs pull ${job.job_id}`} />
        </>
      )}
    </>
  );
}

/** The trainer puts everything into a folder named like the job, which says nothing on the job's own page. */
const withoutJob = (path: string, jobId: string) =>
  path.startsWith(`${jobId}/`) ? path.slice(jobId.length + 1) : path;

const KINDS: OutputFile["kind"][] = ["weights", "checkpoint", "sample", "other"];

/** What people come for first; within a kind in the order of paths. */
const byKind = (files: OutputFile[]) =>
  files.toSorted((a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind));

const columns = (ended: boolean): Column<OutputFile>[] => [
  { key: "file", header: t("outputs.col.file"), rowHeader: true, cell: (file) => <code>{file.path}</code> },
  { key: "kind", header: t("outputs.col.kind"), cell: (file) => t(`outputs.kind.${file.kind}`) },
  { key: "size", header: t("outputs.col.size"), numeric: true, cell: (file) => fmt().bytes(file.size) },
  {
    key: "hash",
    header: t("outputs.col.hash"),
    emptyOn: (file) => file.sha256 === null,
    cell: ({ sha256 }) =>
      sha256 && (
        <span class="identifier">
          <code title={sha256}>{sha256.slice(0, 12)}…</code>
          <CopyButton text={sha256} what={t("outputs.col.hash")} />
        </span>
      ),
  },
  {
    key: "state",
    header: t("outputs.col.state"),
    cell: (file) => <FileState file={file} ended={ended} />,
  },
  {
    key: "download",
    header: t("action.download"),
    cell: (file) => (
      <a href={file.url} rel="noreferrer" aria-label={t("action.downloadNamed", { name: file.path })}>
        {t("action.download")}
      </a>
    ),
  },
];

/** Verified means: read back whole, hashed, and found sound. */
function FileState({ file, ended }: { file: OutputFile; ended: boolean }) {
  if (file.problem) {
    return (
      <span class="state state-bad">
        <Icon name="warning" />
        <span>
          {t("outputs.problem")} <span lang="en">{file.problem}</span>
        </span>
      </span>
    );
  }
  return file.verified ? (
    <span class="state state-good">
      <Icon name="done" />
      {t("outputs.verified")}
    </span>
  ) : (
    <span class="meta">{t(ended ? "outputs.notVerified" : "outputs.unverified")}</span>
  );
}

function Samples({ files }: { files: OutputFile[] }) {
  const open = useSignal<OutputFile | null>(null);
  const close = () => {
    open.value = null;
  };
  return (
    <>
      <h3>{t("outputs.samples")}</h3>
      <ul class="samples">
        {files.map((file) => (
          <li key={file.path}>
            <button
              type="button"
              class="sample"
              aria-haspopup="dialog"
              onClick={() => {
                open.value = file;
              }}
            >
              <img src={file.url} alt={file.path} loading="lazy" width={160} height={160} />
              <span class="meta" aria-hidden="true">
                {file.path.split("/").at(-1)}
              </span>
            </button>
          </li>
        ))}
      </ul>
      {open.value && <SampleDialog file={open.value} onClose={close} />}
    </>
  );
}
