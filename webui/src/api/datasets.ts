import { request } from "./client";
import type { DatasetDetail, DatasetPage } from "./types";

const base = "/api/cloud/datasets";

export const listDatasets = (limit: number, signal: AbortSignal) =>
  request<DatasetPage>("GET", base, { query: { limit }, signal });

export const getDataset = (datasetId: string, signal: AbortSignal) =>
  request<DatasetDetail>("GET", `${base}/${encodeURIComponent(datasetId)}`, { signal });
