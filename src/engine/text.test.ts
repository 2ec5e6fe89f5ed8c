import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { CausalLM } from "../models/causal-lm.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { ConfigError } from "../tensor/errors.ts";
import type { Device } from "../tensor/tensor.ts";
import { TOKEN } from "../tokenizer/families.ts";
import { fimPrompt } from "../tokenizer/fim.ts";
import { StopStrings } from "../tokenizer/stop-strings.ts";
import { loadTokenizer, type Tokenizer } from "../tokenizer/tokenizer.ts";
import { trainBpe, trainedTokenizerConfig } from "../tokenizer/train-bpe.ts";
import { Engine } from "./engine.ts";
import { generate } from "./generate.ts";
import { makePredictable, smallV3 } from "./testing.ts";
import { completeText, fillText, type TextOptions, type TextStats } from "./text.ts";

describe("stop strings", () => {
  const feed = (stops: string[], pieces: string[]) => {
    const matcher = new StopStrings(stops);
    let text = "";
    for (const piece of pieces) text += matcher.push(piece);
    return { text: text + matcher.end(), found: matcher.found };
  };

  it("cuts before the stop string that ends first, however the text is cut into pieces", () => {
    const letters = (max: number) => fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: max });
    const stops = fc.array(
      letters(4).filter((s) => s !== ""),
      { maxLength: 4 },
    );
    fc.assert(
      fc.property(stops, letters(40), fc.array(fc.nat(6), { maxLength: 20 }), (strings, text, sizes) => {
        const pieces: string[] = [];
        let at = 0;
        for (const size of sizes) pieces.push(text.slice(at, (at += size)));
        pieces.push(text.slice(at));
        // What a reader who looks at every letter finds.
        let expected = { text, found: null as string | null };
        for (let end = 1; end <= text.length && expected.found === null; end++) {
          const seen = text.slice(0, end);
          const ending = strings.filter((s) => seen.endsWith(s)).sort((a, b) => b.length - a.length)[0];
          if (ending) expected = { text: seen.slice(0, end - ending.length), found: ending };
        }
        expect(feed(strings, pieces)).toEqual(expected);
      }),
      { numRuns: 2000 },
    );
  });

  it("follows many strings at once, and lets the one that it finds come out where it is asked to", () => {
    const many = Array.from({ length: 1000 }, (_, i) => `${"ab".repeat(i % 20)}<${i}>`);
    const matcher = new StopStrings(many, true);
    expect(matcher.push("ababab")).toBe("");
    expect(matcher.push("x ab")).toBe("abababx ");
    expect(matcher.push("<21>!")).toBe("ab<21>");
    expect(matcher.found).toBe("ab<21>");
    expect(matcher.push("more") + matcher.end()).toBe("");
  });

  it("refuses half a character, which would cut one in two", () => {
    for (const half of ["\ud83d", "a\ude00", "\ude00b"]) {
      expect(() => new StopStrings(["x", half])).toThrow(/half a character/);
    }
    const stops = new StopStrings(["😀"]);
    expect(stops.push("a😁b😀c")).toBe("a😁b");
  });

  it("holds back no more than could begin a stop string", () => {
    const matcher = new StopStrings(["\n\n", "END"]);
    expect(matcher.push("one\n")).toBe("one");
    expect(matcher.push("two")).toBe("\ntwo");
    expect(matcher.push(" EN")).toBe(" ");
    expect(matcher.push("EN")).toBe("EN");
    expect(matcher.push("D rest")).toBe("");
    expect(matcher.found).toBe("END");
    expect(matcher.push("more") + matcher.end()).toBe("");
    expect(() => new StopStrings(["a", ""])).toThrow(ConfigError);
    expect(() => new StopStrings(["a".repeat(70_000)])).toThrow(/at most 65536 characters; found: 70000/);
  });
});

describe("text", () => {
  let device: Device;
  let tokenizer: Tokenizer;
  let model: CausalLM;

  beforeAll(async () => {
    const texts = [
      "const value = 1; // größer\nlet other = value + 2;\n",
      "the cat 猫 sat on the mat 🚀 again and again\n",
    ];
    const json = await trainBpe(
      Array.from({ length: 40 }, (_, i) => texts[i % 2]),
      { vocabSize: 320 },
    );
    tokenizer = loadTokenizer(json, trainedTokenizerConfig(4096));
    device = await createCpuDevice({ threads: 1 });
    // A head padded beyond the vocabulary.
    model = smallV3(device, { vocabulary: 330, hidden: 64 });
    makePredictable(model);
    // The first pass makes rotary tables that stay.
    for await (const _ of generate(model, [5], { maxTokens: 2 }));
  });
  afterAll(async () => {
    model[Symbol.dispose]();
    await device[Symbol.asyncDispose]();
  });

  /** Makes the model continue `prompt` by `ids`, each at most once, and then by EOS for ever. */
  function script(prompt: readonly number[], ids: readonly number[]): void {
    const { eos } = tokenizer.specialIds;
    const chain = [prompt.at(-1)!, ...ids, eos!];
    const { parameters, config } = model;
    const d = config.hiddenSize;
    const rows = new Float32Array(config.vocabSize * d);
    const heads = new Float32Array(config.vocabSize * d);
    // One channel for each step; all ids outside the chain share the last one.
    for (let id = 0; id < config.vocabSize; id++) rows[id * d + d - 1] = 1;
    chain.forEach((id, i) => {
      rows[id * d + d - 1] = 0;
      rows[id * d + i] = 1;
      heads[chain[Math.min(i + 1, chain.length - 1)] * d + i] = 1;
    });
    // The rows that only pad would win if they were not masked.
    for (let id = tokenizer.vocabSize; id < config.vocabSize; id++) heads.fill(2, id * d, (id + 1) * d);
    parameters.group("model.embed_tokens.weight").tensor.set(rows);
    parameters.group("lm_head.weight").tensor.set(heads);
  }

  async function collect(generator: ReturnType<typeof completeText>) {
    let text = "";
    const pieces: string[] = [];
    const ids: number[] = [];
    for (;;) {
      const next = await generator.next();
      if (next.done) return { text, pieces, ids, stats: next.value as TextStats };
      text += next.value.text;
      pieces.push(next.value.text);
      ids.push(...next.value.tokens.map((t) => t.id));
    }
  }

  const distinct = (ids: number[]) => new Set(ids).size === ids.length;
  const options: TextOptions = { maxTokens: 40 };

  it("prints what the model writes, up to EOS, in whole characters", async () => {
    const prompt = tokenizer.encode("const");
    const answer = tokenizer.encode(" größer 猫");
    expect(distinct([...prompt.slice(-1), ...answer])).toBe(true);
    script(prompt, answer);
    const before = device.backend.memory().buffers;
    for (const speculative of [false, true]) {
      const result = await collect(completeText(model, tokenizer, "const", { ...options, speculative }));
      expect(result.text).toBe(" größer 猫");
      expect(result.pieces.every((piece) => piece !== "" && !piece.includes("\uFFFD"))).toBe(true);
      expect(result.stats).toMatchObject({
        stopReason: "stop",
        stopString: null,
        promptTokens: prompt.length,
        generatedTokens: answer.length + 1,
      });
    }
    expect(device.backend.memory().buffers).toBe(before);
    const raw: number[] = [];
    for await (const { id } of generate(model, prompt, { ...options, vocabularySize: tokenizer.vocabSize }))
      raw.push(id);
    expect(raw).toEqual([...answer, tokenizer.specialIds.eos]);
  });

  it("writes the same through an engine, several at once, and stops there too", async () => {
    const prompt = tokenizer.encode("let");
    script(prompt, tokenizer.encode(" value = 1; // cat"));
    const before = device.backend.memory().buffers;
    {
      await using engine = new Engine(model);
      const runs = [{}, { stop: "= 1" }, { speculative: true }, { maxTokens: 3 }];
      const results = await Promise.all(
        runs.map((extra) => collect(completeText(engine, tokenizer, "let", { ...options, ...extra }))),
      );
      for (const [i, extra] of runs.entries()) {
        const { text, stats } = await collect(
          completeText(model, tokenizer, "let", { ...options, ...extra }),
        );
        expect(results[i].text).toBe(text);
        expect(results[i].stats.stopReason).toBe(stats.stopReason);
        expect(results[i].stats.stopString).toBe(stats.stopString);
      }
      expect(engine.metrics()).toMatchObject({ running: 0, waiting: 0 });
      for await (const _ of completeText(engine, tokenizer, "let", options)) break;
      expect(engine.metrics()).toMatchObject({ running: 0, waiting: 0 });
      expect(() => completeText(engine, tokenizer, "let", { ...options, prefillChunk: 4 })).toThrow(
        /prefillChunk/,
      );
    }
    expect(device.backend.memory().buffers).toBe(before);
  });

  it("leaves out a character cut off by the token limit, and skips special tokens", async () => {
    const prompt = tokenizer.encode("x");
    const bytes = [...new TextEncoder().encode("é")].map((b) => idOfByte(b));
    script(prompt, [tokenizer.specialIds.pad!, tokenizer.specialIds.fimHole!, ...bytes]);
    const whole = await collect(completeText(model, tokenizer, "x", options));
    expect(whole.text).toBe("é");
    const cut = await collect(completeText(model, tokenizer, "x", { ...options, maxTokens: 3 }));
    expect(cut.text).toBe("");
    expect(cut.stats.stopReason).toBe("length");
    expect(cut.stats.generatedTokens).toBe(3);
  });

  function idOfByte(byte: number): number {
    for (let id = 0; id < tokenizer.vocabSize; id++) {
      const bytes = tokenizer.tokenOf(id) === undefined ? [] : tokenizer.bytesOf(id);
      if (bytes.length === 1 && bytes[0] === byte) return id;
    }
    throw new Error(`no token for byte ${byte}`);
  }

  it("ends before a stop string that spans tokens", async () => {
    const prompt = tokenizer.encode("let");
    const answer = tokenizer.encode(" value = 1; // cat");
    expect(answer.length).toBeGreaterThan(4);
    expect(distinct([...prompt.slice(-1), ...answer])).toBe(true);
    script(prompt, answer);
    const full = " value = 1; // cat";
    const before = device.backend.memory().buffers;
    for (let begin = 0; begin < full.length - 1; begin++) {
      for (const length of [1, 2, 5]) {
        const stop = full.slice(begin, begin + length);
        const result = await collect(
          completeText(model, tokenizer, "let", { ...options, stop: ["never", stop] }),
        );
        expect(result.text).toBe(full.slice(0, full.indexOf(stop)));
        expect(result.stats).toMatchObject({ stopReason: "stop", stopString: stop });
        expect(result.stats.generatedTokens).toBeLessThanOrEqual(answer.length);
      }
    }
    // Held-back text comes out if the stop string is not completed.
    const almost = await collect(completeText(model, tokenizer, "let", { ...options, stop: "cats" }));
    expect(almost.text).toBe(full);
    expect(almost.stats.stopString).toBeNull();
    expect(device.backend.memory().buffers).toBe(before);
  });

  it("puts BOS where asked, never twice", async () => {
    const count = async (prompt: string | number[], extra: Partial<TextOptions>, t = tokenizer) =>
      (await collect(completeText(model, t, prompt, { maxTokens: 1, ...extra }))).stats.promptTokens;
    const plain = tokenizer.encode("the cat").length;
    expect(await count("the cat", {})).toBe(plain);
    expect(await count("the cat", { bos: true })).toBe(plain + 1);
    expect(await count(`${TOKEN.bos}the cat`, { bos: true })).toBe(plain + 1);
    expect(await count(`${TOKEN.bos}the cat`, { bos: true, parseSpecial: false })).toBeGreaterThan(plain + 2);
    expect(await count([5, 6, 7], { bos: true })).toBe(3);
    expect(() => completeText(model, tokenizer, "", options)).toThrow(/prompt is empty/);
    const adding = { ...tokenizer, prefixIds: [tokenizer.specialIds.bos!] };
    expect(await count("the cat", {}, adding)).toBe(plain + 1);
    expect(await count(`${TOKEN.bos}the cat`, {}, adding)).toBe(plain + 1);
    expect(await count("the cat", { bos: false }, adding)).toBe(plain);
    const without = { ...tokenizer, specialIds: {} };
    expect(() => completeText(model, without, "a", { ...options, bos: true })).toThrow(/no BOS/);
  });

  it("fills in the middle and ends at EOS or a sentinel", async () => {
    const prompt = fimPrompt(tokenizer, "const ", ";");
    const middle = tokenizer.encode("value = 2");
    expect(distinct([...prompt.slice(-1), ...middle])).toBe(true);
    script(prompt, middle);
    const result = await collect(fillText(model, tokenizer, "const ", ";", options));
    expect(result.text).toBe("value = 2");
    expect(result.stats).toMatchObject({ promptTokens: prompt.length, generatedTokens: middle.length + 1 });
    script(prompt, [...middle.slice(0, 2), tokenizer.specialIds.fimHole!, ...middle.slice(2)]);
    const ended = await collect(fillText(model, tokenizer, "const ", ";", options));
    expect(ended.text).toBe(tokenizer.decode(middle.slice(0, 2)));
    expect(ended.stats.stopReason).toBe("stop");
    const withBos = await collect(fillText(model, tokenizer, "const ", ";", { ...options, bos: true }));
    expect(withBos.stats.promptTokens).toBe(prompt.length + 1);
    const without = { ...tokenizer, specialIds: {} };
    expect(() => fillText(model, without, "a", "b", options)).toThrow(/lacks a fill-in-the-middle token/);
  });

  it("keeps what was written when it is aborted, and frees everything when left", async () => {
    const prompt = tokenizer.encode("let");
    script(prompt, tokenizer.encode(" value = 1; // cat"));
    const before = device.backend.memory().buffers;
    const controller = new AbortController();
    const generator = completeText(model, tokenizer, "let", {
      ...options,
      stop: "=!",
      signal: controller.signal,
    });
    let text = "";
    let stats: TextStats | null = null;
    while (stats === null) {
      const next = await generator.next();
      if (next.done) stats = next.value;
      else {
        text += next.value.text;
        controller.abort();
      }
    }
    expect(stats.stopReason).toBe("aborted");
    expect(" value = 1".startsWith(text)).toBe(true);
    for await (const _ of completeText(model, tokenizer, "let", options)) break;
    expect(device.backend.memory().buffers).toBe(before);
  });
});
