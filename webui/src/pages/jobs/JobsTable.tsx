import type { Job } from "../../api/types";
import { fmt, t } from "../../i18n";
import { jobName } from "../../job-facts";
import { everyTenSeconds } from "../../live/clock";
import { type Column, DataTable } from "../../ui/DataTable";
import { Ago } from "../../ui/Freshness";
import { JobActions } from "../../ui/JobActions";
import { JobProgress } from "../../ui/JobProgress";
import { JobTags, StatusBadge } from "../../ui/StatusBadge";

interface JobsTableProps {
  jobs: Job[];
  onChanged: () => void;
  onDeleted: () => void;
}

export function JobsTable({ jobs, onChanged, onDeleted }: JobsTableProps) {
  const columns: Column<Job>[] = [
    { key: "status", header: t("jobs.col.status"), cell: (job) => <StatusBadge job={job} /> },
    {
      key: "name",
      header: t("jobs.col.name"),
      rowHeader: true,
      cell: (job) => (
        <>
          <a class="row-link" href={`/jobs/${encodeURIComponent(job.job_id)}`}>
            {jobName(job)}
          </a>{" "}
          <JobTags job={job} />
        </>
      ),
    },
    {
      key: "progress",
      header: t("jobs.col.progress"),
      cell: (job) => <ProgressCell job={job} />,
      emptyOn: (job) => job.progress.step === null && !job.failure && !job.queue_position,
    },
    {
      key: "loss",
      header: t("jobs.col.loss"),
      numeric: true,
      cell: (job) => fmt().loss(job.progress.loss),
      emptyOn: (job) => job.progress.loss === null,
    },
    {
      key: "eta",
      header: t("jobs.col.eta"),
      numeric: true,
      cell: (job) => fmt().duration(timeLeft(job)),
      emptyOn: (job) => timeLeft(job) === null,
    },
    {
      key: "cost",
      header: t("jobs.col.cost"),
      numeric: true,
      cell: (job) => fmt().money(job.cost_usd),
      emptyOn: (job) => job.cost_usd === null,
    },
    {
      key: "hardware",
      header: t("jobs.col.hardware"),
      cell: (job) => job.hardware_type ?? "–",
      emptyOn: (job) => job.hardware_type === null,
    },
    {
      key: "age",
      header: t("jobs.col.age"),
      numeric: true,
      cell: (job) => <Ago iso={job.created_at} now={everyTenSeconds.value} />,
    },
    {
      key: "actions",
      header: t("jobs.col.actions"),
      hiddenHeader: true,
      cell: (job) => <JobActions job={job} onChanged={onChanged} onDeleted={onDeleted} small />,
    },
  ];
  return (
    <DataTable
      name="jobs"
      label={t("jobs.title")}
      columns={columns}
      rows={jobs}
      rowKey={(job) => job.job_id}
    />
  );
}

const timeLeft = (job: Job) => (job.is_active ? job.progress.eta_seconds : null);

/** Progress; or what matters more: the place in the queue, or why it failed. */
function ProgressCell({ job }: { job: Job }) {
  if (job.failure) {
    return (
      <span class="row-reason" lang="en">
        {job.failure.message}
      </span>
    );
  }
  if (job.queue_position && job.progress.step === null) {
    return <span class="meta">{t("jobs.queue", { n: job.queue_position })}</span>;
  }
  return <JobProgress job={job} />;
}
