// What a job of the stand-in server is looked at through: progress, log, config, events, outputs.

import { fullLog } from "./mock-log.mjs";

const HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
/** Small, so that the console must read more than one page. */
const OUTPUTS_PER_PAGE = 2;

const ADJUSTMENTS = [
  "num_train_epochs 1 was set to 0: the trainer refuses it together with max_train_steps",
  "validation_disable was left out: the trainer publishes weights after a validation",
];

const CONFIG = {
  model_family: "flux",
  model_type: "lora",
  pretrained_model_name_or_path: "black-forest-labs/FLUX.1-dev",
  learning_rate: 0.0001,
  max_train_steps: 1000,
  num_train_epochs: 0,
  train_batch_size: 1,
  checkpoint_step_interval: 250,
  validation_step_interval: 250,
  validation_resolution: "1024",
  validation_prompt:
    "a close-up of a tabby cat with green eyes that drinks coffee from a red cup on a wooden table, in the evening light",
};

const DATALOADER = [
  {
    id: "pets",
    type: "local",
    instance_data_dir: "/home/me/pictures/cat-and-coffee",
    caption_strategy: "textfile",
  },
];

export function progress(job) {
  const { progress: p } = job;
  return {
    job_id: job.job_id,
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
}

export function logs(job, query) {
  const bytes = Buffer.from(fullLog(job));
  const limit = Number(query.get("limit") ?? 1_048_576);
  const asked = query.get("offset");
  const offset = asked === null ? Math.max(0, bytes.length - limit) : Math.min(Number(asked), bytes.length);
  const next = Math.min(bytes.length, offset + limit);
  return {
    job_id: job.job_id,
    logs: bytes.subarray(offset, next).toString(),
    offset,
    next_offset: next,
    size: bytes.length,
    complete: job.is_terminal,
    truncated: offset > 0,
  };
}

export function config(job) {
  return {
    job_id: job.job_id,
    config_name: job.config_name,
    config_version: job.config_version,
    config: CONFIG,
    dataloader_config: DATALOADER,
    adjustments: job.config_name === null ? [] : ADJUSTMENTS,
  };
}

export function events(job, after) {
  const all = [
    { type: "job.submitted", message: "Submitted" },
    ...ADJUSTMENTS.map((message) => ({ type: "job.config_adjusted", message })),
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
}

export function outputs(job, origin, after) {
  const signed = (path) =>
    `${origin}/outputs/local/${job.job_id}/artifacts/${job.job_id}/${path}?X-Amz-Signature=mock`;
  const row = (path, size, kind, verified, problem = null) => ({
    path: `${job.job_id}/${path}`,
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
  ]
    .filter(Boolean)
    .sort((a, b) => (a.path < b.path ? -1 : 1));
  const page = files.filter((file) => after === null || file.path > after).slice(0, OUTPUTS_PER_PAGE);
  const last = page.at(-1)?.path ?? null;
  return {
    job_id: job.job_id,
    files: page,
    next: last === files.at(-1)?.path ? null : last,
    total_bytes: files.reduce((sum, file) => sum + file.size, 0),
    verified: done,
    manifest_url: done ? signed("../manifest.json") : null,
    complete: job.is_terminal,
  };
}
