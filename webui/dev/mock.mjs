// A stand-in for the server while working on the UI: `npm run build && npm run mock`, then open the printed address.
// Serves dist/ and the routes the UI reads, under the platform's Content-Security-Policy, with a second origin for
// "S3". POST /__mock {"scenario": "busy" | "empty" | "down" | "locked" | "broken"} changes what it answers.

import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { createJobs, DATASETS, openapi } from "./mock-data.mjs";
import { samplePng } from "./png.mjs";

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
const jobs = createJobs();

const s3 = createServer((request, response) => {
  const image = request.url.includes(".png");
  response.writeHead(200, { "Content-Type": image ? "image/png" : "binary/octet-stream" });
  response.end(image ? samplePng(160, request.url.length) : "not really weights");
});
await listen(s3, 0);
const s3Origin = `http://127.0.0.1:${s3.address().port}`;

const server = createServer((request, response) => {
  const url = new URL(request.url, "http://localhost");
  route(request, response, url).catch((error) => problem(response, 500, "internal", String(error)));
});
await listen(server, Number(process.env.PORT ?? 0));
console.log(`http://127.0.0.1:${server.address().port}`);

async function route(request, response, url) {
  if (url.pathname === "/__mock" && request.method === "POST") {
    scenario = JSON.parse(await body(request)).scenario;
    return json(response, { scenario });
  }
  if (!url.pathname.startsWith("/api/")) return file(response, url.pathname);
  if (scenario === "down") return problem(response, 503, "unavailable", "The stack is restarting.");
  if (scenario === "locked" && request.headers.authorization !== "Bearer letmein") {
    return problem(response, 401, "unauthenticated", "A token is needed.");
  }
  return api(request, response, url);
}

function api(request, response, url) {
  const path = url.pathname;
  if (path === "/api/cloud/health") return json(response, health());
  if (path === "/api/openapi.json") return json(response, openapi());
  if (path === "/api/cloud/jobs") return json(response, jobPage(url));
  if (path === "/api/cloud/datasets") {
    return json(response, {
      datasets: scenario === "empty" ? [] : DATASETS.map(({ versions, ...row }) => row),
      next: null,
    });
  }
  const dataset = path.match(/^\/api\/cloud\/datasets\/([^/]+)$/);
  if (dataset) {
    const found = DATASETS.find((row) => row.dataset_id === decodeURIComponent(dataset[1]));
    return found
      ? json(response, found)
      : problem(response, 404, "dataset_not_found", "There is no such dataset.");
  }
  const job = path.match(/^\/api\/cloud\/jobs\/([^/]+)(?:\/([\w-]+))?$/);
  return job
    ? jobRoute(request, response, url, job)
    : problem(response, 404, "not_found", "There is no such route.");
}

function jobPage(url) {
  if (scenario === "broken") return { jobs: [{ job_id: "no-other-field" }], total: 1, next: null };
  const status = url.searchParams.get("status");
  const all = scenario === "empty" ? [] : jobs.list().filter((job) => !status || job.status === status);
  const limit = Number(url.searchParams.get("limit") ?? 50);
  return {
    jobs: all.slice(0, limit),
    total: Math.min(limit, all.length),
    next: all.length > limit ? "more" : null,
  };
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
  const answers = {
    undefined: () => ({ job }),
    cancel: () => jobs.cancel(id),
    "inline-progress": () => jobs.progress(id),
    logs: () => jobs.logs(id, url.searchParams),
    events: () => jobs.events(id, Number(url.searchParams.get("after") ?? 0)),
    outputs: () => jobs.outputs(id, s3Origin),
  };
  const answer = answers[part];
  return answer ? json(response, answer()) : problem(response, 404, "not_found", "There is no such route.");
}

const health = () => ({
  status: "healthy",
  version: "0.1.0",
  uptime_seconds: 12,
  components: [
    { name: "database", status: "healthy", latency_ms: 3, message: null },
    { name: "replicate", status: "healthy", latency_ms: 12, message: null },
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
    "Content-Security-Policy": policy(path),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
  });
  createReadStream(target).pipe(response);
}

function policy(path) {
  const rules = [
    "default-src 'self'",
    `connect-src 'self' ${s3Origin}`,
    `img-src 'self' data: ${s3Origin}`,
    "object-src 'none'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
    "form-action 'self'",
  ];
  // The application holds to Trusted Types already; the third-party API viewer does not.
  if (!path.startsWith("/docs")) rules.push("require-trusted-types-for 'script'");
  return rules.join("; ");
}

function json(response, value, status = 200) {
  response.writeHead(status, { "Content-Type": "application/json" });
  response.end(JSON.stringify(value));
}

function problem(response, status, code, detail) {
  const document = {
    type: "about:blank",
    title: code,
    status,
    detail,
    code,
    request_id: "mock-1",
    errors: [],
  };
  response.writeHead(status, { "Content-Type": "application/problem+json" });
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
