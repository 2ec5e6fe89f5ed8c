/** Documents have the length that was asked, and every question's answer stands in them once. */
import { expect, it } from "vitest";
import { Random } from "../../src/tensor/random.ts";
import { document, lessons, PASSKEYS, questions } from "./passkeys.ts";

it("a document asks for each of its numbers, and the answers are what is learned", async () => {
  for (let seed = 0; seed < 50; seed++) {
    const { text, learned } = document(new Random(seed), 128);
    expect(text).toHaveLength(128);
    expect(learned).toHaveLength(128);
    const asked = [...text.matchAll(/#(\w\w)\?(\d\d)\./g)];
    expect(asked.length).toBeGreaterThan(0);
    for (const [, name, value] of asked) expect(text).toContain(`#${name}=${value}.`);
    const answers = Array.from(text)
      .filter((_, i) => learned[i] === 1)
      .join("");
    expect(answers).toBe(asked.map(([, , value]) => value).join(""));
  }
  const list = lessons(10, 64, 3);
  const { ids } = await list.read(7);
  expect(PASSKEYS.encode(PASSKEYS.decode([...Array.from(ids)]))).toEqual([...Array.from(ids)]);
  expect((await lessons(10, 64, 4).read(7)).ids).not.toEqual(ids);
});

it("questions stand at all depths of documents of one length", () => {
  const asked = questions(11, 256);
  const depths = asked.map(({ prompt, answer }) => {
    expect(prompt.length + answer.length).toBe(256);
    const name = prompt.slice(-3, -1);
    const stated = `#${name}=${answer}.`;
    expect(prompt.split(`#${name}=`)).toHaveLength(2);
    expect(prompt).toContain(stated);
    return prompt.indexOf(stated);
  });
  expect(depths[0]).toBeLessThan(8);
  expect(depths.at(-1)).toBeGreaterThan(220);
  expect([...depths].sort((a, b) => a - b)).toEqual(depths);
});
