// Jobs of the stand-in server: one of every kind, the running one advancing with the clock.

const TOTAL = 1000;
const STEPS_PER_SECOND = 4;
const PRICE_PER_SECOND = 0.000025;
const HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

const ago = (seconds) => new Date(Date.now() - seconds * 1000).toISOString();
const lossAt = (step) =>
  0.08 + 0.4 * Math.exp(-step / 250) + 0.03 * Math.sin(step * 12.9898) * Math.cos(step * 4.1);

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

const line = (step) =>
  `Epoch 1/1 Steps:  ${Math.floor((step / TOTAL) * 100)}%|${"#".repeat(Math.floor(step / 50)).padEnd(20)}| ` +
  `${step}/${TOTAL} [00:12<00:36, 20.1it/s, lr=0.0001, step_loss=${lossAt(step).toFixed(4)}]\n`;

function logText(step, ending) {
  let text =
    "[COG] Webhook receiver started\n[STAGE] ⏳ VAE caching (50.0%)\n[STAGE] ⏳ VAE caching (100.0%)\n";
  text += "[TRAINING] ***** Running training *****\n";
  for (let done = 1; done <= step; done += 1) {
    text += line(done);
    if (done % 250 === 0) text += "[CHECKPOINT] Checkpoint saved\n";
  }
  return text + ending;
}

/** A training whose log has 110,000 lines of words: the log panel must not mind. */
const LONG_ID = "job-01hlonglog000000000006";
let longLog = "";
function longLogText() {
  if (longLog === "") {
    const lines = Array.from(
      { length: 110_000 },
      (_, n) => `2026-11-24 10:00:00 [INFO] \u001b[32mbucket ${n % 97}\u001b[0m: sample ${n} is ready`,
    );
    longLog = `${lines.join("\n")}\n${line(1)}${line(2)}`;
  }
  return longLog;
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

  function fullLog(job) {
    if (job.status === "queued" || job.job_type === "local") return "";
    if (job.job_id === LONG_ID) return longLogText();
    const step = job.progress.step ?? 0;
    if (job.status === "failed")
      return logText(step, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n");
    return logText(step, job.status === "completed" ? "[TRAINING] Training complete\n" : "");
  }

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
    progress(id) {
      const { progress: p, ...job } = get(id);
      return {
        job_id: id,
        stage: p.stage,
        last_log: p.last_line,
        progress: p.percent,
        status: job.status,
        phase: job.phase,
        step: p.step,
        total_steps: p.total_steps,
        loss: p.loss,
        learning_rate: p.learning_rate,
        eta_seconds: p.eta_seconds,
        cost_usd: job.cost_usd,
        cancel_requested: job.cancel_requested,
        last_confirmed_at: job.last_confirmed_at,
        updated_at: job.updated_at,
      };
    },
    logs(id, query) {
      const job = get(id);
      const bytes = Buffer.from(fullLog(job));
      const limit = Number(query.get("limit") ?? 1_048_576);
      const asked = query.get("offset");
      const offset =
        asked === null ? Math.max(0, bytes.length - limit) : Math.min(Number(asked), bytes.length);
      const next = Math.min(bytes.length, offset + limit);
      return {
        job_id: id,
        logs: bytes.subarray(offset, next).toString(),
        offset,
        next_offset: next,
        size: bytes.length,
        complete: job.is_terminal,
        truncated: offset > 0,
      };
    },
    events(id, after) {
      const job = get(id);
      const all = [
        { type: "job.submitted", message: "Submitted" },
        { type: "job.config_adjusted", message: "num_train_epochs is 0, since max_train_steps is set" },
        { type: "job.launch_intent", message: `Launching on ${job.hardware_type}` },
        job.started_at && { type: "job.launched", message: "The provider took the training" },
        job.started_at && { type: "job.running", message: "Training started" },
        job.failure && { type: "job.failed", message: job.failure.message },
        job.status === "completed" && { type: "job.verified", message: "1 files verified" },
        job.status === "completed" && {
          type: "job.completed",
          message: "The model is delivered and verified",
        },
      ].filter(Boolean);
      const base = Date.parse(job.created_at);
      const events = all.map((event, index) => ({
        seq: index + 1,
        at: new Date(base + index * 7000).toISOString(),
        data: {},
        ...event,
      }));
      return { events: events.filter((event) => event.seq > after), next: null };
    },
    outputs(id, origin) {
      const job = get(id);
      const signed = (path) => `${origin}/outputs/local/${id}/artifacts/${path}?X-Amz-Signature=mock`;
      const row = (path, size, kind, verified, problem = null) => ({
        path,
        size,
        kind,
        verified,
        problem,
        sha256: verified ? HASH : null,
        url: signed(path),
      });
      const done = job.status === "completed";
      const trained = job.status === "running" || done;
      const files = [
        done && row("pytorch_lora_weights.safetensors", 38_200_000, "weights", true),
        trained && row("checkpoint-250/pytorch_lora_weights.safetensors", 38_200_000, "checkpoint", false),
        trained && row("validation_images/step_0_cat.png", 41_000, "sample", done),
        trained && row("validation_images/step_250_cat.png", 43_500, "sample", done),
        done && row("simpletuner_config.json", 1_400, "other", true),
        job.status === "failed" &&
          row(
            "checkpoint-40/pytorch_lora_weights.safetensors",
            8_200,
            "checkpoint",
            false,
            "the header is cut off",
          ),
      ].filter(Boolean);
      return {
        job_id: id,
        files,
        total_bytes: files.reduce((sum, file) => sum + file.size, 0),
        verified: done,
        manifest_url: done ? signed("../manifest.json") : null,
        complete: job.is_terminal,
      };
    },
  };
}

const version = (id, status, age, checked) => ({
  dataset_id: "cat-and-coffee",
  version_id: id,
  status,
  files: 48,
  bytes: 18_400_000,
  merkle_root: HASH,
  checked,
  source_path: "/home/me/pictures/cat-and-coffee",
  created_at: ago(age),
  completed_at: status === "ready" ? ago(age - 20) : null,
});

export const DATASETS = [
  {
    dataset_id: "cat-and-coffee",
    source_path: "/home/me/pictures/cat-and-coffee",
    latest_version: "v-7f3a91c2",
    created_at: ago(400_000),
    updated_at: ago(4000),
    versions: [version("v-7f3a91c2", "ready", 4000, 48), version("v-02be11d0", "ready", 400_000, 48)],
  },
  {
    dataset_id: "rocket",
    source_path: null,
    latest_version: null,
    created_at: ago(90_000),
    updated_at: ago(90_000),
    versions: [{ ...version("v-c0ffee12", "uploading", 90_000, 12), dataset_id: "rocket" }],
  },
];

export const CONFIG = {
  name: "flux-lora",
  version: 3,
  config: {
    model_family: "flux",
    model_type: "lora",
    pretrained_model_name_or_path: "black-forest-labs/FLUX.1-dev",
    learning_rate: 0.0001,
    max_train_steps: 1000,
    train_batch_size: 1,
    validation_prompt: "a cat that drinks coffee",
  },
  dataloader_config: [
    {
      id: "pets",
      type: "local",
      instance_data_dir: "/home/me/pictures/cat-and-coffee",
      caption_strategy: "textfile",
    },
  ],
  metadata: {
    name: "flux-lora",
    version: 3,
    description: null,
    model_family: "flux",
    model_type: "lora",
    created_at: ago(500_000),
    modified_at: ago(5000),
  },
  versions: [{ version: 3, modified_at: ago(5000) }],
};
