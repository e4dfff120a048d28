import { describe, expect, it } from "vitest";
import { settings } from "./settings";

describe("settings", () => {
  it("are sorted by name and shown as JSON shows them, texts without quotes", () => {
    expect(
      settings({
        seed: 7,
        learning_rate: 1e-4,
        model_family: "flux",
        ema: true,
        revision: null,
        betas: [0.9, 0.99],
        publishing: { provider: "s3" },
      }),
    ).toEqual([
      { name: "betas", value: "[0.9,0.99]" },
      { name: "ema", value: "true" },
      { name: "learning_rate", value: "0.0001" },
      { name: "model_family", value: "flux" },
      { name: "publishing", value: '{"provider":"s3"}' },
      { name: "revision", value: "null" },
      { name: "seed", value: "7" },
    ]);
  });

  it("keep the quotes of texts that look like something else", () => {
    const config = { a: "10", b: "true", c: "", d: " x ", e: "[1]", f: "10 cats" };
    expect(settings(config).map(({ value }) => value)).toEqual([
      '"10"',
      '"true"',
      '""',
      '" x "',
      '"[1]"',
      "10 cats",
    ]);
  });
});
