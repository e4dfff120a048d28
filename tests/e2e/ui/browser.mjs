// A real Chromium without a download of its own: the one CHROMIUM_PATH names, one installed on this machine, or the
// build the npm package @sparticuz/chromium carries (Linux on x64).
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import chromiumPackage from "@sparticuz/chromium";
import { chromium } from "playwright-core";

const INSTALLED = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];
const LAUNCH_TIMEOUT_MS = 60_000;
const UNPACKED = fileURLToPath(new URL("node_modules/.chromium", import.meta.url));

/** Start the browser. The caller closes it. */
export async function launch() {
  const installed = process.env.CHROMIUM_PATH ?? INSTALLED.find((path) => existsSync(path));
  if (installed) {
    // Root (a container) can't use Chromium's own sandbox.
    const args = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
    return chromium.launch({ executablePath: installed, args, timeout: LAUNCH_TIMEOUT_MS });
  }
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new Error("No Chromium was found. Install Chrome or Chromium, or name one with CHROMIUM_PATH.");
  }
  await unpack();
  const executablePath = join(UNPACKED, "chromium");
  return chromium.launch({
    executablePath,
    // Not the package's own arguments: they are made for Lambda and switch off what is tested here (web security).
    // https://github.com/Sparticuz/chromium#-args
    args: ["--no-sandbox", "--font-render-hinting=none"],
    env: environment(executablePath),
    timeout: LAUNCH_TIMEOUT_MS,
  });
}

/**
 * Puts the package's browser into a folder of this checkout. The package itself would use one place in the temporary
 * folder for everybody, where another user's copy can't be run and a half-written one stays.
 */
async function unpack() {
  if (existsSync(UNPACKED)) return;
  const folder = await mkdtemp(`${UNPACKED}-`);
  const before = { TMPDIR: process.env.TMPDIR, AWS_EXECUTION_ENV: process.env.AWS_EXECUTION_ENV };
  try {
    // It unpacks into the temporary folder, and the system libraries a browser needs only where it takes itself to be
    // on Lambda.
    Object.assign(process.env, { TMPDIR: folder, AWS_EXECUTION_ENV: "AWS_Lambda_nodejs22.x" });
    await chromiumPackage.executablePath();
    await rename(folder, UNPACKED);
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    if (!existsSync(UNPACKED)) throw error; // else another run was faster
  } finally {
    for (const [name, value] of Object.entries(before)) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

/** The system's libraries and fonts where it has them, the package's where it doesn't. */
function environment(executable) {
  const env = { ...process.env };
  const linked = spawnSync("ldd", [executable], { encoding: "utf8" });
  if (linked.stdout?.includes("not found")) env.LD_LIBRARY_PATH = join(UNPACKED, "al2023", "lib");
  if (!existsSync("/etc/fonts")) env.FONTCONFIG_PATH = join(UNPACKED, "fonts");
  return env;
}
