import { useEffect, useRef } from "preact/hooks";
import { useLocation, useRoute } from "preact-iso";
import type { Job, JobPhase } from "../../api/types";
import { fmt, t } from "../../i18n";
import { jobName } from "../../job-facts";
import type { PollState } from "../../live/poller";
import { usePoll } from "../../live/usePoll";
import { announce } from "../../ui/announcer";
import { ErrorBox } from "../../ui/ErrorBox";
import { Freshness } from "../../ui/Freshness";
import { Icon } from "../../ui/icons";
import { JobActions } from "../../ui/JobActions";
import { JobProgress } from "../../ui/JobProgress";
import { Page } from "../../ui/Page";
import { Skeleton } from "../../ui/Skeleton";
import { JobTags, StatusBadge } from "../../ui/StatusBadge";
import { ConfigPanel } from "./ConfigPanel";
import { EventsPanel } from "./EventsPanel";
import { Datasets, Facts, FailureBox, Figures, PhaseLine } from "./JobFacts";
import { LogsPanel } from "./LogsPanel";
import { LossPanel } from "./LossPanel";
import { type LoadedJob as LoadedRecord, loadJob } from "./loadJob";
import { OutputsPanel } from "./OutputsPanel";
import { useLog } from "./useLog";

const ACTIVE_MS = 2_000;
/** While the job is here the provider is asked; before and after there is nothing to confirm. */
const ASKED_IN = new Set<JobPhase>(["launching", "training"]);
const MILESTONES = [25, 50, 75, 100];

export function JobPage() {
  const { jobId = "" } = useRoute().params as { jobId?: string };
  const { state, refresh } = usePoll(
    `job/${jobId}`,
    (signal, previous: LoadedRecord | undefined) => loadJob(jobId, previous, Date.now(), signal),
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
  const { route } = useLocation();
  const log = useLog(job);
  useMilestones(job);
  const percent = job.is_active && job.progress.percent !== null ? [fmt().percent(job.progress.percent)] : [];
  const word = job.is_active && job.progress.percent !== null ? [] : [t(`status.${job.status}`)];
  return (
    <Page
      title={[...percent, ...word, jobName(job), t("jobs.title")]}
      heading={jobName(job)}
      before={back}
      actions={<JobActions job={job} onChanged={onChanged} onDeleted={() => route("/")} />}
    >
      <div class="job-head">
        <div class="job-state">
          <StatusBadge job={job} />
          <JobTags job={job} />
          <Freshness
            state={state}
            providerAt={job.is_active && ASKED_IN.has(job.phase) ? job.last_confirmed_at : null}
          />
        </div>
        <JobProgress job={job} withTimeLeft />
        <Figures job={job} />
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
        <ConfigPanel job={job} />
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
