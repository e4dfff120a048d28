// Signing in and out on the stand-in server (webui/dev/mock-doors.mjs has the people).

/** In every language, theme and size. */
export const DOORS = [signInAndOut, steps, expiry, withKey, firstAdmin];
const PASSWORD = "letmein-please";

const field = (page, name) => page.locator(`.signin input[name="${name}"]:not([hidden])`);
const submit = (page) => page.locator(".signin .button-primary").click();
const refused = (page) => page.locator(".signin .field-error").waitFor();
const focused = (page) => page.evaluate(() => document.activeElement?.getAttribute("name"));

async function enter(page, name, password = PASSWORD) {
  await field(page, "username").fill(name);
  await field(page, "password").fill(password);
  await submit(page);
}

/** Nothing that lets in may be where a script or somebody looking over a shoulder finds it. */
async function keepsNoSecret(page, watch) {
  const kept = await page.evaluate(() =>
    JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href]),
  );
  for (const secret of [PASSWORD, "letmein", "session-", "refresh-", "246810", "setup_1"]) {
    watch.expect(!kept.includes(secret), `${secret} is in storage, a readable cookie or the address`);
  }
}

async function signInAndOut({ page, watch, base, scene }) {
  await scene("locked");
  watch.expected.add("401");
  await page.goto(`${base}/`);
  await field(page, "username").waitFor();
  await page.waitForFunction(() => document.activeElement?.getAttribute("name") === "username");
  watch.expect((await field(page, "password").getAttribute("autocomplete")) === "current-password", "password managers are not told");
  await watch.check("sign in");
  await enter(page, "ada", "wrong");
  await refused(page);
  watch.expect((await focused(page)) === "password", "the focus is not on what has to be typed again");
  watch.expect((await field(page, "username").inputValue()) === "ada", "the name is lost");
  await watch.check("sign in wrong");
  watch.expected.add("429");
  await enter(page, "lou");
  await page.locator(".signin .field-error", { hasText: /\d:\d\d/ }).waitFor();
  await watch.check("sign in locked out");
  watch.expected.delete("429");
  await field(page, "username").fill("ada");
  await field(page, "password").fill(PASSWORD);
  await page.keyboard.press("Enter");
  await page.locator("main table").waitFor();
  watch.expect((await page.locator(".who-name").textContent()) === "ada", "who is signed in is not shown");
  await keepsNoSecret(page, watch);
  await watch.check("signed in");
  await page.reload();
  await page.locator("main table").waitFor();
  await page.locator(".who .button").click();
  await field(page, "username").waitFor();
  watch.expect((await page.locator("main table").count()) === 0, "what was seen stays after the sign-out");
  await page.reload();
  await field(page, "username").waitFor();
  await page.goto(`${base}/docs`);
  await page.locator("main h1").waitFor(); // the description of the API is for everybody
  watch.expect((await page.locator(".signin").count()) === 0, "the API's description asks to sign in");
  watch.expected.delete("401");
}

/** A first password, a code, and a new authenticator app. */
async function steps({ page, watch, base, scene }) {
  watch.expected.add("401").add("422");
  const start = async (name) => {
    await scene("locked");
    await page.goto(`${base}/`);
    await enter(page, name);
  };
  await start("nina");
  await field(page, "repeat").waitFor();
  await watch.check("sign in new password");
  for (const [password, repeat] of [["longer-than-12-1", "other"], ["short", "short"]]) {
    await field(page, "password").fill(password);
    await field(page, "repeat").fill(repeat);
    await submit(page);
    await refused(page);
  }
  await watch.check("sign in weak password");
  await field(page, "password").fill("longer-than-12-1");
  await field(page, "repeat").fill("longer-than-12-1");
  await submit(page);
  await page.locator("main table").waitFor();

  await start("otto");
  await field(page, "code").waitFor();
  watch.expect((await field(page, "code").getAttribute("autocomplete")) === "one-time-code", "phones are not told");
  await field(page, "code").fill("000000");
  await submit(page);
  await refused(page);
  await watch.check("sign in wrong code");
  await field(page, "code").fill("246 810");
  await submit(page);
  await page.locator("main table").waitFor();
  await keepsNoSecret(page, watch);

  await start("mia");
  await page.locator(".secret code").waitFor();
  await watch.check("sign in authenticator app");
  await page.locator(".signin .link-button").click(); // start over
  await field(page, "username").waitFor();
  watch.expected.delete("401");
  watch.expected.delete("422");
}

/** A session renews itself; one that can't asks over the page, which stays as it is. */
async function expiry({ page, watch, base, scene }) {
  await scene("locked");
  watch.expected.add("401");
  await page.goto(`${base}/`);
  await enter(page, "ada");
  await page.locator("main table").waitFor();
  await fetch(`${base}/api/auth/__end`, { method: "POST" });
  await page.locator(".page-actions .button").click(); // sync
  await page.locator(".toast").waitFor();
  watch.expect((await page.locator("dialog[open]").count()) === 0, "a session that can be renewed asks to sign in");

  await page.locator("main table .row-link").first().click();
  await page.locator(".phases").waitFor();
  await page.locator(".page-actions > .button").click(); // a question, half answered
  await page.locator("dialog[open]").waitFor();
  await fetch(`${base}/api/auth/__lose`, { method: "POST" });
  await page.locator("dialog[open] .button-danger").click();
  const signIn = page.locator("dialog[open]:has(.signin)");
  await signIn.waitFor();
  watch.expect((await field(page, "username").inputValue()) === "ada", "the name is asked for again");
  watch.expect((await focused(page)) === "password", "the focus is not on the password");
  await watch.check("session ended");
  await field(page, "password").fill("wrong");
  await page.keyboard.press("Enter");
  await refused(page);
  await field(page, "password").fill(PASSWORD);
  await page.keyboard.press("Enter");
  await signIn.waitFor({ state: "detached" });
  watch.expect((await page.locator("dialog[open] .button-danger").count()) === 1, "the open question is lost");
  watch.expect(await page.locator(".phases").isVisible(), "the page is lost");
  await page.keyboard.press("Escape");

  await fetch(`${base}/api/auth/__lose`, { method: "POST" });
  await page.goto(`${base}/datasets`);
  await field(page, "username").waitFor(); // after a reload nobody is known
  watch.expected.delete("401");
}

async function withKey({ page, watch, base, scene }) {
  await scene("locked");
  watch.expected.add("401");
  await page.goto(`${base}/`);
  await field(page, "username").waitFor();
  await page.locator(".signin .link-button").click();
  await field(page, "key").fill("wrong");
  await submit(page);
  await refused(page);
  await watch.check("key wrong");
  await field(page, "key").fill("letmein");
  await page.keyboard.press("Enter");
  await page.locator("main table").waitFor();
  await keepsNoSecret(page, watch);
  await page.reload();
  await field(page, "username").waitFor(); // it was in this page's memory only
  watch.expected.delete("401");
}

async function firstAdmin({ page, watch, base, scene }) {
  await scene("setup");
  watch.expected.add("401");
  await page.goto(`${base}/`);
  const fill = async (code) => {
    await field(page, "code").fill(code);
    await field(page, "username").fill("eve");
    await field(page, "email").fill("eve@example.com");
    await field(page, "password").fill(PASSWORD);
    await field(page, "repeat").fill(PASSWORD);
    await submit(page);
  };
  await field(page, "code").waitFor();
  await watch.check("first admin");
  await fill("setup_0");
  await refused(page);
  await fill("setup_1");
  await page.locator("main table").waitFor();
  await keepsNoSecret(page, watch);
  watch.expected.delete("401");
}
