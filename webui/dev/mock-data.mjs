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
    metadata: { prediction_id: `pred-${job_id.slice(-4)}`, webhook_url: null },
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
    delivery: null,
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

export function createJobs() {
  const startedAt = Date.now() - 60_000;
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
      queue_position: 2,
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
        code: "trainer_out_of_memory",
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
    }),
  ];

  const list = () => [running(), ...others()].filter((job) => !removed.has(job.job_id));
  const get = (id) => list().find((job) => job.job_id === id);

  function fullLog(job) {
    if (job.status === "queued" || job.job_type === "local") return "";
    const step = job.progress.step ?? 0;
    if (job.status === "failed")
      return logText(step, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n");
    return logText(step, job.status === "completed" ? "[TRAINING] Training complete\n" : "");
  }

  return {
    list,
    get,
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
        { type: "submitted", message: "Submitted with configuration flux-lora, version 3." },
        { type: "prepared", message: "48 files of dataset cat-and-coffee are readable by the trainer." },
        job.started_at && {
          type: "launched",
          message: `Prediction ${job.metadata.prediction_id} created on ${job.hardware_type}.`,
        },
        job.started_at && { type: "training", message: "The provider reports running." },
        job.is_terminal && { type: job.status, message: `The job is ${job.status}.` },
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
      const row = (path, size, kind, verified) => ({
        path,
        size,
        kind,
        verified,
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
      ].filter(Boolean);
      return {
        job_id: id,
        files,
        total_bytes: files.reduce((sum, file) => sum + file.size, 0),
        verified: done,
        manifest_url: done ? signed("../manifest.json") : null,
        complete: done,
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

export const openapi = () => ({
  openapi: "3.1.0",
  info: {
    title: "SimpleTuner Cloud",
    version: "0.1.0",
    description: "Submit, follow and fetch training jobs.",
  },
  tags: [{ name: "jobs" }, { name: "health" }],
  paths: {
    "/api/cloud/jobs": {
      get: {
        tags: ["jobs"],
        summary: "List jobs, newest first",
        parameters: [
          { name: "limit", in: "query", schema: { type: "integer", minimum: 1, maximum: 500, default: 50 } },
        ],
        responses: {
          200: { description: "A page of jobs" },
          default: { $ref: "#/components/responses/Problem" },
        },
      },
    },
    "/api/cloud/jobs/submit": {
      post: {
        tags: ["jobs"],
        summary: "Submit a job",
        requestBody: { content: { "application/json": { schema: { $ref: "#/components/schemas/Submit" } } } },
        responses: { 200: { description: "Submitted" }, default: { $ref: "#/components/responses/Problem" } },
      },
    },
    "/api/cloud/jobs/{job_id}": {
      delete: {
        tags: ["jobs"],
        summary: "Delete a finished job",
        parameters: [{ name: "job_id", in: "path", required: true, schema: { type: "string" } }],
        responses: { 200: { description: "Deleted" }, default: { $ref: "#/components/responses/Problem" } },
      },
    },
    "/api/cloud/health": {
      get: { tags: ["health"], summary: "Health", responses: { 200: { description: "State" } } },
    },
  },
  components: {
    schemas: {
      Submit: {
        type: "object",
        properties: { config: { type: "object" }, max_run_seconds: { type: "integer" } },
      },
      Problem: { type: "object", properties: { title: { type: "string" }, code: { type: "string" } } },
    },
    responses: {
      Problem: {
        description: "A problem document",
        content: { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } },
      },
    },
  },
});
