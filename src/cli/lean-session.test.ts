/** Lean beside the model, in the order of what happens. */
import { setTimeout as wait } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { withLeanBeside } from "./lean-session.ts";

describe("a Lean that starts beside the model", () => {
  const told: string[] = [];
  const lean = {
    [Symbol.asyncDispose]: async () => {
      told.push("lean closed");
    },
  };
  /** @param milliseconds that it takes */
  const opening =
    <T>(name: string, milliseconds: number, value: T) =>
    async () => {
      told.push(`${name} begins`);
      await wait(milliseconds);
      told.push(`${name} is open`);
      return value;
    };

  it.each([
    [1, 20, ["lean is open", "model is open"]],
    [20, 1, ["model is open", "lean is open"]],
  ])(
    "has begun before the model is opened, and waits for neither alone: %i and %i ms",
    async (a, b, order) => {
      told.length = 0;
      const result = await withLeanBeside(
        opening("lean", a, lean),
        opening("model", b, 7),
        async (_, model) => {
          told.push("first generation");
          return model;
        },
      );
      expect(result).toBe(7);
      expect(told).toEqual(["lean begins", "model begins", ...order, "first generation", "lean closed"]);
    },
  );

  it("is closed where the model cannot be opened, and its own fault is told", async () => {
    told.length = 0;
    const none = () => Promise.reject(new Error("no such model"));
    await expect(withLeanBeside(opening("lean", 10, lean), none, async () => {})).rejects.toThrow(
      "no such model",
    );
    expect(told).toEqual(["lean begins", "lean is open", "lean closed"]);
    await expect(
      withLeanBeside(
        () => Promise.reject(new Error("no Lean")),
        opening("model", 1, 7),
        async () => {},
      ),
    ).rejects.toThrow("no Lean");
  });
});
