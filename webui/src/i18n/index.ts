/** The chosen language: messages and formats. Components that read them redraw when it changes. */

import { computed, signal } from "@preact/signals";
import { readPreference, writePreference } from "../preferences";
import { type Catalogue, en, type MessageKey } from "./en";
import { createFormatters } from "./format";
import { fill } from "./message";

export type { MessageKey } from "./en";

/** Every language by its own name. A new one is a file beside this one and a line here and in `loaders`. */
export const LANGUAGES = { en: "English", ja: "日本語" } as const;
export type Language = keyof typeof LANGUAGES;

const loaders: Record<Language, () => Promise<Catalogue>> = {
  en: async () => en,
  ja: async () => (await import("./ja")).ja,
};

const current = signal<{ language: Language; catalogue: Catalogue }>({ language: "en", catalogue: en });

export const language = computed(() => current.value.language);
const formatters = computed(() => createFormatters(current.value.language));
export const fmt = () => formatters.value;

/** The message in the chosen language, with `{name}` filled in. Numbers are formatted for the language. */
export function t(key: MessageKey, values: Record<string, string | number> = {}): string {
  const { language: locale, catalogue } = current.value;
  return fill(catalogue[key] ?? en[key], values, locale, formatters.value.integer);
}

/** Load and switch. Rejects when the language's file can't be loaded; the old language stays. */
export async function setLanguage(next: Language): Promise<void> {
  current.value = { language: next, catalogue: await loaders[next]() };
  document.documentElement.lang = next;
  writePreference("lang", next);
}

/** What the reader chose before, else what the browser prefers. */
export function preferredLanguage(): Language {
  const chosen = readPreference("lang");
  if (chosen && chosen in LANGUAGES) return chosen as Language;
  const wanted = navigator.languages.map((tag) => tag.split("-")[0]);
  return (wanted.find((tag) => tag !== undefined && tag in LANGUAGES) as Language | undefined) ?? "en";
}
