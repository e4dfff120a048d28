import { useSignal } from "@preact/signals";
import { getDataset, listDatasets } from "../../api/datasets";
import type { Dataset, DatasetDetail, DatasetPage, DatasetVersion } from "../../api/types";
import { fmt, t } from "../../i18n";
import { everyTenSeconds } from "../../live/clock";
import { usePoll } from "../../live/usePoll";
import { Command } from "../../ui/CopyButton";
import { type Column, DataTable } from "../../ui/DataTable";
import { ErrorBox } from "../../ui/ErrorBox";
import { Ago, Freshness } from "../../ui/Freshness";
import { Page } from "../../ui/Page";
import { Skeleton } from "../../ui/Skeleton";

const PAGE = 50;
const MOST = 500;
const REFRESH_MS = 30_000;

export function DatasetsPage() {
  const limit = useSignal(PAGE);
  const open = useSignal<string | null>(null);
  const { state, refresh } = usePoll<DatasetPage>(
    "datasets",
    (signal) => listDatasets(limit.peek(), signal),
    () => REFRESH_MS,
  );
  const { data, error } = state.value;
  const more = () => {
    limit.value = Math.min(MOST, limit.value + PAGE);
    refresh();
  };
  return (
    <Page title={[t("datasets.title")]} heading={t("datasets.title")}>
      <Freshness state={state.value} />
      {error && !data && <ErrorBox error={error} onRetry={refresh} />}
      {!data && !error && <Skeleton rows={4} />}
      {data?.datasets.length === 0 && <EmptyDatasets />}
      {data && data.datasets.length > 0 && (
        <DataTable
          name="datasets"
          label={t("datasets.title")}
          columns={columns(open.value, (id) => {
            open.value = open.value === id ? null : id;
          })}
          rows={data.datasets}
          rowKey={(dataset) => dataset.dataset_id}
        />
      )}
      {data && data.next !== null && limit.value < MOST && (
        <div class="more">
          <button type="button" class="button" onClick={more}>
            {t("action.more")}
          </button>
        </div>
      )}
      {open.value !== null && <Versions key={open.value} datasetId={open.value} />}
    </Page>
  );
}

const columns = (open: string | null, toggle: (id: string) => void): Column<Dataset>[] => [
  {
    key: "name",
    header: t("datasets.col.name"),
    rowHeader: true,
    cell: ({ dataset_id: id }) => (
      <button
        type="button"
        class="link-button"
        aria-expanded={open === id}
        aria-controls="versions"
        title={t("datasets.showVersions", { name: id })}
        onClick={() => toggle(id)}
      >
        {id}
      </button>
    ),
  },
  {
    key: "source",
    header: t("datasets.col.source"),
    emptyOn: (dataset) => dataset.source_path === null,
    cell: (dataset) => dataset.source_path && <code>{dataset.source_path}</code>,
  },
  {
    key: "version",
    header: t("datasets.col.version"),
    emptyOn: (dataset) => dataset.latest_version === null,
    cell: (dataset) => dataset.latest_version && <code>{dataset.latest_version}</code>,
  },
  {
    key: "updated",
    header: t("datasets.col.updated"),
    numeric: true,
    cell: (dataset) => <Ago iso={dataset.updated_at} now={everyTenSeconds.value} />,
  },
];

function EmptyDatasets() {
  return (
    <section class="panel empty">
      <h2>{t("datasets.empty.title")}</h2>
      <p class="lead">{t("datasets.empty.lead")}</p>
      <Command line="stcloud datasets push ./my-pictures" />
    </section>
  );
}

function Versions({ datasetId }: { datasetId: string }) {
  const { state, refresh } = usePoll<DatasetDetail>(
    `dataset/${datasetId}`,
    (signal) => getDataset(datasetId, signal),
    (dataset) => (dataset.versions.some((version) => version.status === "uploading") ? 5_000 : null),
  );
  const { data, error } = state.value;
  const name = t("datasets.versions", { name: datasetId });
  return (
    <section id="versions" class="panel" aria-label={name}>
      <h2>{name}</h2>
      {error && !data && <ErrorBox error={error} onRetry={refresh} />}
      {!data && !error && <Skeleton rows={2} />}
      {data && (
        <DataTable
          name="versions"
          label={name}
          columns={versionColumns()}
          rows={data.versions}
          rowKey={(version) => version.version_id}
        />
      )}
    </section>
  );
}

const versionColumns = (): Column<DatasetVersion>[] => [
  {
    key: "version",
    header: t("datasets.col.version"),
    rowHeader: true,
    cell: (version) => <code>{version.version_id}</code>,
  },
  { key: "state", header: t("datasets.col.state"), cell: (version) => t(`datasets.state.${version.status}`) },
  {
    key: "files",
    header: t("datasets.col.files"),
    numeric: true,
    cell: (version) => fmt().integer(version.files),
  },
  {
    key: "size",
    header: t("datasets.col.size"),
    numeric: true,
    cell: (version) => fmt().bytes(version.bytes),
  },
  {
    key: "created",
    header: t("datasets.col.created"),
    numeric: true,
    cell: (version) => fmt().dateTime(version.created_at),
  },
];
