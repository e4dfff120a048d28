// The walk: what a reader does, step by step, with what must be seen. Holds on any stack, whatever it has.

export const WORDS = {
  en: { jobs: "Jobs", datasets: "Datasets", api: "API" },
  ja: { jobs: "ジョブ", datasets: "データセット", api: "API" },
};

/** Jobs → Job → Datasets → API → not found. */
export async function walk({ page, watch, base, language }) {
  const words = WORDS[language];
  const health = await (await fetch(`${base}/api/cloud/health`)).json();

  await page.goto(`${base}/`);
  await page.locator("main table, main .empty").first().waitFor();
  watch.expect((await page.locator("h1").textContent()) === words.jobs, `heading is not ${words.jobs}`);
  watch.expect((await page.getAttribute("html", "lang")) === language, "the page's language is not set");
  if (health.sandbox) await page.locator(".banner").first().waitFor();
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
    watch.expect(await page.evaluate(() => document.activeElement?.id === "versions"), "focus is not on the versions");
    watch.expect(new URL(page.url()).searchParams.has("open"), "the open dataset is not in the address");
  }
  await watch.check("datasets");

  await walkDocs(page, watch, words);

  watch.expected.add("404");
  await page.goto(`${base}/jobs/no-such-job`);
  await page.locator(".notice-error").waitFor();
  await watch.check("job not found");
  await page.goto(`${base}/no/such/page`);
  await page.locator("h1").waitFor();
  await watch.check("page not found");
  watch.expected.delete("404");
}

/** The job page, from wherever it was opened. */
export async function walkJob(page, watch, name = "job") {
  await page.locator(".phases").waitFor();
  watch.expect(await page.evaluate(() => document.activeElement?.tagName === "H1"), "focus is not on the heading");
  await settled(page);
  await page.waitForLoadState("networkidle", { timeout: 3_000 }).catch(() => undefined); // a live job never is
  for (const file of await page.locator(".json-file summary").all()) await file.click();
  await watch.check(name);

  const action = page.locator(".page-actions > .button");
  if ((await action.getAttribute("aria-disabled")) === "true") return;
  await action.click();
  await page.locator("dialog[open]").waitFor();
  const onSafe = await page.evaluate(() => document.activeElement?.matches("dialog .button:not(.button-danger)"));
  watch.expect(onSafe, "the dialog does not start on the safe button");
  await watch.check(`${name} confirm`);
  await page.keyboard.press("Escape");
  await page.locator("dialog").waitFor({ state: "detached" });
  watch.expect(await action.evaluate((button) => button === document.activeElement), "focus does not return from the dialog");
}

/** Every panel of the job page has its first answer. */
export async function settled(page) {
  for (const panel of ["#events", "#outputs", "#logs", "#config"]) {
    await page.locator(`section:has(> ${panel}, > .panel-head ${panel}) > :nth-child(2)`).first().waitFor();
  }
}

async function walkDocs(page, watch, words) {
  await page.locator('nav a[href="/docs"]').click();
  const route = page.locator(".operation");
  await route.first().waitFor();
  watch.expect((await page.locator("h1").textContent()) === words.api, `heading is not ${words.api}`);
  await watch.check("docs");
  const all = await route.count();
  await page.locator(".docs-find input").fill("submit");
  const found = await route.count();
  watch.expect(found > 0 && found < all, `"submit" finds ${found} of ${all} routes`);
  await page.locator("#submit_job > summary").click();
  await page.locator(".operation-body .answers").waitFor();
  for (const answer of await page.locator(".operation-body .answers > li > details > summary").all()) await answer.click();
  await watch.check("docs operation");
  await page.reload();
  await page.locator(".operation-body").waitFor(); // the address names the open route
  await page.goto(`${new URL(page.url()).origin}/docs/`);
  await page.locator(".operation").first().waitFor();
}
