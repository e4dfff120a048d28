// Browser smoke test of the web console.
//
//   node run.mjs http://localhost:8001     walks what that stack shows
//   node run.mjs                           walks the stand-in server (webui/dev/mock.mjs, needs webui/dist), and with it
//                                          the states a healthy stack does not show: empty, down, offline, locked,
//                                          a very long log …
//
// STC_UI_SCREENSHOTS=<folder> stores a picture of every page. CHROMIUM_PATH chooses the browser. Exit code 0: nothing
// was found.
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { launch } from "./browser.mjs";
import { recordViolations, Watch } from "./checks.mjs";
import { ACTIONS, STATES, walkStates } from "./states.mjs";
import { walk } from "./walks.mjs";

const WIDTHS = {
  // 1280 px at 400 % zoom (WCAG 2.2, 1.4.10).
  tiny: { width: 320, height: 700 },
  phone: { width: 390, height: 844 },
  tablet: { width: 820, height: 1180 },
  desktop: { width: 1440, height: 900 },
};
/**
 * Every language, theme and size, not every combination. The first two are walked on a stack, job by job; what else a
 * size or a theme can spoil shows on the stand-in server.
 */
const VARIANTS = [
  { language: "en", theme: "light", size: "desktop" },
  { language: "ja", theme: "dark", size: "phone" },
  { language: "en", theme: "dark", size: "tablet" },
  { language: "ja", theme: "light", size: "tiny" },
];
const STEP_TIMEOUT_MS = 20_000;
const MOCK_START_MS = 10_000;

if (process.env.STC_UI_SCREENSHOTS) mkdirSync(process.env.STC_UI_SCREENSHOTS, { recursive: true });

const given = process.argv[2];
const mock = given ? null : await startMock();
const base = new URL(given ?? mock.url).origin;
const variants = mock ? VARIANTS : VARIANTS.slice(0, 2);
const browser = await launch();
const problems = [];
try {
  for (const variant of variants) {
    // On the stand-in server the walks through its states see every job.
    problems.push(...(await inVariant(variant, (tools) => walk({ ...tools, thorough: !mock }))));
  }
  if (mock) {
    problems.push(...(await inVariant(VARIANTS[0], (tools) => walkStates(tools, [...STATES, ...ACTIONS]))));
    problems.push(...(await inVariant(VARIANTS[1], (tools) => walkStates(tools, STATES))));
  }
} finally {
  await browser.close();
  mock?.child.kill();
}
for (const problem of problems) console.error(`✗ ${problem}`);
console.log(problems.length ? `${problems.length} problems` : `✓ ${variants.length} variants, nothing found`);
process.exitCode = problems.length ? 1 : 0;

async function inVariant({ language, theme, size }, steps) {
  const context = await browser.newContext({
    viewport: WIDTHS[size],
    colorScheme: theme,
    locale: language,
    timezoneId: "UTC",
    reducedMotion: "reduce",
  });
  const page = await context.newPage();
  page.setDefaultTimeout(STEP_TIMEOUT_MS);
  await page.addInitScript(recordViolations);
  const watch = new Watch(page, base);
  watch.place = `${language} ${theme} ${size}`;
  try {
    await steps({ page, watch, base, language });
  } catch (error) {
    watch.report(`stopped at ${page.url()}: ${error.message}`);
  }
  await context.close();
  return watch.problems;
}

/** Starts the stand-in server as a child and waits for its address. */
async function startMock() {
  const script = fileURLToPath(new URL("../../../webui/dev/mock.mjs", import.meta.url));
  const child = spawn(process.execPath, [script], { stdio: ["ignore", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout });
  const url = await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("the stand-in server did not start")), MOCK_START_MS);
    lines.once("line", (line) => {
      clearTimeout(timer);
      resolve(line);
    });
    child.once("exit", (code) => reject(new Error(`the stand-in server ended with ${code}`)));
  });
  return { child, url };
}
