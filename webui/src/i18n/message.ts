import type { Message } from "./en";

const PLACEHOLDER = /\{(\w+)\}/g;

/** The text of `message` with its placeholders filled; `values.n` picks the plural form. */
export function fill(
  message: Message,
  values: Record<string, string | number>,
  locale: string,
  number: (value: number) => string,
): string {
  return choose(message, values.n, locale).replace(PLACEHOLDER, (whole, name: string) => {
    const value = values[name];
    if (value === undefined) return whole;
    return typeof value === "number" ? number(value) : value;
  });
}

function choose(message: Message, n: string | number | undefined, locale: string): string {
  if (typeof message === "string") return message;
  const one = typeof n === "number" && new Intl.PluralRules(locale).select(n) === "one";
  return one && message.one !== undefined ? message.one : message.other;
}

/** The placeholder names of every form of a message, sorted; for the completeness test. */
export function placeholders(message: Message): string[][] {
  const forms =
    typeof message === "string"
      ? [message]
      : [message.one, message.other].filter((form) => form !== undefined);
  return forms.map((form) =>
    [...new Set([...form.matchAll(PLACEHOLDER)].map((match) => match[1] ?? ""))].sort(),
  );
}
