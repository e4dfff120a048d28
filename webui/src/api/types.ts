/**
 * Shapes of the HTTP API as this UI reads them. Written by hand until `docs/openapi.json` exists; `npm run gen:api`
 * then writes `openapi.ts` beside this file, and these names become aliases of the generated ones.
 * Times are ISO 8601 UTC, money is US dollars, sizes are bytes, durations seconds.
 */

export type JobStatus = "pending" | "uploading" | "queued" | "running" | "completed" | "failed" | "cancelled";

export type JobPhase =
  | "preparing"
  | "launching"
  | "training"
  | "collecting"
  | "delivering"
  | "verifying"
  | "finished";

export interface Progress {
  step: number | null;
  total_steps: number | null;
  percent: number | null;
  loss: number | null;
  learning_rate: number | null;
  eta_seconds: number | null;
  stage: string | null;
  last_line: string | null;
  checkpoint_count: number;
}

export interface JobDataset {
  entry_id: string;
  dataset_id: string;
  version_id: string;
  files: number;
  bytes: number;
}

export interface Failure {
  code: string;
  kind: string;
  message: string;
  advice: string;
}

export interface Delivery {
  files: number;
  bytes: number;
  weights: string[];
  verified_files: number;
  verified_at: string | null;
}

export interface Job {
  job_id: string;
  job_type: "cloud" | "local";
  provider: string | null;
  status: JobStatus;
  phase: JobPhase | null;
  config_name: string | null;
  config_version: number | null;
  run_name: string | null;
  created_at: string;
  updated_at: string;
  started_at: string | null;
  completed_at: string | null;
  last_confirmed_at: string | null;
  deadline: string | null;
  max_run_seconds: number | null;
  duration_seconds: number | null;
  cost_usd: number | null;
  price_per_hour: number | null;
  hardware_type: string | null;
  error_message: string | null;
  user_id: string | null;
  metadata: Record<string, unknown>;
  is_terminal: boolean;
  is_active: boolean;
  queue_position?: number | null;
  attempt: number;
  sandbox: boolean;
  cancel_requested: boolean;
  progress: Progress;
  datasets: JobDataset[];
  failure: Failure | null;
  delivery: Delivery | null;
  log_bytes: number;
  logs_complete: boolean;
}

export interface JobPage {
  jobs: Job[];
  /** Rows in this page, not in the whole list. */
  total: number;
  next: string | null;
}

export interface InlineProgress {
  job_id: string;
  stage: string | null;
  last_log: string | null;
  progress: number | null;
  status: JobStatus;
  phase: JobPhase | null;
  step: number | null;
  total_steps: number | null;
  loss: number | null;
  learning_rate: number | null;
  eta_seconds: number | null;
  cost_usd: number | null;
  updated_at: string;
}

export interface LogPage {
  job_id: string;
  logs: string;
  /** Byte position of the first character of `logs`; always a UTF-8 boundary. */
  offset: number;
  /** Where to go on reading. */
  next_offset: number;
  size: number;
  complete: boolean;
  truncated?: boolean;
}

export interface JobEvent {
  seq: number;
  at: string;
  type: string;
  message: string;
  data: Record<string, unknown>;
}

export interface EventPage {
  events: JobEvent[];
  next: number | null;
}

export type OutputKind = "weights" | "checkpoint" | "sample" | "other";

export interface OutputFile {
  path: string;
  size: number;
  sha256: string | null;
  kind: OutputKind;
  /** Presigned GET, valid for one hour. */
  url: string;
  verified: boolean;
}

export interface Outputs {
  job_id: string;
  files: OutputFile[];
  total_bytes: number;
  verified: boolean;
  manifest_url: string | null;
  complete: boolean;
}

export interface CancelResult {
  success: boolean;
  job_id: string;
  status: JobStatus;
  cancel_requested?: boolean;
}

export interface Dataset {
  dataset_id: string;
  source_path: string | null;
  latest_version: string | null;
  created_at: string;
  updated_at: string;
}

export interface DatasetPage {
  datasets: Dataset[];
  next: string | null;
}

export interface DatasetVersion {
  dataset_id: string;
  version_id: string;
  status: "uploading" | "ready";
  files: number;
  bytes: number;
  merkle_root: string;
  checked: number;
  source_path: string | null;
  created_at: string;
  completed_at: string | null;
}

export interface DatasetDetail extends Dataset {
  versions: DatasetVersion[];
}

export interface HealthComponent {
  name: string;
  status: string;
  latency_ms: number | null;
  message: string | null;
}

export interface Health {
  status: string;
  version: string;
  uptime_seconds: number;
  components: HealthComponent[];
  timestamp: string;
  sandbox: boolean;
  stage: string;
}
