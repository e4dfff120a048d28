/** A config as a list to read. */

export interface Setting {
  name: string;
  /** As written in JSON, texts without their quotes unless they would be taken for something else. */
  value: string;
}

/** In the order of names; the trainer doesn't mind the order, and readers look a setting up by its name. */
export function settings(config: Record<string, unknown>): Setting[] {
  return Object.entries(config)
    .map(([name, value]) => ({ name, value: shown(value) }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function shown(value: unknown): string {
  if (typeof value !== "string") return JSON.stringify(value);
  return needsQuotes(value) ? JSON.stringify(value) : value;
}

/** An empty text, one with spaces around it, and the text "10" or "true", which is neither the number nor the truth. */
function needsQuotes(text: string): boolean {
  if (text === "" || text !== text.trim()) return true;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
