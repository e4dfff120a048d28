// The walk: what a reader does, step by step, with what must be seen. Holds on any stack, whatever it has.

export const WORDS = {
  en: { jobs: "Jobs", datasets: "Datasets", api: "API" },
  ja: { jobs: "ジョブ", datasets: "データセット", api: "API" },
};

/** Jobs → Job → Datasets → API → not found. `thorough`: a job of every status, and what it offers for download. */
export async function walk({ page, watch, base, language, thorough }) {
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

  for (const status of await shownStatuses(page, thorough)) {
    await page.locator(`tr:has(.badge-${status}) .row-link`).first().click();
    await walkJob(page, watch, `job ${status}`, thorough);
    await askAndKeep(page, watch, `job ${status}`);
    await page.goto(`${base}/`);
    await page.locator("main table").waitFor();
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

/** One status of every kind the list shows, or the first row's alone. */
async function shownStatuses(page, all) {
  const shown = await page.locator("main table .badge").evaluateAll((badges) =>
    badges.map((badge) => [...badge.classList].find((name) => name.startsWith("badge-")).slice("badge-".length)),
  );
  return all ? new Set(shown) : shown.slice(0, 1);
}

/** The job page, from wherever it was opened. `thorough`: with what it offers for download. */
export async function walkJob(page, watch, name, thorough) {
  await page.locator(".phases").waitFor();
  watch.expect(await page.evaluate(() => document.activeElement?.tagName === "H1"), "focus is not on the heading");
  await settled(page);
  for (const file of await page.locator(".json-file summary").all()) await file.click();
  await samplesShow(page, watch, name, thorough);
  await watch.check(name);
  if (thorough) await keep(page, watch, name);
}

/** Cancel or Delete asks first, from the safe button; Esc leaves everything as it was. */
async function askAndKeep(page, watch, name) {
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

/** Sample images come from the storage's own origin: each must be drawn, in the list and enlarged. */
async function samplesShow(page, watch, name, thorough) {
  const samples = page.locator(".sample");
  if ((await samples.count()) === 0) return;
  for (const image of await samples.locator("img").all()) {
    await image.scrollIntoViewIfNeeded();
    await watch.drawn(image, `${name}: a sample image`);
  }
  const first = samples.first();
  await first.click();
  const large = page.locator(".dialog-image[open]");
  await large.waitFor();
  await watch.drawn(large.locator("img"), `${name}: the enlarged image`);
  if (thorough) await watch.check(`${name} sample`);
  await page.keyboard.press("Escape");
  await large.waitFor({ state: "detached" });
  watch.expect(await first.evaluate((button) => button === document.activeElement), "focus does not return to the sample");
  await page.evaluate(() => {
    document.activeElement.blur();
    window.scrollTo(0, 0);
  });
}

/** What can be kept arrives: an output from the storage, the log, the configuration. */
async function keep(page, watch, name) {
  for (const offered of [".table-outputs tbody a", ".panel-tools .button", ".json-tools .button"]) {
    const link = page.locator(offered).first();
    if (await link.count()) await watch.download(link, name);
  }
}

/** Every panel of the job page has its first answer. */
export async function settled(page) {
  for (const panel of ["#events", "#outputs", "#logs", "#config"]) {
    await page.locator(`section:has(> ${panel}, > .panel-head ${panel}) > :nth-child(2)`).first().waitFor();
  }
  await page.waitForFunction(() => document.querySelector(".skeleton") === null);
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
