import { useLocation } from "preact-iso";
import type { JobStatus } from "../../api/types";
import { t } from "../../i18n";
import { notify } from "../../ui/announcer";
import { ErrorBox } from "../../ui/ErrorBox";
import { Freshness } from "../../ui/Freshness";
import { LoadMore } from "../../ui/LoadMore";
import { focusHeading, Page } from "../../ui/Page";
import { Skeleton } from "../../ui/Skeleton";
import { EmptyJobs } from "./EmptyJobs";
import { JobsTable } from "./JobsTable";
import { shownRows } from "./jobList";
import { type Jobs, useJobs } from "./useJobs";

const FILTERS: JobStatus[] = ["queued", "running", "completed", "failed", "cancelled"];

export function JobsPage() {
  const { query, route } = useLocation();
  const status = FILTERS.find((name) => name === query.status) ?? null;
  const jobs = useJobs(status);
  const choose = (next: string) => route(next ? `/?status=${next}` : "/");

  const { data, error, loading } = jobs.state.value;
  const running = data ? jobs.list.value.jobs.filter((job) => job.status === "running").length : 0;
  const title = running > 0 ? `(${running}) ${t("jobs.title")}` : t("jobs.title");
  const sync = () => {
    if (!loading) jobs.sync(() => notify(t("jobs.synced")));
  };

  return (
    <Page
      title={[title]}
      heading={t("jobs.title")}
      actions={
        <button
          type="button"
          class="button"
          title={t("jobs.syncHelp")}
          aria-disabled={loading}
          onClick={sync}
        >
          {t("action.sync")}
        </button>
      }
    >
      <div class="toolbar">
        <label class="field-inline">
          {t("jobs.filter")}
          <select value={status ?? ""} onChange={(event) => choose(event.currentTarget.value)}>
            <option value="">{t("jobs.filter.all")}</option>
            {FILTERS.map((name) => (
              <option key={name} value={name}>
                {t(`status.${name}`)}
              </option>
            ))}
          </select>
        </label>
        {data && <Count jobs={jobs} />}
        <Freshness state={jobs.state.value} />
      </div>
      {error && !data && <ErrorBox error={error} onRetry={jobs.refresh} />}
      {!data && !error && <Skeleton rows={5} />}
      {data && <Rows jobs={jobs} filtered={status !== null} onClear={() => choose("")} />}
    </Page>
  );
}

function Count({ jobs }: { jobs: Jobs }) {
  const { jobs: all, next } = jobs.list.value;
  if (all.length === 0) return null;
  return <p class="meta num">{t(next === null ? "jobs.count" : "jobs.countMore", { n: all.length })}</p>;
}

function Rows({ jobs, filtered, onClear }: { jobs: Jobs; filtered: boolean; onClear: () => void }) {
  const { jobs: all, next } = jobs.list.value;
  const { rows, waiting } = shownRows(all, jobs.held.value);
  if (all.length === 0 && next === null) return filtered ? <NoneMatch onClear={onClear} /> : <EmptyJobs />;
  const showNew = () => {
    jobs.release();
    window.scrollTo({ top: 0 });
  };
  return (
    <>
      {waiting > 0 && (
        <button type="button" class="button new-rows" onClick={showNew}>
          {t("jobs.new", { n: waiting })}
        </button>
      )}
      {rows.length > 0 ? (
        <JobsTable jobs={rows} onChanged={jobs.refresh} onDeleted={() => deleted(jobs)} />
      ) : (
        <p class="panel empty">{t("jobs.noneHere")}</p>
      )}
      {next !== null && <LoadMore onMore={jobs.loadMore} />}
    </>
  );
}

/** The row that held the focus is gone. */
function deleted(jobs: Jobs): void {
  jobs.refresh();
  focusHeading();
}

function NoneMatch({ onClear }: { onClear: () => void }) {
  return (
    <div class="panel empty">
      <p>{t("jobs.none")}</p>
      <button type="button" class="button" onClick={onClear}>
        {t("action.clearFilter")}
      </button>
    </div>
  );
}
