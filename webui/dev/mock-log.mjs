// What the trainings of the stand-in server print.

export const TOTAL = 1000;

export const lossAt = (step) =>
  0.08 + 0.4 * Math.exp(-step / 250) + 0.03 * Math.sin(step * 12.9898) * Math.cos(step * 4.1);

export const line = (step) =>
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
export const LONG_ID = "job-01hlonglog000000000006";
let longLog = "";
export function longLogText() {
  if (longLog === "") {
    const lines = Array.from(
      { length: 110_000 },
      (_, n) => `2026-11-24 10:00:00 [INFO] \u001b[32mbucket ${n % 97}\u001b[0m: sample ${n} is ready`,
    );
    longLog = `${lines.join("\n")}\n${line(1)}${line(2)}`;
  }
  return longLog;
}

/** The whole log of a job as it is now. */
export function fullLog(job) {
  if (job.status === "queued" || job.job_type === "local") return "";
  if (job.job_id === LONG_ID) return longLogText();
  const step = job.progress.step ?? 0;
  if (job.status === "failed")
    return logText(step, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n");
  return logText(step, job.status === "completed" ? "[TRAINING] Training complete\n" : "");
}
