import { describe, expect, it } from "vitest";
import { pieces } from "./LogsPanel";
import { firstOffset } from "./useLog";

const MIB = 1024 * 1024;

describe("what the log panel draws", () => {
  it("joins plain lines into one text and keeps marks apart", () => {
    expect(
      pieces([{ text: "a" }, { text: "b" }, { text: "", gap: 9 }, { text: "c", folded: 2 }, { text: "" }]),
    ).toEqual(["a\nb\n", { text: "", gap: 9 }, { text: "c", folded: 2 }, "c\n\n"]);
  });
});

describe("where the first read of a log begins", () => {
  it("is the beginning, so that the loss curve is whole, or the last MiB of a very long one", () => {
    expect([firstOffset(0), firstOffset(8 * MIB)]).toEqual([0, 0]);
    expect(firstOffset(8 * MIB + 1)).toBe(7 * MIB + 1);
  });
});
