/** Readings of an OpenAPI 3.1 document: what the API page shows of it. Pure. */

export interface Schema {
  $ref?: string;
  type?: string | string[];
  format?: string;
  title?: string;
  description?: string;
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  anyOf?: Schema[];
  items?: Schema;
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
  pattern?: string;
  [limit: string]: unknown;
}

export interface Parameter {
  name: string;
  in: "path" | "query" | "header";
  required?: boolean;
  schema: Schema;
}

interface Content {
  description?: string;
  content?: Record<string, { schema?: Schema }>;
}

export interface Operation {
  operationId: string;
  summary?: string;
  description?: string;
  tags?: string[];
  parameters?: Parameter[];
  requestBody?: Content;
  responses: Record<string, Content>;
  security?: Record<string, unknown>[];
  "x-permission"?: string;
}

export interface Description {
  info: { title: string; version: string; description?: string };
  paths: Record<string, Record<string, Operation>>;
  components?: { schemas?: Record<string, Schema> };
}

export interface Route {
  method: string;
  path: string;
  operation: Operation;
}

/** What people look for first. Tags not named here follow in the document's order. */
const FIRST_TAGS = ["jobs", "datasets", "configs"];

/** All routes by tag, routes in the document's order. */
export function routesByTag(description: Description): Map<string, Route[]> {
  const found = new Map<string, Route[]>(FIRST_TAGS.map((tag) => [tag, []]));
  for (const [path, methods] of Object.entries(description.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] ?? "";
      found.set(tag, [...(found.get(tag) ?? []), { method: method.toUpperCase(), path, operation }]);
    }
  }
  return new Map([...found].filter(([, routes]) => routes.length > 0));
}

/** True when every word of `wanted` occurs in the route's method, path, summary or id. */
export function matches(route: Route, wanted: string): boolean {
  const { operation } = route;
  const text =
    `${route.method} ${route.path} ${operation.summary ?? ""} ${operation.operationId}`.toLowerCase();
  return wanted
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

/** The schema a reference stands for, with its name; other schemas as they are. Unknown references are empty. */
export function resolve(description: Description, schema: Schema): { name: string | null; schema: Schema } {
  if (!schema.$ref) return { name: null, schema };
  const name = schema.$ref.split("/").at(-1) ?? "";
  return { name, schema: description.components?.schemas?.[name] ?? {} };
}

/** The one schema of a body or an answer, with its media type; null when it has none. */
export function contentOf(content: Content | undefined): { media: string; schema: Schema } | null {
  const [entry] = Object.entries(content?.content ?? {});
  return entry?.[1].schema ? { media: entry[0], schema: entry[1].schema } : null;
}

/** A type in words: `string (date-time) or null`, `array of DatasetUse`, `"a" | "b"`. */
export function typeWords(description: Description, schema: Schema): string {
  if (schema.$ref) {
    const { name, schema: target } = resolve(description, schema);
    return target.enum ? typeWords(description, target) : (name ?? "any");
  }
  if (schema.anyOf) return schema.anyOf.map((part) => typeWords(description, part)).join(" or ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.type === "array") return `array of ${typeWords(description, schema.items ?? {})}`;
  const type = Array.isArray(schema.type) ? schema.type.join(" or ") : (schema.type ?? "any");
  return schema.format ? `${type} (${schema.format})` : type;
}

const LIMITS: Record<string, string> = {
  minimum: "≥",
  maximum: "≤",
  minLength: "length ≥",
  maxLength: "length ≤",
  minItems: "items ≥",
  maxItems: "items ≤",
};

/** Limits and default of a value: `≥ 1, ≤ 500, default 50`. "" when there are none. */
export function limitWords(schema: Schema): string {
  const all = [schema, ...(schema.anyOf ?? [])];
  const words = Object.entries(LIMITS).flatMap(([key, sign]) =>
    all.filter((part) => part[key] !== undefined).map((part) => `${sign} ${part[key]}`),
  );
  if (schema.default !== undefined && schema.default !== null)
    words.push(`default ${JSON.stringify(schema.default)}`);
  return words.join(", ");
}

/** The objects a schema leads to: itself, or what is inside an array or a choice. For opening one level further. */
export function objectsIn(description: Description, schema: Schema): { name: string; schema: Schema }[] {
  const { name, schema: target } = resolve(description, schema);
  if (target.properties) return [{ name: name ?? target.title ?? "", schema: target }];
  return [...(target.items ? [target.items] : []), ...(target.anyOf ?? [])].flatMap((part) =>
    objectsIn(description, part),
  );
}

/** A smallest body: the required fields with a value of their type. */
export function example(description: Description, schema: Schema, depth = 0): unknown {
  const { schema: target } = resolve(description, schema);
  if (target.const !== undefined) return target.const;
  if (target.enum) return target.enum[0];
  if (target.anyOf) return example(description, target.anyOf[0] ?? {}, depth);
  if (target.type === "array") return depth > 3 ? [] : [example(description, target.items ?? {}, depth + 1)];
  if (target.type === "integer" || target.type === "number") return target.minimum ?? 0;
  if (target.type === "boolean") return false;
  if (target.type === "string") return "…";
  const fields = (target.required ?? []).map((name) => [
    name,
    depth > 3 ? null : example(description, target.properties?.[name] ?? {}, depth + 1),
  ]);
  return Object.fromEntries(fields);
}

/** The call as a command line, with capitals where something has to be filled in. */
export function curl(description: Description, route: Route, origin: string): string {
  const url = origin + route.path.replaceAll(/\{(\w+)\+?\}/g, (_, name: string) => name.toUpperCase());
  const parts = [`curl ${route.method === "GET" ? "" : `-X ${route.method} `}'${url}'`];
  if (route.operation["x-permission"]) parts.push('-H "Authorization: Bearer $STCLOUD_TOKEN"');
  const body = contentOf(route.operation.requestBody);
  if (body) {
    const json = JSON.stringify(example(description, body.schema)).replaceAll("'", "'\\''");
    parts.push(`-H 'Content-Type: ${body.media}'`, `-d '${json}'`);
  }
  return parts.join(" \\\n  ");
}
