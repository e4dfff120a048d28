import { useSignal } from "@preact/signals";
import { useLocation } from "preact-iso";
import { deleteDataset, listDatasets } from "../../api/datasets";
import type { Dataset, DatasetPage } from "../../api/types";
import { t } from "../../i18n";
import { everyTenSeconds } from "../../live/clock";
import { usePoll } from "../../live/usePoll";
import { notify } from "../../ui/announcer";
import { Command } from "../../ui/CopyButton";
import { type Column, DataTable } from "../../ui/DataTable";
import { DeleteButton } from "../../ui/DeleteButton";
import { ErrorBox } from "../../ui/ErrorBox";
import { Ago, Freshness } from "../../ui/Freshness";
import { LoadMore } from "../../ui/LoadMore";
import { focusHeading, Page } from "../../ui/Page";
import { Skeleton } from "../../ui/Skeleton";
import { Versions } from "./Versions";

const PAGE = 100;
const REFRESH_MS = 30_000;
const PUSH = "stcloud datasets push ./my-pictures";

export function DatasetsPage() {
  const { query, route } = useLocation();
  const open = query.open ?? null;
  const older = useSignal<DatasetPage | null>(null);
  const { state, refresh } = usePoll<DatasetPage>(
    "datasets",
    (signal) => listDatasets({ limit: PAGE }, signal),
    () => REFRESH_MS,
  );
  const { data, error } = state.value;
  const rows = data ? merge(data, older.value) : [];
  const next = (older.value ?? data)?.next ?? null;
  const more = async () => {
    const page = await listDatasets({ limit: PAGE, cursor: next });
    older.value = { datasets: [...(older.value?.datasets ?? []), ...page.datasets], next: page.next ?? null };
  };
  const show = (id: string | null) =>
    route(id === null ? "/datasets" : `/datasets?open=${encodeURIComponent(id)}`, true);
  const deleted = (id: string) => {
    notify(t("datasets.deleted", { name: id }));
    older.value = null;
    if (open === id) show(null);
    refresh();
    focusHeading();
  };
  return (
    <Page title={[t("datasets.title")]} heading={t("datasets.title")}>
      <Freshness state={state.value} />
      {error && !data && <ErrorBox error={error} onRetry={refresh} />}
      {!data && !error && <Skeleton rows={4} />}
      {data && rows.length === 0 && <EmptyDatasets />}
      {rows.length > 0 && (
        <>
          <DataTable
            name="datasets"
            label={t("datasets.title")}
            columns={columns(open, show, deleted)}
            rows={rows}
            rowKey={(dataset) => dataset.dataset_id}
          />
          {next !== null && <LoadMore onMore={more} />}
          {open !== null && <Versions key={open} datasetId={open} onChanged={refresh} />}
          <section class="panel" aria-labelledby="push">
            <h2 id="push">{t("datasets.push")}</h2>
            <p class="lead">{t("datasets.empty.lead")}</p>
            <Command line={PUSH} />
          </section>
        </>
      )}
    </Page>
  );
}

/** The first page as it is now with the rows of further pages behind it. Both are in the order of their ids. */
function merge(first: DatasetPage, older: DatasetPage | null): Dataset[] {
  const known = new Set(first.datasets.map((dataset) => dataset.dataset_id));
  return [...first.datasets, ...(older?.datasets ?? []).filter((dataset) => !known.has(dataset.dataset_id))];
}

const columns = (
  open: string | null,
  show: (id: string | null) => void,
  deleted: (id: string) => void,
): Column<Dataset>[] => [
  {
    key: "name",
    header: t("datasets.col.name"),
    rowHeader: true,
    cell: ({ dataset_id: id }) => (
      <button
        type="button"
        class="link-button"
        aria-expanded={open === id}
        title={t("datasets.showVersions", { name: id })}
        onClick={() => show(open === id ? null : id)}
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
    cell: (dataset) =>
      dataset.latest_version ? (
        <code>{dataset.latest_version}</code>
      ) : (
        <span class="meta">{t("datasets.noneReady")}</span>
      ),
  },
  {
    key: "updated",
    header: t("datasets.col.updated"),
    numeric: true,
    cell: (dataset) => <Ago iso={dataset.updated_at} now={everyTenSeconds.value} />,
  },
  {
    key: "actions",
    header: t("jobs.col.actions"),
    hiddenHeader: true,
    cell: ({ dataset_id: id }) => (
      <DeleteButton
        name={id}
        ask={t("datasets.deleteAsk", { name: id })}
        body={t("datasets.deleteBody")}
        confirm={t("datasets.deleteDo")}
        onDelete={() => deleteDataset(id)}
        onDeleted={() => deleted(id)}
      />
    ),
  },
];

function EmptyDatasets() {
  return (
    <section class="panel empty">
      <h2>{t("datasets.empty.title")}</h2>
      <p class="lead">{t("datasets.empty.lead")}</p>
      <Command line={PUSH} />
    </section>
  );
}
