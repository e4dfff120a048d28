// The walks: what a reader does, step by step, with what must be seen.

const WORDS = {
  en: { jobs: "Jobs", datasets: "Datasets" },
  ja: { jobs: "ジョブ", datasets: "データセット" },
};

// Findings inside the third-party API viewer that only its makers can mend.
const DOCS_AXE_IGNORES = [];

/** Jobs → Job → Datasets → API → not found, on whatever the server holds. */
export async function walk({ page, watch, base, language }) {
  const words = WORDS[language];
  const health = await (await fetch(`${base}/api/cloud/health`)).json();

  await page.goto(`${base}/`);
  await page.locator("main table, main .empty").first().waitFor();
  watch.expect((await page.locator("h1").textContent()) === words.jobs, `heading is not ${words.jobs}`);
  watch.expect((await page.getAttribute("html", "lang")) === language, "the page's language is not set");
  if (health.sandbox) await page.locator(".banner").waitFor();
  await page.locator(".footer .meta").waitFor();
  await page.keyboard.press("Tab");
  watch.expect(await page.evaluate(() => document.activeElement?.className === "skip"), "Tab does not start at the skip link");
  await page.evaluate(() => document.activeElement?.blur());
  await watch.check("jobs");

  const first = page.locator("main table .row-link").first();
  if (await first.count()) {
    await first.click();
    await walkJob(page, watch);
  }

  await page.locator('nav a[href="/datasets"]').click();
  await page.locator("main table, main .empty").first().waitFor();
  watch.expect((await page.locator("h1").textContent()) === words.datasets, `heading is not ${words.datasets}`);
  const dataset = page.locator(".table-datasets .link-button").first();
  if (await dataset.count()) {
    await dataset.click();
    await page.locator(".table-versions").waitFor();
  }
  await watch.check("datasets");

  await page.locator('nav a[href="/docs"]').click();
  await page.locator(".swagger-ui .opblock").first().waitFor();
  await watch.check("docs", { axeIgnores: DOCS_AXE_IGNORES });
  await page.locator(".swagger-ui .opblock-summary-control").first().click();
  await page.locator(".swagger-ui .opblock-body").first().waitFor();
  await watch.check("docs operation", { axeIgnores: DOCS_AXE_IGNORES });

  watch.expected.add(404);
  await page.goto(`${base}/jobs/no-such-job`);
  await page.locator(".notice-error").waitFor();
  await watch.check("job not found");
  await page.goto(`${base}/no/such/page`);
  await page.locator("h1").waitFor();
  await watch.check("page not found");
}

async function walkJob(page, watch) {
  await page.locator(".phases").waitFor();
  watch.expect(await page.evaluate(() => document.activeElement?.tagName === "H1"), "focus is not on the heading");
  await page.locator(".events, #events ~ .meta").first().waitFor();
  await page.locator(".log, #logs").first().waitFor();
  await page.locator(".table-outputs, #outputs ~ .meta").first().waitFor();
  await page.waitForLoadState("networkidle", { timeout: 3_000 }).catch(() => undefined); // a live job never is
  await watch.check("job");

  const action = page.locator(".page-actions > .button");
  if ((await action.getAttribute("aria-disabled")) === "true") return;
  await action.click();
  await page.locator("dialog[open]").waitFor();
  const onSafe = await page.evaluate(() => document.activeElement?.matches("dialog .button:not(.button-danger)"));
  watch.expect(onSafe, "the dialog does not start on the safe button");
  await watch.check("confirm");
  await page.keyboard.press("Escape");
  await page.locator("dialog").waitFor({ state: "detached" });
  watch.expect(await action.evaluate((button) => button === document.activeElement), "focus does not return from the dialog");
}

/** The states that only the stand-in server shows on request. */
export async function walkStates({ page, watch, base }) {
  const scene = (scenario) => fetch(`${base}/__mock`, { method: "POST", body: JSON.stringify({ scenario }) });
  try {
    await page.goto(`${base}/`);
    for (const name of await page.locator("main table .row-link").allTextContents()) {
      await page.goto(`${base}/`);
      await page.locator("main table .row-link", { hasText: name }).click();
      await page.locator(".table-outputs, #outputs ~ .meta").first().waitFor();
      await watch.check(`job ${name}`);
    }
    await page.goto(`${base}/?status=uploading`);
    await page.locator("main table").waitFor(); // an unknown filter shows everything

    await scene("empty");
    await page.goto(`${base}/`);
    await page.locator(".steps").waitFor();
    await watch.check("jobs empty");
    await page.goto(`${base}/?status=failed`);
    await page.locator(".empty .button").waitFor();
    await watch.check("jobs none match");
    await page.goto(`${base}/datasets`);
    await page.locator(".empty").waitFor();
    await watch.check("datasets empty");

    watch.expected.add(503).add(401);
    await scene("down");
    await page.goto(`${base}/`);
    await page.locator(".notice-error").waitFor();
    await watch.check("jobs down");

    await scene("locked");
    await page.goto(`${base}/`);
    await page.locator(".access input").waitFor();
    await watch.check("locked");
    await page.locator(".access input").fill("letmein");
    await page.keyboard.press("Enter");
    await page.locator("main table").waitFor();
    watch.expect((await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }))).includes("letmein") === false, "the token is in storage");

    await scene("broken");
    watch.allowCrash = true;
    await page.goto(`${base}/`);
    await page.locator("main .button", { hasText: /Reload|再読み込み/ }).waitFor();
    await watch.check("crash");
    watch.allowCrash = false;

    await scene("busy");
    await walkCancel(page, watch, base);
  } finally {
    await scene("busy");
  }
}

/** Cancel a running job: asked, then confirmed by the provider, with no way back to running. */
async function walkCancel(page, watch, base) {
  await page.goto(`${base}/`);
  const running = page.locator("tr", { has: page.locator(".badge-running") }).locator(".row-link");
  if (!(await running.count())) return; // an earlier variant has cancelled it
  await running.first().click();
  await page.locator(".page-actions > .button").click();
  await page.locator("dialog .button-danger").click();
  await page.locator(".toast").waitFor();
  await page.locator(".page-actions > .button[aria-disabled=true]").waitFor();
  await watch.check("cancelling");
  await page.locator(".page-actions > .button:not([aria-disabled=true])").waitFor();
  await page.locator(".job-state .badge-cancelled").waitFor();
  await watch.check("cancelled");
}
