/** Appearance choices of this browser. Only language and theme are ever stored; never data, never a secret. */

import { signal } from "@preact/signals";

export const THEMES = ["system", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

type Preference = "lang" | "theme";

/** Null when nothing was chosen or storage is switched off. */
export function readPreference(name: Preference): string | null {
  try {
    return localStorage.getItem(`stc.${name}`);
  } catch {
    return null;
  }
}

export function writePreference(name: Preference, value: string): void {
  try {
    localStorage.setItem(`stc.${name}`, value);
  } catch {
    // Storage is switched off: the choice holds until the page is left.
  }
}

const stored = readPreference("theme");
export const theme = signal<Theme>(THEMES.find((name) => name === stored) ?? "system");

export function setTheme(next: Theme): void {
  theme.value = next;
  writePreference("theme", next);
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
}
