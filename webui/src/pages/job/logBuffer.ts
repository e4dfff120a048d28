/**
 * The log of one job as lines. Pure: text comes in by byte offset, lines go out in blocks.
 *
 * A carriage return starts a line over, as in a terminal: of `a\rb` only `b` is left. The end of the text may be in the
 * middle of a line; the next append goes on there.
 *
 * Blocks are what the page draws. Only the last one changes when text is appended, so a log of 100,000 lines costs no
 * more to follow than a short one.
 */

export const CAPACITY = 100_000;
export const BLOCK_LINES = 200;
const PROGRESS = /Steps:\s+\d+%\|/;
/** Colours and cursor moves of a terminal (ECMA-48 control sequences). */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the escape character is what is looked for
const ESCAPES = /\u001b\[[0-9;?]*[ -/]*[@-~]/g;

export interface LogLine {
  text: string;
  /** Bytes missing in front of this line; it is a mark then and has no text. */
  gap?: number;
  /** How many progress lines before this one were folded into it. */
  folded?: number;
}

export interface LogBlock {
  id: number;
  lines: LogLine[];
  /** Counts the changes of this block. */
  version: number;
}

export class LogBuffer {
  private lines: LogLine[] = [];
  private blocks: LogBlock[] = [];
  private blockIds = 0;
  private folding = true;
  /** The unfinished line: what a terminal shows of it, and what came after its last carriage return. */
  private shown = "";
  private tail = "";
  /** Byte position of the first and behind the last byte held; null while empty. */
  start: number | null = null;
  end = 0;
  /** True once old lines had to go to make room. */
  trimmed = false;

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
    this.trim();
  }

  /** Puts older text before what is held. Its last line is joined with the first one held when it was cut. */
  prepend(text: string, offset: number, nextOffset: number): void {
    if (this.start === null || offset >= this.start) return;
    const parts = text.split("\n");
    const cut = parts.pop() ?? "";
    const older: LogLine[] = parts.map((part) => ({ text: plain(terminal(part)) }));
    if (nextOffset < this.start) {
      if (cut) older.push({ text: plain(terminal(cut)) });
      older.push({ text: "", gap: this.start - nextOffset });
    } else {
      const first = this.lines[0];
      if (first && first.gap === undefined) this.lines[0] = { text: plain(terminal(cut + first.text)) };
      else if (!first) this.shown = terminal(cut + this.shown);
    }
    this.lines = [...older, ...this.lines];
    this.start = offset;
    this.rebuild();
  }

  /** Lines held, the unfinished one included. */
  get size(): number {
    return this.lines.length + (this.shown ? 1 : 0);
  }

  /** True when no earlier text can be added: the beginning is held, or the room is used up. */
  get full(): boolean {
    return this.start === 0 || this.trimmed || this.lines.length >= CAPACITY;
  }

  /** With folding (the default) a run of progress lines reads as its newest one. */
  set fold(on: boolean) {
    if (on === this.folding) return;
    this.folding = on;
    this.rebuild();
  }

  /** All whole lines in order. The blocks are the buffer's own: look, don't touch. */
  view(): readonly LogBlock[] {
    return this.blocks;
  }

  /** The line that is still being written, as a terminal shows it; "" between two lines. */
  get unfinished(): string {
    return plain(this.shown);
  }

  private write(text: string): void {
    if (!text) return;
    const raw = this.tail + text;
    this.tail = raw.slice(raw.lastIndexOf("\r") + 1);
    this.shown = this.tail || terminal(raw) || this.shown;
  }

  private breakLine(mark?: LogLine): void {
    if (this.shown || !mark) this.push({ text: plain(this.shown) });
    if (mark) this.push(mark);
    this.shown = "";
    this.tail = "";
  }

  private push(line: LogLine): void {
    this.lines.push(line);
    this.show(line);
  }

  private show(line: LogLine): void {
    let block = this.blocks.at(-1);
    const newest = block?.lines.at(-1);
    if (block && newest && this.folding && PROGRESS.test(newest.text) && PROGRESS.test(line.text)) {
      block.lines[block.lines.length - 1] = { ...line, folded: (newest.folded ?? 0) + 1 };
    } else {
      if (!block || block.lines.length >= BLOCK_LINES) {
        block = { id: this.blockIds++, lines: [], version: 0 };
        this.blocks.push(block);
      }
      block.lines.push(line);
    }
    block.version += 1;
  }

  private trim(): void {
    // By whole lots, so that trimming is rare and each one cheap per line.
    if (this.lines.length <= CAPACITY * 1.1) return;
    this.lines = this.lines.slice(-CAPACITY);
    this.trimmed = true;
    this.rebuild();
  }

  private rebuild(): void {
    this.blocks = [];
    for (const line of this.lines) this.show(line);
  }
}

/** What a terminal leaves of a line with carriage returns: its last part that is not empty. */
function terminal(line: string): string {
  if (!line.includes("\r")) return line;
  return line.split("\r").findLast((part) => part !== "") ?? "";
}

const plain = (line: string): string => (line.includes("\u001b") ? line.replace(ESCAPES, "") : line);
