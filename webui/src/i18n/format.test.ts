import { describe, expect, it } from "vitest";
import { createFormatters } from "./format";

const en = createFormatters("en", "UTC");
const ja = createFormatters("ja", "Asia/Tokyo");

describe("formatters", () => {
  it.each([
    [null, "–"],
    [0, "$0.00"],
    [0.0042, "$0.0042"],
    [0.09, "$0.09"],
    [0.1, "$0.10"],
    [1234.5, "$1,234.50"],
  ])("money %s", (value, shown) => {
    expect(en.money(value)).toBe(shown);
    expect(ja.money(value)).toBe(shown);
  });

  it.each([
    [0, "0 bytes", "0 バイト"],
    [999, "999 bytes", "999 バイト"],
    [999_960, "1 MB", "1 MB"],
    [1_500, "1.5 kB", "1.5 KB"],
    [312_400_000, "312 MB", "312 MB"],
    [5_000_000_000_000_000, "5,000 TB", "5,000 TB"],
  ])("bytes %s", (value, english, japanese) => {
    expect(en.bytes(value)).toBe(english);
    expect(ja.bytes(value)).toBe(japanese);
  });

  it.each([
    [null, "–", "–"],
    [-3, "0 sec", "0 秒"],
    [59.4, "59 sec", "59 秒"],
    [61, "1 min 1 sec", "1 分 1 秒"],
    [120, "2 min", "2 分"],
    [1560, "26 min", "26 分"],
    [3600, "1 hr", "1 時間"],
    [7199, "2 hr", "2 時間"],
    [11_100, "3 hr 5 min", "3 時間 5 分"],
    [187_200, "2 days 4 hr", "2 日 4 時間"],
  ])("duration %s", (value, english, japanese) => {
    expect(en.duration(value)).toBe(english);
    expect(ja.duration(value)).toBe(japanese);
  });

  it("never claims 100 % before the end", () => {
    expect(en.percent(99.9)).toBe("99%");
    expect(en.percent(100)).toBe("100%");
    expect(en.percent(null)).toBe("–");
  });

  it("says NaN and infinity plainly", () => {
    expect([Number.NaN, Number.POSITIVE_INFINITY, 0.1213].map((loss) => en.loss(loss))).toEqual([
      "NaN",
      "∞",
      "0.1213",
    ]);
  });

  it("keeps four decimals of a loss, so that live values don't change width, and small ones visible", () => {
    expect([0.5, 12.34567, 0.00001234, 0, 2500].map((loss) => en.loss(loss))).toEqual([
      "0.5000",
      "12.3457",
      "0.00001234",
      "0",
      "2,500",
    ]);
    expect([0.2, 0.25, 0].map((tick) => en.tick(tick))).toEqual(["0.2", "0.25", "0"]);
  });

  it("writes learning rates as configs do", () => {
    expect(en.learningRate(0.0001)).toBe("1e-4");
    expect(ja.learningRate(0.000125)).toBe("1.25e-4");
  });

  it("shows local time in the reader's language", () => {
    expect(en.dateTime("2026-11-24T08:05:00Z")).toMatch(/Nov 24, 2026.*8:05.AM/);
    expect(ja.dateTime("2026-11-24T08:05:00Z")).toBe("2026/11/24 17:05");
  });

  it("counts back in the largest whole unit and never counts forward", () => {
    const now = Date.UTC(2026, 10, 24);
    expect(en.ago(now - 5_000, now)).toBe("5 sec. ago");
    expect(en.ago(now - 3_599_000, now)).toBe("59 min. ago");
    expect(en.ago(now - 90_000_000, now)).toBe("1 day ago");
    expect(ja.ago(now - 7_200_000, now)).toBe("2 時間前");
    expect(en.ago(now + 5_000, now)).toBe("1 sec. ago");
  });
});
