import { describe, expect, it } from "vitest";
import { LossSeries, reduce } from "./lossSeries";

const line = (step: number, loss: string) =>
  `Epoch 1/1 Steps:  25%|##5       | ${step}/1000 [00:12<00:36, 20.1it/s, lr=0.0001, step_loss=${loss}]`;

describe("LossSeries", () => {
  it("reads tqdm lines parted by returns or new lines, and nothing else", () => {
    const series = new LossSeries();
    series.read(`[STAGE] VAE caching (50.0%)\n${line(1, "0.5")}\r${line(2, "4.5e-1")}\nloss=9\n`);
    expect(series.points()).toEqual([
      { step: 1, loss: 0.5 },
      { step: 2, loss: 0.45 },
    ]);
  });

  it("reads a line that was cut between two answers once it is whole", () => {
    const series = new LossSeries();
    const text = line(7, "0.123");
    series.read(text.slice(0, 30));
    series.read(text.slice(30, -3));
    series.read(text.slice(-3));
    expect(series.points()).toEqual([{ step: 7, loss: 0.123 }]);
  });

  it("keeps NaN and infinity: they are findings", () => {
    const series = new LossSeries();
    series.read(`${line(1, "nan")}\n${line(2, "inf")}\n`);
    expect(series.points().map((point) => point.loss)).toEqual([Number.NaN, Number.POSITIVE_INFINITY]);
  });

  it("takes the newer value of a step and sorts what comes late", () => {
    const series = new LossSeries();
    series.read(`${line(5, "1")}\n${line(5, "2")}\n${line(6, "0.25").slice(0, -3)}`);
    series.readEarlier(`${line(1, "3")}\n`);
    series.read("25]\n");
    expect(series.points()).toEqual([
      { step: 1, loss: 3 },
      { step: 5, loss: 2 },
      { step: 6, loss: 0.25 },
    ]);
  });
});

describe("LossSeries that goes back", () => {
  it("overwrites the steps a resumed training repeats", () => {
    const series = new LossSeries();
    for (const [step, loss] of [
      [1, "1"],
      [2, "2"],
      [3, "3"],
      [2, "0.2"],
    ] as const)
      series.read(`${line(step, loss)}\n`);
    expect(series.points()).toEqual([
      { step: 1, loss: 1 },
      { step: 2, loss: 0.2 },
      { step: 3, loss: 3 },
    ]);
  });
});

describe("reduce", () => {
  it("keeps every spike and the order of steps", () => {
    const points = Array.from({ length: 10_000 }, (_, step) => ({
      step,
      loss: step === 4321 ? 99 : Math.sin(step),
    }));
    const few = reduce(points, 100);
    expect(few.length).toBeLessThanOrEqual(200);
    expect(few).toContainEqual({ step: 4321, loss: 99 });
    expect(few.map((point) => point.step)).toEqual(few.map((point) => point.step).sort((a, b) => a - b));
  });

  it("leaves short series alone", () => {
    const points = [{ step: 1, loss: 1 }];
    expect(reduce(points, 100)).toBe(points);
  });
});
