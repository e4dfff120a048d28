import { request } from "./client";
import type { SavedConfig } from "./types";

/** A saved config in the version asked for. */
export const getConfig = (name: string, version: number | null, signal: AbortSignal) =>
  request<SavedConfig>("GET", `/api/configs/${encodeURIComponent(name)}`, { query: { version }, signal });
