/**
 * Shapes of the HTTP API as this UI reads them: names for the generated ones (`npm run gen:api`).
 * Times are ISO 8601 UTC, money is US dollars, sizes are bytes, durations seconds.
 */

import type { components } from "./openapi";

type Schemas = components["schemas"];

export type Job = Schemas["JobView"];
export type JobStatus = Schemas["JobStatus"];
export type JobPhase = Schemas["Phase"];
export type JobPage = Schemas["JobListResponse"];
export type InlineProgress = Schemas["InlineProgressResponse"];
export type LogPage = Schemas["LogsResponse"];
export type JobEvent = Schemas["EventView"];
export type EventPage = Schemas["EventsResponse"];
export type OutputFile = Schemas["OutputFileView"];
export type Outputs = Schemas["OutputsResponse"];
export type CancelResult = Schemas["CancelResponse"];
export type Dataset = Schemas["DatasetView"];
export type DatasetDetail = Schemas["DatasetDetail"];
export type DatasetPage = Schemas["DatasetListResponse"];
export type DatasetVersion = Schemas["VersionView"];
export type JobConfig = Schemas["JobConfigResponse"];
export type Health = Schemas["HealthResponse"];
export type HealthComponent = Schemas["ComponentHealth"];

/** Who asks. A session's first answer lacks what only `/api/auth/me` says. */
export type Caller = Schemas["UserView"] & Partial<Pick<Schemas["CallerView"], "kind" | "key_id">>;
export type Role = NonNullable<Caller["role"]>;
export type SignInResult = Schemas["LoginResponse"];
export type SetupStatus = Schemas["SetupStatusResponse"];
