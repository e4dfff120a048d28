import { describe, expect, it } from "vitest";
import { en, type Message, type MessageKey } from "./en";
import { ja } from "./ja";
import { fill, placeholders } from "./message";

const keys = Object.keys(en) as MessageKey[];
const forms = (message: Message) =>
  typeof message === "string" ? [message] : [message.one, message.other].filter((form) => form !== undefined);

describe("catalogues", () => {
  it("have the same keys in the same order", () => {
    expect(Object.keys(ja)).toEqual(keys);
  });

  it.each(keys)("%s has text and the same placeholders in every form", (key) => {
    const [wanted, ...others] = [...placeholders(en[key]), ...placeholders(ja[key])];
    for (const other of others) expect(other).toEqual(wanted);
    for (const form of [...forms(en[key]), ...forms(ja[key])])
      expect(form.trim()).toBe(form === "" ? "?" : form);
  });

  it("Japanese uses no half-width katakana and no full-width figures", () => {
    for (const key of keys) for (const form of forms(ja[key])) expect(form).not.toMatch(/[ｦ-ﾟ０-９]/);
  });

  it("every key is used somewhere", () => {
    const sources = Object.values(
      import.meta.glob<string>(["/src/**/*.{ts,tsx}", "!/src/i18n/*"], {
        query: "?raw",
        import: "default",
        eager: true,
      }),
    ).join("\n");
    // Keys that are put together: `status.${status}` and the like.
    const composed = [
      "error.network",
      "error.timeout",
      "error.format",
      "status.",
      "phase.",
      "outputs.kind.",
      "failure.kind.",
      "datasets.state.",
      "theme.",
      "event.",
      "tag.",
      "role.",
    ];
    const unused = keys.filter(
      (key) => !sources.includes(`"${key}"`) && !composed.some((prefix) => key.startsWith(prefix)),
    );
    expect(unused).toEqual([]);
  });
});

describe("fill", () => {
  const number = (value: number) => `<${value}>`;

  it("picks the plural form by n and formats numbers", () => {
    const message = { one: "{n} job", other: "{n} jobs" };
    expect(fill(message, { n: 1 }, "en", number)).toBe("<1> job");
    expect(fill(message, { n: 2 }, "en", number)).toBe("<2> jobs");
    expect(fill({ other: "{n} 件" }, { n: 1 }, "ja", number)).toBe("<1> 件");
  });

  it("leaves a placeholder without a value visible", () => {
    expect(fill("{a} {b}", { a: "x" }, "en", number)).toBe("x {b}");
  });
});
