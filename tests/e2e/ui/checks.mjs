// What every page must hold: nothing that axe finds, nothing the Content-Security-Policy blocks, no request to a third
// party, no error in the console, no sideways scrolling, no inline style or script.
import { readFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const DOWNLOAD_TIMEOUT_MS = 40_000;
const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

/** Collects what goes wrong on a page, each with the place it happened at. */
export class Watch {
  problems = [];
  place = "";
  /** Status codes and network errors the walk provokes on purpose: the browser logs them as errors. */
  expected = new Set();
  /** While true, an uncaught error is what the walk wants to see handled. */
  allowCrash = false;
  /** While a download starts, a link may lead to the storage. */
  mayLeave = false;

  constructor(page, origin) {
    this.page = page;
    page.on("pageerror", (error) => this.allowCrash || this.report(`uncaught ${error.message}`));
    page.on("console", (message) => {
      if (message.type() === "error" && !this.isExpected(message.text())) this.report(`console: ${message.text()}`);
    });
    page.on("request", (request) => {
      const url = new URL(request.url());
      const foreign = url.protocol.startsWith("http") && url.origin !== origin;
      // Sample images and downloads come from presigned links of the stack's own bucket.
      const wanted = request.resourceType() === "image" || (this.mayLeave && request.isNavigationRequest());
      if (foreign && !wanted) this.report(`request to ${url.origin}`);
    });
  }

  isExpected(text) {
    return [...this.expected].some((status) => text.includes(`status of ${status}`) || text.includes(`net::${status}`));
  }

  report(text) {
    this.problems.push(`${this.place}: ${text}`);
  }

  expect(condition, text) {
    if (!condition) this.report(text);
  }

  /** Click on what gives a file: the file arrives, has a name and is not empty, and the page stays. */
  async download(link, name) {
    const before = this.page.url();
    this.mayLeave = true;
    const arriving = this.page.waitForEvent("download", { timeout: DOWNLOAD_TIMEOUT_MS }).catch(() => null);
    const what = `${name}: ${(await link.getAttribute("aria-label")) ?? (await link.textContent())}`;
    await link.click();
    const file = await arriving;
    this.mayLeave = false;
    if (file === null) {
      const told = await this.page.locator(".notice-error").allTextContents();
      this.report(`${what}: nothing came. ${told.join(" ")}`);
      return;
    }
    const path = await file.path().catch(() => null);
    const size = path === null ? 0 : (await stat(path)).size;
    this.expect(size > 0 && file.suggestedFilename() !== "", `${what}: ${size} bytes came`);
    this.expect(this.page.url() === before, `${what}: left the page`);
  }

  /** The image has arrived and has a size. */
  async drawn(image, what) {
    await image.evaluate((element) => element.decode().catch(() => undefined));
    this.expect(await image.evaluate((element) => element.naturalWidth > 0), `${what} is not drawn`);
  }

  /** Check the page as it stands and take its picture. */
  async check(name) {
    this.expect(
      await this.page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth),
      `${name}: scrolls sideways`,
    );
    await this.violations(name);
    await this.axe(name);
    const folder = process.env.STC_UI_SCREENSHOTS;
    if (folder) {
      const file = `${this.place} ${name}.png`.replaceAll(/[^\w.]+/g, "-");
      await this.page.screenshot({ path: join(folder, file), fullPage: true });
    }
  }

  async violations(name) {
    const blocked = await this.page.evaluate(() => window.__cspViolations.splice(0));
    for (const text of blocked) this.report(`${name}: CSP ${text}`);
  }

  async axe(name) {
    await this.page.evaluate(AXE);
    const found = await this.page.evaluate(
      (tags) =>
        // A long log is thousands of lines of one kind: the newest block stands for all.
        window.axe.run({ exclude: [".log-block:not(:last-child)"] }, { runOnly: tags, resultTypes: ["violations"] }).then((result) =>
          result.violations.map((rule) => {
            const nodes = rule.nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} [${node.failureSummary}]`);
            return `${rule.id}: ${rule.help}\n      ${nodes.join("\n      ")}`;
          }),
        ),
      TAGS,
    );
    for (const text of found) this.report(`${name}: axe ${text}`);
  }
}

/** Runs in the page before anything else: keeps what the policy blocked. */
export function recordViolations() {
  window.__cspViolations = [];
  document.addEventListener("securitypolicyviolation", (event) => {
    window.__cspViolations.push(`${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber} ${event.sample}`);
  });
}
