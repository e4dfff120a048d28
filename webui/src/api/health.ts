import { request } from "./client";
import type { Health } from "./types";

export const getHealth = (signal: AbortSignal) => request<Health>("GET", "/api/cloud/health", { signal });
