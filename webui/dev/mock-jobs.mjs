// Jobs of the stand-in server: one of every kind, the running one advancing with the clock.

import { LONG_ID, line, longLogText, lossAt, TOTAL } from "./mock-log.mjs";

const STEPS_PER_SECOND = 4;
const PRICE_PER_SECOND = 0.000025;

const ago = (seconds) => new Date(Date.now() - seconds * 1000).toISOString();
const NO_PROGRESS = {
  step: null,
  total_steps: null,
  percent: null,
  loss: null,
  learning_rate: null,
  eta_seconds: null,
  stage: null,
  last_line: null,
  checkpoint_count: 0,
};

function record(job_id, fields) {
  const status = fields.status;
  const terminal = ["completed", "failed", "cancelled"].includes(status);
  return {
    job_id,
    job_type: "cloud",
    provider: "replicate",
    phase: terminal ? "finished" : "preparing",
    config_name: "flux-lora",
    config_version: 3,
    run_name: null,
    created_at: ago(1000),
    updated_at: ago(1),
    started_at: null,
    completed_at: null,
    last_confirmed_at: ago(1),
    deadline: ago(-3600),
    max_run_seconds: 3600,
    duration_seconds: null,
    cost_usd: null,
    price_per_hour: PRICE_PER_SECOND * 3600,
    hardware_type: "NVIDIA L40S 48GB",
    error_message: null,
    output_url: null,
    upload_token: null,
    user_id: "local",
    metadata: {
      prediction_id: `pred-${job_id.slice(-4)}`,
      model: "simpletuner/advanced-trainer",
      hardware_profile: "gpu-l40s",
      webhook_url: null,
      tracker_run_name: null,
    },
    is_terminal: terminal,
    is_active: !terminal,
    attempt: 1,
    sandbox: true,
    cancel_requested: false,
    progress: NO_PROGRESS,
    datasets: [
      {
        entry_id: "pets",
        dataset_id: "cat-and-coffee",
        version_id: "v-7f3a91c2",
        files: 48,
        bytes: 18_400_000,
      },
    ],
    failure: null,
    delivery: { files: 0, bytes: 0, weights: [], verified_files: 0, verified_at: null },
    queue_position: ["pending", "queued"].includes(status) ? 0 : null,
    log_bytes: 0,
    logs_complete: terminal,
    ...fields,
  };
}

export function createJobs() {
  let startedAt = Date.now() - 60_000;
  const removed = new Set();
  let cancelAskedAt = null;

  const stepNow = () => {
    const until = cancelAskedAt ?? Date.now();
    return Math.min(TOTAL - 1, Math.floor(((until - startedAt) / 1000) * STEPS_PER_SECOND));
  };

  function running() {
    const step = stepNow();
    const stopped = cancelAskedAt !== null && Date.now() - cancelAskedAt > 3000;
    return record("job-01hrunning0000000000001", {
      run_name: "flux-cat-and-coffee",
      status: stopped ? "cancelled" : "running",
      phase: stopped ? "finished" : "training",
      cancel_requested: cancelAskedAt !== null,
      created_at: new Date(startedAt - 30_000).toISOString(),
      started_at: new Date(startedAt).toISOString(),
      last_confirmed_at: ago(1),
      duration_seconds: (Date.now() - startedAt) / 1000,
      cost_usd: ((Date.now() - startedAt) / 1000) * PRICE_PER_SECOND,
      log_bytes: 1,
      progress: {
        ...NO_PROGRESS,
        step,
        total_steps: TOTAL,
        percent: Math.round((step / TOTAL) * 1000) / 10,
        loss: lossAt(step),
        learning_rate: 0.0001,
        eta_seconds: Math.round((TOTAL - step) / STEPS_PER_SECOND),
        stage: "Training",
        last_line: line(step).trim(),
        checkpoint_count: Math.floor(step / 250),
      },
    });
  }

  const finished = {
    ...NO_PROGRESS,
    step: TOTAL,
    total_steps: TOTAL,
    percent: 100,
    loss: 0.0812,
    learning_rate: 0.0001,
  };
  const others = () => [
    record("job-01hqueued00000000000002", {
      status: "queued",
      last_confirmed_at: null,
      created_at: ago(40),
      run_name: "sdxl-rocket",
    }),
    record("job-01hcomplete00000000003", {
      status: "completed",
      run_name: "flux-cat-first-try",
      created_at: ago(9000),
      started_at: ago(8900),
      completed_at: ago(7300),
      duration_seconds: 1600,
      cost_usd: 2.44,
      config_version: 2,
      progress: { ...finished, checkpoint_count: 4 },
      delivery: {
        files: 4,
        bytes: 38_700_000,
        weights: ["pytorch_lora_weights.safetensors"],
        verified_files: 1,
        verified_at: ago(7300),
      },
    }),
    record("job-01hfailed000000000004", {
      status: "failed",
      run_name: "sd3-large-batch",
      created_at: ago(86_400),
      started_at: ago(86_000),
      completed_at: ago(85_700),
      duration_seconds: 300,
      cost_usd: 0.46,
      progress: {
        ...NO_PROGRESS,
        step: 42,
        total_steps: TOTAL,
        percent: 4.2,
        loss: 0.412,
        learning_rate: 0.0001,
      },
      error_message: "The GPU ran out of memory at step 42.",
      failure: {
        code: "out_of_memory",
        kind: "user",
        message: "The GPU ran out of memory at step 42.",
        advice:
          "Lower the batch size or the resolution, set base_model_precision to int8-quanto, or choose larger hardware.",
      },
    }),
    record("job-01hcancelled0000000005", {
      status: "cancelled",
      config_name: "pixart-full",
      created_at: ago(200_000),
      sandbox: false,
      job_type: "local",
      hardware_type: null,
      datasets: [],
    }),
    record(LONG_ID, {
      status: "completed",
      config_name: null,
      config_version: null,
      run_name: "long-log-with-a-name-that-goes-on-and-on-until-nobody-reads-it-any-more-0123456789",
      created_at: ago(300_000),
      started_at: ago(299_000),
      completed_at: ago(290_000),
      duration_seconds: 9000,
      cost_usd: 13.73,
      sandbox: false,
      log_bytes: Buffer.byteLength(longLogText()),
      progress: finished,
      delivery: {
        files: 1,
        bytes: 38_200_000,
        weights: ["pytorch_lora_weights.safetensors"],
        verified_files: 1,
        verified_at: ago(290_000),
      },
    }),
  ];

  /** Old jobs beyond the first page. */
  const old = (count) =>
    Array.from({ length: count }, (_, n) =>
      record(`job-00hold${String(n).padStart(16, "0")}`, {
        status: n % 7 === 0 ? "failed" : "completed",
        run_name: `nightly-${n + 1}`,
        created_at: new Date(Date.UTC(2026, 8, 1) - n * 3_600_000).toISOString(),
        progress: finished,
        cost_usd: 1 + n / 100,
        duration_seconds: 1200,
      }),
    );
  let oldCount = 0;

  const list = () => [running(), ...others(), ...old(oldCount)].filter((job) => !removed.has(job.job_id));
  const get = (id) => list().find((job) => job.job_id === id);

  return {
    list,
    get,
    /** Everything as at the start; `many` old jobs besides. */
    reset(many = 0) {
      removed.clear();
      cancelAskedAt = null;
      startedAt = Date.now() - 60_000;
      oldCount = many;
    },
    remove: (id) => removed.add(id),
    cancel(id) {
      cancelAskedAt ??= Date.now();
      return { success: true, job_id: id, status: get(id).status, cancel_requested: true };
    },
  };
}
