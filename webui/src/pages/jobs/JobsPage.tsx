import { useSignal } from "@preact/signals";
import { useLocation } from "preact-iso";
import { JOBS_PAGE_MAX, listJobs } from "../../api/jobs";
import type { JobPage, JobStatus } from "../../api/types";
import { fmt, t } from "../../i18n";
import { usePoll } from "../../live/usePoll";
import { ErrorBox } from "../../ui/ErrorBox";
import { Freshness } from "../../ui/Freshness";
import { Page } from "../../ui/Page";
import { Skeleton } from "../../ui/Skeleton";
import { EmptyJobs } from "./EmptyJobs";
import { JobsTable } from "./JobsTable";

const PAGE = 50;
const BUSY_MS = 5_000;
const CALM_MS = 30_000;
const FILTERS: JobStatus[] = ["queued", "running", "completed", "failed", "cancelled"];

export function JobsPage() {
  const { query, route } = useLocation();
  const status = FILTERS.find((name) => name === query.status) ?? null;
  const limit = useSignal(PAGE);
  const syncNext = useSignal(false);

  const { state, refresh } = usePoll<JobPage>(
    `jobs/${status}`,
    (signal) => {
      const syncActive = syncNext.peek();
      syncNext.value = false;
      return listJobs({ limit: limit.peek(), status, syncActive }, signal);
    },
    (page) => (page.jobs.some((job) => job.is_active) ? BUSY_MS : CALM_MS),
  );

  const choose = (next: string) => {
    limit.value = PAGE;
    route(next ? `/?status=${next}` : "/");
  };
  const more = () => {
    limit.value = Math.min(JOBS_PAGE_MAX, limit.value + PAGE);
    refresh();
  };
  const sync = () => {
    syncNext.value = true;
    refresh();
  };

  const { data, error, loading } = state.value;
  const active = data?.jobs.filter((job) => job.status === "running").length ?? 0;
  const title = active > 0 ? `(${active}) ${t("jobs.title")}` : t("jobs.title");

  return (
    <Page
      title={[title]}
      heading={t("jobs.title")}
      actions={
        <button type="button" class="button" aria-disabled={loading} onClick={sync}>
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
        {data && data.jobs.length > 0 && (
          <p class="meta num">
            {t(data.next === null ? "jobs.count" : "jobs.countMore", { n: data.jobs.length })}
          </p>
        )}
        <Freshness state={state.value} />
      </div>
      {error && !data && <ErrorBox error={error} onRetry={refresh} />}
      {!data && !error && <Skeleton rows={5} />}
      {data && data.jobs.length === 0 && (status ? <NoneMatch onClear={() => choose("")} /> : <EmptyJobs />)}
      {data && data.jobs.length > 0 && <JobsTable jobs={data.jobs} />}
      {data && data.next !== null && (
        <div class="more">
          {limit.value < JOBS_PAGE_MAX ? (
            <button type="button" class="button" aria-disabled={loading} onClick={more}>
              {t("action.more")}
            </button>
          ) : (
            <p class="meta">{t("jobs.limit", { n: fmt().integer(data.jobs.length) })}</p>
          )}
        </div>
      )}
    </Page>
  );
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
