/**
 * The log of one job as lines. Pure: text comes in by byte offset, lines go out.
 *
 * A carriage return starts a line over, as in a terminal: of `a\rb` only `b` is left. The end of the text may be in the
 * middle of a line; the next append goes on there.
 */

const CAPACITY = 100_000;
const PROGRESS = /Steps:\s+\d+%\|/;

export interface LogLine {
  text: string;
  /** Bytes missing in front of this line; it is a mark then and has no text. */
  gap?: number;
  /** How many progress lines before this one were folded into it. */
  folded?: number;
}

export class LogBuffer {
  private readonly lines: LogLine[] = [];
  /** The unfinished line: what a terminal shows of it, and what came after its last carriage return. */
  private shown = "";
  private tail = "";
  /** Byte position of the first and behind the last byte held; null while empty. */
  start: number | null = null;
  end = 0;

  /** Adds text that begins at byte `offset`. Text that is already held is dropped; a hole is marked. */
  append(text: string, offset: number, nextOffset: number): void {
    if (this.start === null) this.start = offset;
    else if (offset < this.end) return;
    else if (offset > this.end) this.breakLine({ text: "", gap: offset - this.end });
    this.end = nextOffset;
    const parts = text.split("\n");
    parts.forEach((part, index) => {
      this.write(part);
      if (index < parts.length - 1) this.breakLine();
    });
    if (this.lines.length > CAPACITY) this.lines.splice(0, this.lines.length - CAPACITY);
  }

  /** Puts older text before what is held. Its last line is joined with the first one held when it was cut. */
  prepend(text: string, offset: number, nextOffset: number): void {
    if (this.start === null || offset >= this.start) return;
    const parts = text.split("\n");
    const cut = parts.pop() ?? "";
    const older = parts.map((part) => ({ text: terminal(part) }));
    if (nextOffset < this.start) {
      if (cut) older.push({ text: terminal(cut) });
      this.lines.unshift(...older, { text: "", gap: this.start - nextOffset });
    } else {
      const first = this.lines[0];
      if (first && first.gap === undefined) first.text = terminal(cut + first.text);
      else if (!first) this.shown = terminal(cut + this.shown);
      this.lines.unshift(...older);
    }
    this.start = offset;
  }

  get size(): number {
    return this.lines.length + (this.shown ? 1 : 0);
  }

  /** The last `count` lines to show. With `fold`, a run of progress lines counts and reads as its newest one. */
  last(count: number, fold: boolean): LogLine[] {
    const all = this.shown ? [...this.lines, { text: this.shown }] : this.lines;
    const out: LogLine[] = [];
    for (let index = all.length - 1; index >= 0; index -= 1) {
      const line = all[index] as LogLine;
      const newer = out.at(-1);
      if (fold && newer && PROGRESS.test(line.text) && PROGRESS.test(newer.text)) {
        newer.folded = (newer.folded ?? 0) + 1;
      } else if (out.length === count) {
        break;
      } else {
        out.push({ ...line });
      }
    }
    return out.reverse();
  }

  private write(text: string): void {
    if (!text) return;
    const raw = this.tail + text;
    this.tail = raw.slice(raw.lastIndexOf("\r") + 1);
    this.shown = this.tail || terminal(raw) || this.shown;
  }

  private breakLine(mark?: LogLine): void {
    if (this.shown || !mark) this.lines.push({ text: this.shown });
    if (mark) this.lines.push(mark);
    this.shown = "";
    this.tail = "";
  }
}

/** What a terminal leaves of a line with carriage returns: its last part that is not empty. */
function terminal(line: string): string {
  if (!line.includes("\r")) return line;
  return line.split("\r").findLast((part) => part !== "") ?? "";
}
