import { describe, expect, it } from "vitest";
import {
  curl,
  type Description,
  example,
  limitWords,
  matches,
  objectsIn,
  type Route,
  routesByTag,
  typeWords,
} from "./description";

const description: Description = {
  info: { title: "T", version: "1" },
  paths: {
    "/api/things/{thing_id}": {
      get: { operationId: "get_thing", summary: "Get a thing", tags: ["things"], responses: {} },
      put: {
        operationId: "put_thing",
        tags: ["things"],
        "x-permission": "thing.edit",
        requestBody: { content: { "application/json": { schema: { $ref: "#/components/schemas/Thing" } } } },
        responses: {},
      },
    },
    "/api/health": { get: { operationId: "health", tags: ["system"], responses: {} } },
  },
  components: {
    schemas: {
      Thing: {
        type: "object",
        required: ["name", "kind", "parts"],
        properties: {
          name: { type: "string", maxLength: 9 },
          kind: { $ref: "#/components/schemas/Kind" },
          parts: { type: "array", items: { $ref: "#/components/schemas/Part" } },
          made: { anyOf: [{ type: "string", format: "date-time" }, { type: "null" }] },
        },
      },
      Kind: { type: "string", enum: ["a", "b"] },
      Part: { type: "object", required: ["n"], properties: { n: { type: "integer", minimum: 1 } } },
      Loop: {
        type: "object",
        required: ["next"],
        properties: { next: { $ref: "#/components/schemas/Loop" } },
      },
    },
  },
};
const thing = { $ref: "#/components/schemas/Thing" };
const routes = routesByTag(description);
const put = routes.get("things")?.[1] as Route;

describe("the description of the API", () => {
  it("sorts routes under their tags", () => {
    expect([...routes.keys()]).toEqual(["things", "system"]);
    expect(routes.get("things")?.map((route) => route.method)).toEqual(["GET", "PUT"]);
    const paths = {
      "/a": { get: { operationId: "a", tags: ["things"], responses: {} } },
      "/b": { get: { operationId: "b", tags: ["jobs"], responses: {} } },
    };
    expect([...routesByTag({ ...description, paths }).keys()]).toEqual(["jobs", "things"]);
  });

  it("finds routes by all words given", () => {
    const [get] = routes.get("things") as [Route];
    expect(matches(get, "get thing")).toBe(true);
    expect(matches(get, "")).toBe(true);
    expect(matches(get, "put thing")).toBe(false);
  });

  it("says types in words", () => {
    const fields = description.components?.schemas?.Thing?.properties ?? {};
    expect(Object.values(fields).map((field) => typeWords(description, field))).toEqual([
      "string",
      '"a" | "b"',
      "array of Part",
      "string (date-time) or null",
    ]);
    expect(typeWords(description, { $ref: "#/components/schemas/Nowhere" })).toBe("Nowhere");
  });

  it("says limits and defaults, also of an optional value", () => {
    expect(limitWords({ type: "integer", minimum: 1, maximum: 500, default: 50 })).toBe(
      "≥ 1, ≤ 500, default 50",
    );
    expect(limitWords({ anyOf: [{ type: "string", maxLength: 9 }, { type: "null" }], default: null })).toBe(
      "length ≤ 9",
    );
  });

  it("leads to the objects inside", () => {
    expect(objectsIn(description, { type: "array", items: thing }).map(({ name }) => name)).toEqual([
      "Thing",
    ]);
    expect(objectsIn(description, { type: "string" })).toEqual([]);
  });

  it("makes a body of the required fields and ends with endless types", () => {
    expect(example(description, thing)).toEqual({ name: "…", kind: "a", parts: [{ n: 1 }] });
    expect(JSON.stringify(example(description, { $ref: "#/components/schemas/Loop" }))).toContain("null");
  });

  it("writes a command line that a shell takes as it is", () => {
    expect(curl(description, put, "http://localhost:8001")).toBe(
      [
        "curl -X PUT 'http://localhost:8001/api/things/THING_ID'",
        '-H "Authorization: Bearer $STCLOUD_TOKEN"',
        "-H 'Content-Type: application/json'",
        `-d '{"name":"…","kind":"a","parts":[{"n":1}]}'`,
      ].join(" \\\n  "),
    );
  });
});
