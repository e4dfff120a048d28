// The states that only the stand-in server shows on request, and walks that change something.
import { DOORS } from "./doors.mjs";
import { settled, walkJob } from "./walks.mjs";

/** One after the other; each starts over with a scenario of its own. */
export async function walkStates(tools, steps) {
  const { page, base } = tools;
  const scene = (scenario) => fetch(`${base}/__mock`, { method: "POST", body: JSON.stringify({ scenario }) });
  try {
    for (const step of steps) await step({ ...tools, scene });
  } finally {
    await page.context().setOffline(false);
    await scene("busy");
  }
}

/** What a page can look like. */
export const STATES = [everyJob, empty, trouble, partial, silent, offline, ...DOORS, broken];
/** What a reader does: the same in every language and at every size. */
export const ACTIONS = [paging, deletion, cancel, cancelledElsewhere, longLog, keyboard];

const rows = (page) => page.locator("main table tbody tr");

async function everyJob({ page, watch, base, language, scene }) {
  await scene("busy");
  watch.expected.add("404"); // one job's configuration has been deleted since
  await page.goto(`${base}/`);
  await page.locator("main table").waitFor();
  const names = await page.locator("main table .row-link").allTextContents();
  watch.expect(names.length === 6, `${names.length} jobs are listed instead of 6`);
  for (const name of names) {
    await page.goto(`${base}/`);
    await page.locator("main table .row-link", { hasText: name }).click();
    await walkJob(page, watch, `job ${name.slice(0, 24)}`, language === "en");
  }
  watch.expected.delete("404");
  await page.goto(`${base}/?status=uploading`);
  await page.locator("main table").waitFor(); // an unknown filter shows everything
}

async function paging({ page, watch, base, scene }) {
  await scene("many");
  await page.goto(`${base}/`);
  await rows(page).nth(49).waitFor();
  for (const wanted of [100, 146]) {
    await page.locator(".more .button").click();
    await rows(page).nth(wanted - 1).waitFor();
    watch.expect((await rows(page).count()) === wanted, `${await rows(page).count()} rows instead of ${wanted}`);
  }
  watch.expect((await page.locator(".more").count()) === 0, "offers more than there is");
  await page.locator(".page-actions .button").click(); // sync reads the first page again
  await page.locator(".toast").waitFor();
  watch.expect((await rows(page).count()) === 146, "older rows are lost when the first page is read again");
  await page.locator(".toolbar select").selectOption("failed");
  await page.waitForFunction(() => new URLSearchParams(location.search).get("status") === "failed");
  await page.locator(".badge-running").waitFor({ state: "detached" });
  await watch.check("jobs filtered");
}

async function empty({ page, watch, base, scene }) {
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
}

async function trouble({ page, watch, base, scene }) {
  await scene("sick");
  await page.goto(`${base}/`);
  await page.locator(".banner-bad").waitFor();
  await watch.check("sick");
  watch.expected.add("503");
  await scene("down");
  await page.goto(`${base}/`);
  await page.locator(".notice-error").waitFor();
  await watch.check("jobs down");
  await scene("busy");
  await page.locator(".notice-error .button").click();
  await page.locator("main table").waitFor(); // Retry works
  watch.expected.delete("503");
}

async function partial({ page, watch, base, scene }) {
  await scene("partial");
  watch.expected.add("503");
  await page.goto(`${base}/`);
  await page.locator("main table .row-link").first().click();
  await page.locator(".notice-error").nth(2).waitFor(); // logs, events and outputs fail alone, the rest is there
  await page.locator(".figures").waitFor();
  await watch.check("job partial");
  watch.expected.delete("503");
}

async function silent({ page, watch, base, scene }) {
  await scene("silent");
  await page.goto(`${base}/`);
  await page.locator("tr:has(.badge-running) .row-link").click();
  await page.locator(".job-state .notice-warning").waitFor();
  await watch.check("job silent");
}

async function offline({ page, watch, base, scene }) {
  await scene("busy");
  await page.goto(`${base}/`);
  await page.locator("main table").waitFor();
  watch.expected.add("ERR_INTERNET_DISCONNECTED");
  await page.context().setOffline(true);
  await page.locator(".toolbar .notice-warning").waitFor();
  await page.locator("main table").waitFor(); // what was shown stays
  await watch.check("offline");
  await page.context().setOffline(false);
  await page.locator(".toolbar .notice-warning").waitFor({ state: "detached" });
  watch.expected.delete("ERR_INTERNET_DISCONNECTED");
}

async function broken({ page, watch, base, scene }) {
  await scene("broken");
  watch.allowCrash = true;
  await page.goto(`${base}/`);
  await page.locator("main .button", { hasText: /Reload|再読み込み/ }).waitFor();
  await watch.check("crash");
  watch.allowCrash = false;
}

/** Delete a dataset: refused while in use, done otherwise; the list follows and the focus is not lost. */
async function deletion({ page, watch, base, scene }) {
  await scene("busy");
  await page.goto(`${base}/datasets`);
  const row = (id) => page.locator(".table-datasets tbody tr", { hasText: id });
  watch.expected.add("409");
  await row("cat-and-coffee").locator(".col-actions .button").click();
  await page.locator("dialog .button-danger").click();
  await page.locator("dialog .notice-error").waitFor();
  await watch.check("dataset in use");
  watch.expected.delete("409");
  await page.keyboard.press("Escape");
  await row("rocket").locator(".col-actions .button").click();
  await page.locator("dialog .button-danger").click();
  await row("rocket").waitFor({ state: "detached" });
  await page.locator(".toast").waitFor();
  watch.expect(await page.evaluate(() => document.activeElement?.tagName === "H1"), "focus is lost after deleting");
  await page.goto(`${base}/`);
  const failed = page.locator("tr:has(.badge-failed)");
  await failed.locator(".col-actions .button").click();
  await page.locator("dialog .button-danger").click();
  await failed.waitFor({ state: "detached" });
}

/** Cancel a running job: asked, then confirmed by the provider, with no way back to running. */
async function cancel({ page, watch, base, scene }) {
  await scene("busy");
  await page.goto(`${base}/`);
  await page.locator("tr:has(.badge-running) .row-link").click();
  await page.locator(".page-actions > .button").click();
  await page.locator("dialog .button-danger").click();
  await page.locator(".toast").waitFor();
  await page.locator(".page-actions > .button[aria-disabled=true]").waitFor();
  await watch.check("cancelling");
  await page.locator(".page-actions > .button:not([aria-disabled=true])").waitFor();
  await page.locator(".job-state .badge-cancelled").waitFor();
  await watch.check("cancelled");
}

/** Somebody else's cancellation shows within a round, without a reload. */
async function cancelledElsewhere({ page, watch, base, scene }) {
  await scene("busy");
  await page.goto(`${base}/`);
  await page.locator("tr:has(.badge-running) .row-link").click();
  await settled(page);
  const id = new URL(page.url()).pathname.split("/").at(-1);
  await fetch(`${base}/api/cloud/jobs/${id}/cancel`, { method: "POST" });
  await page.locator(".page-actions > .button[aria-disabled=true]").waitFor({ timeout: 3_000 });
  watch.expect(await page.locator(".job-state .badge-cancelled").count(), "the badge does not say that it is cancelling");
}

const MOST_NODES = 3_000;
const LONGEST_FRAME_MS = 500;

/** 110,000 lines: few elements, and scrolling through them never stops for long. */
async function longLog({ page, watch, base, scene }) {
  await scene("busy");
  await page.goto(`${base}/`);
  await page.locator("main table .row-link", { hasText: "long-log" }).click();
  await settled(page);
  await page.locator(".log[role=log] .log-block").nth(400).waitFor();
  const seen = await page.locator(".log[role=log]").evaluate(async (log) => {
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 30;
    let longest = 0;
    let last = performance.now();
    for (let step = 40; step >= 0; step -= 1) {
      log.scrollTop = (log.scrollHeight * step) / 40;
      await new Promise((resolve) => requestAnimationFrame(resolve));
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }
    return { atEnd, longest, nodes: log.querySelectorAll("*").length, colours: log.textContent.includes("\u001b") };
  });
  watch.expect(seen.atEnd, "the log does not open at its end");
  watch.expect(seen.nodes <= MOST_NODES, `${seen.nodes} elements in the log`);
  watch.expect(seen.longest <= LONGEST_FRAME_MS, `a frame took ${Math.round(seen.longest)} ms`);
  watch.expect(!seen.colours, "terminal colours are shown as text");
  await page.locator(".log-foot .button").click();
  await page.waitForFunction(() => {
    const log = document.querySelector(".log[role=log]");
    return log.scrollHeight - log.scrollTop - log.clientHeight < 30;
  });
  await watch.check("long log");
}

const MOST_TABS = 60;

/** By keyboard alone: open a job, ask to cancel it, keep it, go back, find a route of the API. */
async function keyboard({ page, watch, base, scene }) {
  await scene("busy");
  await page.goto(`${base}/`);
  await page.locator("main table").waitFor();
  const tabTo = async (selector) => {
    for (let tabs = 0; tabs < MOST_TABS; tabs += 1) {
      await page.keyboard.press("Tab");
      const state = await page.evaluate((wanted) => {
        const element = document.activeElement;
        const box = element.getBoundingClientRect();
        const style = getComputedStyle(element);
        return { found: element.matches(wanted), seen: box.width > 0 && style.outlineStyle !== "none", html: element.outerHTML.slice(0, 90) };
      }, selector);
      watch.expect(state.seen, `no focus ring on ${state.html}`);
      if (state.found) return;
    }
    throw new Error(`${selector} can't be reached by Tab`);
  };
  await tabTo("tr:has(.badge-running) .row-link");
  await page.keyboard.press("Enter");
  await page.locator(".phases").waitFor();
  await tabTo(".page-actions > .button");
  await page.keyboard.press("Enter");
  await page.locator("dialog[open]").waitFor();
  await page.keyboard.press("Enter"); // the safe button has the focus
  await page.locator("dialog").waitFor({ state: "detached" });
  await page.locator(".log[role=log]").waitFor();
  await tabTo(".log[role=log]");
  await page.keyboard.press("Home");
  await page.goto(`${base}/docs`);
  await page.locator(".operation").first().waitFor();
  await tabTo(".docs-find input");
  await page.keyboard.type("cancel");
  await tabTo(".operation > summary");
  await page.keyboard.press("Enter");
  await page.locator(".operation-body").waitFor();
}
