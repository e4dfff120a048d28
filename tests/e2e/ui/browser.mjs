// A real Chromium without a download of its own: the one CHROMIUM_PATH names, one installed on this machine, or the
// build the npm package @sparticuz/chromium carries.
import { existsSync } from "node:fs";
import chromiumPackage from "@sparticuz/chromium";
import { chromium } from "playwright-core";

const INSTALLED = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const LAMBDA_ONLY = ["--single-process", "--no-zygote"];
const LAUNCH_TIMEOUT_MS = 60_000;

/** Start the browser. The caller closes it. */
export async function launch() {
  const installed = process.env.CHROMIUM_PATH ?? INSTALLED.find((path) => existsSync(path));
  if (installed) {
    // Root (a container) can't use Chromium's own sandbox.
    const args = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
    return chromium.launch({ executablePath: installed, args, timeout: LAUNCH_TIMEOUT_MS });
  }
  return chromium.launch({
    executablePath: await chromiumPackage.executablePath(),
    // Its arguments are made for Lambda, where a browser lives for one page: in a single process Chromium ends with the
    // first closed context. https://github.com/Sparticuz/chromium#-args
    args: chromiumPackage.args.filter((arg) => !LAMBDA_ONLY.includes(arg)),
    timeout: LAUNCH_TIMEOUT_MS,
  });
}
