import { useEffect, useRef } from "preact/hooks";
import { deleteVersion, getDataset } from "../../api/datasets";
import type { DatasetDetail, DatasetVersion } from "../../api/types";
import { fmt, t } from "../../i18n";
import { usePoll } from "../../live/usePoll";
import { notify } from "../../ui/announcer";
import { CopyButton } from "../../ui/CopyButton";
import { type Column, DataTable } from "../../ui/DataTable";
import { DeleteButton } from "../../ui/DeleteButton";
import { ErrorBox } from "../../ui/ErrorBox";
import { Skeleton } from "../../ui/Skeleton";

const UPLOADING_MS = 5_000;

/** The versions of one dataset, newest first. Takes the focus when it opens. */
export function Versions({ datasetId, onChanged }: { datasetId: string; onChanged: () => void }) {
  const { state, refresh } = usePoll<DatasetDetail>(
    `dataset/${datasetId}`,
    (signal) => getDataset(datasetId, signal),
    (dataset) => (dataset.versions.some((version) => version.status === "uploading") ? UPLOADING_MS : null),
  );
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus(), []);
  const { data, error } = state.value;
  const name = t("datasets.versions", { name: datasetId });
  const deleted = (version: string) => {
    notify(t("datasets.deleted", { name: version }));
    refresh();
    onChanged();
    heading.current?.focus();
  };
  return (
    <section class="panel" aria-labelledby="versions">
      <h2 id="versions" ref={heading} tabIndex={-1}>
        {name}
      </h2>
      {error && !data && <ErrorBox error={error} onRetry={refresh} />}
      {!data && !error && <Skeleton rows={2} />}
      {data && (
        <DataTable
          name="versions"
          label={name}
          columns={columns(deleted)}
          rows={data.versions}
          rowKey={(version) => version.version_id}
        />
      )}
    </section>
  );
}

const columns = (deleted: (version: string) => void): Column<DatasetVersion>[] => [
  {
    key: "version",
    header: t("datasets.col.version.one"),
    rowHeader: true,
    cell: ({ version_id: id }) => (
      <span class="identifier">
        <code>{id}</code>
        <CopyButton text={id} what={t("datasets.col.version.one")} />
      </span>
    ),
  },
  { key: "state", header: t("datasets.col.state"), cell: (version) => words(version) },
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
  {
    key: "actions",
    header: t("jobs.col.actions"),
    hiddenHeader: true,
    cell: ({ dataset_id: dataset, version_id: id }) => (
      <DeleteButton
        name={id}
        ask={t("datasets.deleteVersionAsk", { name: dataset, version: id })}
        body={t("datasets.deleteVersionBody")}
        confirm={t("datasets.deleteVersionDo")}
        onDelete={() => deleteVersion(dataset, id)}
        onDeleted={() => deleted(id)}
      />
    ),
  },
];

/** Ready, or how many files have been confirmed so far. */
function words(version: DatasetVersion): string {
  if (version.status === "ready" || version.checked === 0) return t(`datasets.state.${version.status}`);
  return t("datasets.checked", { checked: version.checked, files: version.files });
}
