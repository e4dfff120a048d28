import { afterEach, describe, expect, it, vi } from "vitest";
import type { JobPage } from "../../api/types";
import { PageReader } from "./readPage";

const page = (active: boolean) => ({ jobs: [{ is_active: active }], total: 1, next: null }) as JobPage;
const { signal } = new AbortController();

/** Which requests asked the provider. `statuses` answer one after the other, then 200. */
function serve(statuses: number[] = []): boolean[] {
  const asked: boolean[] = [];
  vi.stubGlobal("fetch", async (path: string) => {
    asked.push(path.includes("sync_active=true"));
    return new Response(JSON.stringify(page(true)), { status: statuses.shift() ?? 200 });
  });
  return asked;
}

afterEach(() => vi.unstubAllGlobals());

describe("PageReader", () => {
  it("asks the provider about active jobs every 15 seconds, not on the first read", async () => {
    const asked = serve();
    const reader = new PageReader();
    await reader.read({ limit: 50 }, undefined, 0, signal);
    for (const at of [5_000, 10_000, 19_999, 20_000])
      await reader.read({ limit: 50 }, page(true), at, signal);
    expect(asked).toEqual([false, true, false, false, true]);
  });

  it("does not ask when no job is active", async () => {
    const asked = serve();
    await new PageReader().read({ limit: 50 }, page(false), 60_000, signal);
    expect(asked).toEqual([false]);
  });

  it("reads the list as it is when the provider can't be asked", async () => {
    const asked = serve([503]);
    const read = await new PageReader().read({ limit: 50 }, page(true), 60_000, signal);
    expect(asked).toEqual([true, false]);
    expect(read).toEqual(page(true));
  });

  it("fails when the list itself can't be read", async () => {
    serve([503, 503]);
    await expect(new PageReader().read({ limit: 50 }, page(true), 0, signal)).rejects.toThrow("HTTP 503");
  });
});
