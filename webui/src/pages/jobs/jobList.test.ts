import { describe, expect, it } from "vitest";
import type { Job, JobPage } from "../../api/types";
import { activeBeyond, fromPage, shownRows, withFirstPage, withJob, withOlderPage } from "./jobList";

/** Job n was made at second n: a larger number is newer. */
const job = (n: number, is_active = false) =>
  ({ job_id: `job-${n}`, created_at: new Date(n * 1000).toISOString(), is_active }) as Job;
const page = (numbers: number[], next: string | null): JobPage => ({
  jobs: numbers.map((n) => job(n)),
  total: numbers.length,
  next,
});
const ids = (jobs: Job[]) => jobs.map((row) => Number(row.job_id.slice(4)));

describe("the list of jobs", () => {
  it("keeps older pages while the first one is read again", () => {
    let list = withOlderPage(fromPage(page([9, 8, 7], "c7")), page([6, 5, 4], "c4"));
    expect([ids(list.jobs), list.next]).toEqual([[9, 8, 7, 6, 5, 4], "c4"]);
    list = withFirstPage(list, page([10, 9, 8], "c8"));
    expect([ids(list.jobs), list.next]).toEqual([[10, 9, 8, 7, 6, 5, 4], "c4"]);
  });

  it("drops a row of the first page's range that is no longer there", () => {
    const list = withOlderPage(fromPage(page([9, 8, 7], "c7")), page([6, 5], null));
    expect(ids(withFirstPage(list, page([9, 7, 6], "c6")).jobs)).toEqual([9, 7, 6, 5]);
  });

  it("starts over rather than show a hole", () => {
    const list = withOlderPage(fromPage(page([9, 8, 7], "c7")), page([6, 5], null));
    const after = withFirstPage(list, page([99, 98, 97], "c97"));
    expect([ids(after.jobs), after.next]).toEqual([[99, 98, 97], "c97"]);
  });

  it("is just the first page when that is all there is", () => {
    const list = withOlderPage(fromPage(page([9, 8], "c8")), page([7], null));
    expect(withFirstPage(list, page([9], null))).toEqual(fromPage(page([9], null)));
    expect(withFirstPage(list, page([], null))).toEqual({ jobs: [], next: null });
  });

  it("takes a page that overlaps without doubling rows", () => {
    const list = withOlderPage(fromPage(page([9, 8, 7], "c7")), page([7, 6], null));
    expect([ids(list.jobs), list.next]).toEqual([[9, 8, 7, 6], null]);
  });

  it("brings single jobs up to date and lets them go", () => {
    const first = page([9, 8], "c8");
    const list = withOlderPage(fromPage(first), { jobs: [job(7, true), job(6)], total: 2, next: null });
    expect(ids(activeBeyond(list, first))).toEqual([7]);
    expect(activeBeyond(withJob(list, "job-7", job(7)), first)).toEqual([]);
    expect(ids(withJob(list, "job-7", null).jobs)).toEqual([9, 8, 6]);
  });
});

describe("rows shown", () => {
  it("are all of them, or those a reader has before their eyes plus older ones", () => {
    const jobs = [9, 8, 7, 6].map((n) => job(n));
    expect(shownRows(jobs, null)).toEqual({ rows: jobs, waiting: 0 });
    const held = shownRows(jobs, new Set(["job-8", "job-7"]));
    expect([ids(held.rows), held.waiting]).toEqual([[8, 7, 6], 1]);
  });
});
