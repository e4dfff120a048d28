import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { useLocation, useRoute } from "preact-iso";
import { cancelJob, deleteJob } from "../../api/jobs";
import type { Job } from "../../api/types";
import { fmt, t } from "../../i18n";
import { jobName } from "../../job-facts";
import type { PollState } from "../../live/poller";
import { usePoll } from "../../live/usePoll";
import { announce, notify } from "../../ui/announcer";
import { ConfirmDialog } from "../../ui/ConfirmDialog";
import { ErrorBox } from "../../ui/ErrorBox";
import { Freshness } from "../../ui/Freshness";
import { Icon } from "../../ui/icons";
import { JobProgress } from "../../ui/JobProgress";
import { Page } from "../../ui/Page";
import { Skeleton } from "../../ui/Skeleton";
import { JobTags, StatusBadge } from "../../ui/StatusBadge";
import { EventsPanel } from "./EventsPanel";
import { Datasets, Facts, FailureBox, PhaseLine } from "./JobFacts";
import { LogsPanel } from "./LogsPanel";
import { LossPanel } from "./LossPanel";
import { loadJob } from "./loadJob";
import { OutputsPanel } from "./OutputsPanel";
import { useLog } from "./useLog";

const ACTIVE_MS = 2_000;
const MILESTONES = [25, 50, 75, 100];

export function JobPage() {
  const { jobId = "" } = useRoute().params as { jobId?: string };
  const { state, refresh } = usePoll(
    `job/${jobId}`,
    (signal, previous: { job: Job; fullAt: number } | undefined) =>
      loadJob(jobId, previous, Date.now(), signal),
    ({ job }) => (job.is_active ? ACTIVE_MS : null),
  );
  const { data, error } = state.value;
  const back = (
    <a class="back" href="/">
      <Icon name="back" />
      {t("job.back")}
    </a>
  );
  if (!data) {
    return (
      <Page title={[jobId, t("jobs.title")]} heading={error ? t("error.title") : jobId} before={back}>
        {error ? <ErrorBox error={error} onRetry={refresh} /> : <Skeleton rows={8} />}
      </Page>
    );
  }
  return <LoadedJob key={jobId} job={data.job} state={state.value} back={back} onChanged={refresh} />;
}

interface LoadedJobProps {
  job: Job;
  state: PollState<unknown>;
  back: preact.JSX.Element;
  onChanged: () => void;
}

function LoadedJob({ job, state, back, onChanged }: LoadedJobProps) {
  const log = useLog(job);
  useMilestones(job);
  const percent = job.is_active && job.progress.percent !== null ? [fmt().percent(job.progress.percent)] : [];
  const word = job.is_active && job.progress.percent !== null ? [] : [t(`status.${job.status}`)];
  return (
    <Page
      title={[...percent, ...word, jobName(job), t("jobs.title")]}
      heading={jobName(job)}
      before={back}
      actions={<JobActions job={job} onChanged={onChanged} />}
    >
      <div class="job-head">
        <div class="job-state">
          <StatusBadge job={job} />
          <JobTags job={job} />
          <Freshness state={state} providerAt={job.is_active ? job.last_confirmed_at : null} />
        </div>
        <JobProgress job={job} withTimeLeft />
        <PhaseLine job={job} />
      </div>
      {job.status === "failed" && <FailureBox job={job} />}
      <div class="job-grid">
        <LossPanel points={log.points.value} job={job} fromStart={log.fromStart.value} />
        <Facts job={job} />
        <OutputsPanel job={job} />
        <LogsPanel job={job} log={log} />
        <EventsPanel job={job} />
        <Datasets job={job} />
      </div>
    </Page>
  );
}

/** Says 25, 50, 75 and 100 % once each to those who can't see the bar move. */
function useMilestones(job: Job): void {
  const said = useRef<number | null>(null);
  const percent = job.progress.percent ?? 0;
  useEffect(() => {
    const reached = MILESTONES.filter((mark) => percent >= mark).at(-1) ?? 0;
    if (said.current !== null && reached > said.current) {
      announce(t("progress.speak", { name: jobName(job), percent: fmt().percent(reached) }));
    }
    said.current = reached;
  }, [percent, job]);
}

function JobActions({ job, onChanged }: { job: Job; onChanged: () => void }) {
  const { route } = useLocation();
  const asking = useSignal<"cancel" | "delete" | null>(null);
  const name = jobName(job);
  const close = () => {
    asking.value = null;
  };
  const cancel = async () => {
    const result = await cancelJob(job.job_id);
    notify(t(result.status === "cancelled" ? "job.cancelled" : "job.cancelSent", { name }));
    onChanged();
  };
  const remove = async () => {
    await deleteJob(job.job_id);
    notify(t("job.deleted", { name }));
    route("/");
  };
  const cancelling = job.cancel_requested && job.is_active;
  return (
    <>
      {job.is_active ? (
        <button
          type="button"
          class="button"
          aria-disabled={cancelling}
          onClick={() => {
            if (!cancelling) asking.value = "cancel";
          }}
        >
          {cancelling ? t("status.cancelling") : t("job.cancel")}
        </button>
      ) : (
        <button
          type="button"
          class="button"
          onClick={() => {
            asking.value = "delete";
          }}
        >
          {t("job.delete")}
        </button>
      )}
      {asking.value === "cancel" && (
        <ConfirmDialog
          title={t("job.cancelAsk", { name })}
          body={
            job.cost_usd ? t("job.cancelBody", { cost: fmt().money(job.cost_usd) }) : t("job.cancelBodyFree")
          }
          confirm={t("job.cancelDo")}
          keep={t("job.cancelKeep")}
          onConfirm={cancel}
          onClose={close}
        />
      )}
      {asking.value === "delete" && (
        <ConfirmDialog
          title={t("job.deleteAsk", { name })}
          body={deleteBody(job)}
          confirm={t("job.deleteDo")}
          keep={t("job.deleteKeep")}
          onConfirm={remove}
          onClose={close}
        />
      )}
    </>
  );
}

function deleteBody(job: Job): string {
  if (!job.delivery?.files) return t("job.deleteBodyPlain");
  return t("job.deleteBody", {
    files: t("job.files", { n: job.delivery.files }),
    size: fmt().bytes(job.delivery.bytes),
  });
}
