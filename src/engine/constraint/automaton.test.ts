/** Prefix trees of texts against the texts themselves, and that long ones leave pauses. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { finish } from "../../tokenizer/slices.ts";
import { acceptsDfa, literalsDfa, stepDfa } from "./automaton.ts";

const utf8 = new TextEncoder();

it("accepts the listed texts and nothing else, in a state for each of their beginnings (property)", () => {
  expect(finish(literalsDfa([]))).toBeNull();
  const text = fc.string({ unit: fc.constantFrom("a", "b", "é", "\0"), maxLength: 6 });
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 12 }), fc.array(text), (texts, others) => {
      const dfa = finish(literalsDfa(texts.map((one) => utf8.encode(one))))!;
      for (const one of [...texts, ...others]) {
        expect(acceptsDfa(dfa, utf8.encode(one)), JSON.stringify(one)).toBe(texts.includes(one));
      }
      const begun = texts.flatMap((one) => {
        const bytes = [...utf8.encode(one)];
        return [...bytes.keys(), bytes.length].map((length) => bytes.slice(0, length).join());
      });
      expect(dfa.size).toBe(new Set(begun).size);
      expect(dfa.offsets).toHaveLength(dfa.size + 1);
    }),
  );
});

it("pauses while long texts are put together", () => {
  const length = 200_000;
  const work = literalsDfa(["x", "y"].map((char) => utf8.encode(char.repeat(length))));
  let pauses = 0;
  let step = work.next();
  for (; !step.done; step = work.next()) pauses++;
  expect(pauses).toBeGreaterThan(50);
  expect(step.value!.size).toBe(2 * length + 1);
  expect(stepDfa(step.value!, 0, 0x79)).toBe(2);
});
