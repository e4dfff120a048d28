import { describe, expect, it } from "vitest";
import { LogBuffer } from "./logBuffer";

const texts = (buffer: LogBuffer, fold = false, count = 100) =>
  buffer.last(count, fold).map((line) => line.text);

/** Appends pieces one after the other, as polling does. */
function read(...pieces: string[]): LogBuffer {
  const buffer = new LogBuffer();
  for (const piece of pieces) buffer.append(piece, buffer.end, buffer.end + piece.length);
  return buffer;
}

describe("LogBuffer", () => {
  it("joins a line that was cut between two answers", () => {
    expect(texts(read("one\ntw", "o\nthree\n"))).toEqual(["one", "two", "three"]);
  });

  it("keeps empty lines but no empty last one", () => {
    expect(texts(read("a\n\nb\n"))).toEqual(["a", "", "b"]);
    expect(read("a\n\nb\n").size).toBe(3);
  });

  it("treats carriage returns as a terminal does, wherever the text was cut", () => {
    expect(texts(read("10%\r20%\r30%\nend"))).toEqual(["30%", "end"]);
    expect(texts(read("10%\r", "20%\r3", "0%"))).toEqual(["30%"]);
    expect(texts(read("10%\r"))).toEqual(["10%"]);
    expect(texts(read("a\r", "\n", "b"))).toEqual(["a", "b"]);
  });

  it("ignores an answer that is already held and marks a hole", () => {
    const buffer = read("abc\n");
    buffer.append("abc\n", 0, 4);
    expect(texts(buffer)).toEqual(["abc"]);
    buffer.append("later\n", 10, 16);
    expect(buffer.last(9, false)).toEqual([{ text: "abc" }, { text: "", gap: 6 }, { text: "later" }]);
    expect(buffer.end).toBe(16);
  });

  it("counts offsets as the server says, not in characters", () => {
    const buffer = new LogBuffer();
    buffer.append("猫\n", 100, 104);
    buffer.append("x", 104, 105);
    expect(texts(buffer)).toEqual(["猫", "x"]);
    expect([buffer.start, buffer.end]).toEqual([100, 105]);
  });

  it("puts older text in front and mends the cut line", () => {
    const buffer = new LogBuffer();
    buffer.append("ne two\nline three", 11, 28);
    buffer.prepend("line one\nli", 0, 11);
    expect(texts(buffer)).toEqual(["line one", "line two", "line three"]);
    expect(buffer.start).toBe(0);
  });

  it("says when older text does not reach what is held", () => {
    const buffer = new LogBuffer();
    buffer.append("new\n", 50, 54);
    buffer.prepend("old\n", 0, 4);
    expect(buffer.last(9, false)).toEqual([{ text: "old" }, { text: "", gap: 46 }, { text: "new" }]);
  });

  it("folds a run of progress lines into its newest one", () => {
    const step = (n: number) => `Epoch 1/1 Steps:  ${n}%|##  | ${n}/100 [00:01<00:02]\n`;
    const buffer = read("start\n", step(1), step(2), step(3), "[CHECKPOINT]\n", step(4));
    expect(buffer.last(100, true).map(({ text, folded }) => [text.slice(0, 20), folded])).toEqual([
      ["start", undefined],
      ["Epoch 1/1 Steps:  3%", 2],
      ["[CHECKPOINT]", undefined],
      ["Epoch 1/1 Steps:  4%", undefined],
    ]);
    expect(buffer.last(2, true)).toHaveLength(2);
    expect(buffer.last(100, false)).toHaveLength(6);
  });

  it("holds at most 100,000 lines", () => {
    const buffer = read("x\n".repeat(100_005));
    expect(buffer.size).toBe(100_000);
  });
});
