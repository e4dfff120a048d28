import { request } from "./client";
import type { DatasetDetail, DatasetPage } from "./types";

const base = "/api/cloud/datasets";
const one = (datasetId: string) => `${base}/${encodeURIComponent(datasetId)}`;

export const listDatasets = (query: { limit: number; cursor?: string | null }, signal?: AbortSignal) =>
  request<DatasetPage>("GET", base, { query: { ...query }, ...(signal ? { signal } : {}) });

export const getDataset = (datasetId: string, signal: AbortSignal) =>
  request<DatasetDetail>("GET", one(datasetId), { signal });

/** All versions and bytes. 409 while an active job uses one. May take long: every object is deleted. */
export const deleteDataset = (datasetId: string) =>
  request<unknown>("DELETE", one(datasetId)).then(() => undefined);

export const deleteVersion = (datasetId: string, versionId: string) =>
  request<unknown>("DELETE", `${one(datasetId)}/versions/${encodeURIComponent(versionId)}`).then(
    () => undefined,
  );
