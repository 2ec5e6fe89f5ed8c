import { expect, it } from "vitest";
import { memoryFolder } from "./byte-source.ts";
import { companions } from "./companions.ts";

it("goes with a model: tokenizer, templates and how it is asked, neither weights nor states", async () => {
  const names = ["tokenizer.json", "chat_template.jinja", "prover.json", "generation_config.json"];
  const others = ["config.json", "model.safetensors", "training.json", "README.md", ".deepseek-ts.json"];
  const files = new Map([...names, ...others].map((name) => [name, new TextEncoder().encode(name)]));
  expect(await companions(memoryFolder(files))).toEqual(
    Object.fromEntries(names.map((name) => [name, name])),
  );
});
