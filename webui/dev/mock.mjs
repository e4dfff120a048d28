// A stand-in for the server while working on the UI: `npm run build && npm run mock`, then open the printed address.
// Serves dist/ and the routes the UI reads, under the platform's Content-Security-Policy, with a second origin for
// "S3". POST /__mock {"scenario": name} starts over with what that scenario shows:
//   busy (one job of every kind), many (140 more), empty, sick (a part of the stack does not answer), partial (outputs,
//   events and logs fail), silent (the provider confirms nothing), down, broken (bad data), locked (people have to sign
//   in, see mock-doors.mjs), setup (there is nobody yet).

import { createReadStream, existsSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { DATASETS } from "./mock-datasets.mjs";
import { Doors } from "./mock-doors.mjs";
import { createJobs } from "./mock-jobs.mjs";
import * as parts from "./mock-parts.mjs";
import { samplePng } from "./png.mjs";

const DESCRIPTION = new URL("../../docs/openapi.json", import.meta.url);
const DIST = fileURLToPath(new URL("../dist", import.meta.url));
const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".png": "image/png",
};
const MAX_BODY = 65_536;

let scenario = "busy";
let datasets = DATASETS;
const jobs = createJobs();
const doors = new Doors();

const s3 = createServer((request, response) => {
  const image = request.url.includes(".png");
  response.writeHead(200, { "Content-Type": image ? "image/png" : "binary/octet-stream" });
  response.end(image ? samplePng(160, request.url.length) : "not really weights");
});
await listen(s3, 0);
const s3Origin = `http://127.0.0.1:${s3.address().port}`;
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  `img-src 'self' ${s3Origin}`,
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join("; ");

const server = createServer((request, response) => {
  const url = new URL(request.url, "http://localhost");
  route(request, response, url).catch((error) => problem(response, 500, "internal", String(error)));
});
await listen(server, Number(process.env.PORT ?? 0));
console.log(`http://127.0.0.1:${server.address().port}`);

async function route(request, response, url) {
  if (url.pathname === "/__mock" && request.method === "POST") {
    scenario = JSON.parse(await body(request)).scenario;
    jobs.reset(scenario === "many" ? 140 : 0);
    doors.reset(scenario);
    datasets = scenario === "empty" ? [] : DATASETS;
    return json(response, { scenario });
  }
  if (!url.pathname.startsWith("/api/")) return file(response, url.pathname);
  if (scenario === "down") return problem(response, 503, "unavailable", "The stack is restarting.");
  const open = ["/api/cloud/health", "/api/openapi.json"].includes(url.pathname);
  if (url.pathname.startsWith("/api/auth/")) {
    const text = request.method === "POST" ? await body(request) : "";
    return doors.answer(request, response, url.pathname, text ? JSON.parse(text) : {}, { json, problem });
  }
  if (!open && !doors.admits(request)) {
    return problem(response, 401, "unauthenticated", "Sign in, or send an API key.");
  }
  return api(request, response, url);
}

function api(request, response, url) {
  const path = url.pathname;
  if (path === "/api/cloud/health") return json(response, health());
  if (path === "/api/openapi.json") return json(response, JSON.parse(readFileSync(DESCRIPTION, "utf8")));
  if (path === "/api/cloud/jobs") return jobPage(response, url);
  if (path === "/api/cloud/datasets") {
    return json(response, { datasets: datasets.map(({ versions, ...row }) => row), next: null });
  }
  const dataset = path.match(/^\/api\/cloud\/datasets\/([^/]+)(?:\/versions\/([^/]+))?$/);
  if (dataset)
    return datasetRoute(
      request,
      response,
      dataset.slice(1).map((part) => part && decodeURIComponent(part)),
    );
  const job = path.match(/^\/api\/cloud\/jobs\/([^/]+)(?:\/([\w-]+))?$/);
  return job
    ? jobRoute(request, response, url, job)
    : problem(response, 404, "not_found", "There is no such route.");
}

function jobPage(response, url) {
  if (scenario === "broken")
    return json(response, { jobs: [{ job_id: "no-other-field" }], total: 1, next: null });
  const status = url.searchParams.get("status");
  const all = scenario === "empty" ? [] : jobs.list().filter((job) => !status || job.status === status);
  const limit = Number(url.searchParams.get("limit") ?? 50);
  const cursor = url.searchParams.get("cursor");
  const from = cursor === null ? 0 : all.findIndex((job) => job.job_id === cursor) + 1;
  if (cursor !== null && from === 0) {
    return problem(response, 400, "invalid_cursor", "The cursor is not one of this list.");
  }
  const page = all.slice(from, from + limit);
  const next = from + limit < all.length ? page.at(-1).job_id : null;
  return json(response, { jobs: page.map(seen), total: page.length, next });
}

/** The record as this scenario shows it. */
function seen(job) {
  if (scenario !== "silent" || !job.is_active) return job;
  return { ...job, last_confirmed_at: new Date(Date.now() - 300_000).toISOString() };
}

function datasetRoute(request, response, [id, version]) {
  const found = datasets.find((row) => row.dataset_id === id);
  if (!found) return problem(response, 404, "dataset_not_found", "There is no such dataset.");
  if (request.method !== "DELETE") return json(response, found);
  if (id === "cat-and-coffee") {
    const detail =
      "The dataset is used by job-01hrunning0000000000001, which is active. Cancel it or wait for its end.";
    return problem(response, 409, "dataset_in_use", detail);
  }
  datasets = version
    ? datasets.map((row) =>
        row === found ? { ...row, versions: row.versions.filter((one) => one.version_id !== version) } : row,
      )
    : datasets.filter((row) => row !== found);
  return json(response, { success: true, dataset_id: id, deleted_objects: 48 });
}

function jobRoute(request, response, url, [, rawId, part]) {
  const id = decodeURIComponent(rawId);
  const job = jobs.get(id);
  if (!job) return problem(response, 404, "job_not_found", "There is no such job.");
  if (!part && request.method === "DELETE") {
    if (job.is_active) return problem(response, 400, "job_active", "The job is active. Cancel it first.");
    jobs.remove(id);
    return json(response, { success: true, job_id: id });
  }
  if (scenario === "partial" && ["logs", "events", "outputs"].includes(part)) {
    return problem(response, 503, "unavailable", "The storage does not answer. Try again in a minute.");
  }
  if (part === "config" && job.job_type === "local") {
    return problem(response, 404, "config_not_found", `The config of job ${id} is gone.`);
  }
  const answers = {
    undefined: () => ({ job: seen(job) }),
    cancel: () => jobs.cancel(id),
    "inline-progress": () => parts.progress(job),
    logs: () => parts.logs(job, url.searchParams),
    events: () => parts.events(job, Number(url.searchParams.get("after") ?? 0)),
    config: () => parts.config(job),
    outputs: () => parts.outputs(job, s3Origin, url.searchParams.get("after")),
  };
  const answer = answers[part];
  return answer ? json(response, answer()) : problem(response, 404, "not_found", "There is no such route.");
}

const health = () => ({
  status: scenario === "sick" ? "unhealthy" : "healthy",
  version: "0.1.0",
  uptime_seconds: 12,
  components: [
    { name: "database", status: "healthy", latency_ms: 3, message: "job table answers" },
    scenario === "sick"
      ? {
          name: "storage",
          status: "unhealthy",
          latency_ms: null,
          message: "does not answer (EndpointConnectionError)",
        }
      : { name: "storage", status: "healthy", latency_ms: 12, message: "buckets answer" },
  ],
  timestamp: new Date().toISOString(),
  sandbox: true,
  stage: "local",
});

function file(response, path) {
  const wanted = normalize(join(DIST, path));
  const isFile = wanted.startsWith(DIST) && existsSync(wanted) && statSync(wanted).isFile();
  // As the distribution does: paths without an extension are pages.
  const page = path === "/docs" || path === "/docs/" ? "docs/index.html" : "index.html";
  if (!isFile && extname(path)) return problem(response, 404, "not_found", "There is no such file.");
  const target = isFile ? wanted : join(DIST, page);
  response.writeHead(200, {
    "Content-Type": TYPES[extname(target)] ?? "application/octet-stream",
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
  });
  createReadStream(target).pipe(response);
}

function json(response, value, status = 200) {
  response.writeHead(status, { "Content-Type": "application/json" });
  response.end(JSON.stringify(value));
}

function problem(response, status, code, detail, headers = {}) {
  const document = {
    type: "about:blank",
    title: code,
    status,
    detail,
    code,
    request_id: "mock-1",
    errors: [],
  };
  response.writeHead(status, { "Content-Type": "application/problem+json", ...headers });
  response.end(JSON.stringify(document));
}

async function body(request) {
  let text = "";
  for await (const chunk of request) {
    text += chunk;
    if (text.length > MAX_BODY) throw new Error("body too large");
  }
  return text;
}

function listen(target, port) {
  return new Promise((resolve, reject) => {
    target.once("error", reject);
    target.listen(port, "127.0.0.1", resolve);
  });
}
