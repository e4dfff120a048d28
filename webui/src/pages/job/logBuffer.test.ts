import { describe, expect, it } from "vitest";
import { BLOCK_LINES, CAPACITY, LogBuffer, type LogLine } from "./logBuffer";

/** Everything the page would draw, the unfinished line included. */
function drawn(buffer: LogBuffer, fold = false): LogLine[] {
  buffer.fold = fold;
  const lines = buffer.view().flatMap((block) => block.lines);
  return buffer.unfinished ? [...lines, { text: buffer.unfinished }] : lines;
}
const texts = (buffer: LogBuffer) => drawn(buffer).map((line) => line.text);

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
    expect(drawn(buffer)).toEqual([{ text: "abc" }, { text: "", gap: 6 }, { text: "later" }]);
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
    expect(drawn(buffer)).toEqual([{ text: "old" }, { text: "", gap: 46 }, { text: "new" }]);
  });

  it("folds a run of progress lines into its newest one", () => {
    const step = (n: number) => `Epoch 1/1 Steps:  ${n}%|##  | ${n}/100 [00:01<00:02]\n`;
    const buffer = read("start\n", step(1), step(2), step(3), "[CHECKPOINT]\n", step(4));
    expect(drawn(buffer, true).map(({ text, folded }) => [text.slice(0, 20), folded])).toEqual([
      ["start", undefined],
      ["Epoch 1/1 Steps:  3%", 2],
      ["[CHECKPOINT]", undefined],
      ["Epoch 1/1 Steps:  4%", undefined],
    ]);
    expect(drawn(buffer, false)).toHaveLength(6);
    expect(drawn(buffer, true)).toHaveLength(4);
  });

  it("folds the same whether lines come one by one, at once or from before", () => {
    const step = (n: number) => `Steps:  ${n}%|# | ${n}/100\n`;
    const all = ["start\n", ...[1, 2, 3].map(step), "end\n"];
    const whole = read(all.join(""));
    const late = new LogBuffer();
    const cut = all.slice(0, 3).join("").length;
    late.append(all.slice(3).join(""), cut, all.join("").length);
    late.prepend(all.slice(0, 3).join(""), 0, cut);
    expect(drawn(late, true)).toEqual(drawn(whole, true));
    expect(drawn(read(...all), true)).toEqual(drawn(whole, true));
  });

  it("changes only the last block when text is appended", () => {
    const buffer = read("x\n".repeat(BLOCK_LINES * 3));
    const before = buffer.view().map(({ id, version }) => ({ id, version }));
    buffer.append("y\nz", buffer.end, buffer.end + 3);
    const after = buffer.view().map(({ id, version }) => ({ id, version }));
    expect(after.slice(0, 3)).toEqual(before);
    expect(after).toHaveLength(4);
    expect(buffer.unfinished).toBe("z");
  });

  it("shows no colours and cursor moves of a terminal", () => {
    expect(texts(read("\u001b[32mok\u001b[0m\n", "\u001b[1;31mred"))).toEqual(["ok", "red"]);
  });

  it("lets the oldest lines go beyond its capacity and says so", () => {
    const buffer = read(...Array.from({ length: 12 }, (_, lot) => `${lot}\n`.repeat(CAPACITY / 10)));
    expect(buffer.size).toBeLessThanOrEqual(CAPACITY * 1.1);
    expect(buffer.size).toBeGreaterThanOrEqual(CAPACITY);
    expect([buffer.trimmed, buffer.full]).toEqual([true, true]);
    expect(texts(buffer).at(-1)).toBe("11");
    expect(texts(buffer)).not.toContain("0");
  });
});
