import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { builtinTemplate } from "../chat/template.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { Random } from "../tensor/random.ts";
import type { Device } from "../tensor/tensor.ts";
import { fimPrompt } from "../tokenizer/fim.ts";
import type { RewardSample } from "../train/policy/rewards.ts";
import { type EvaluateOptions, evaluate } from "./evaluate.ts";
import { taskRow } from "./rows.ts";
import { type TestedModel, testedModel } from "./testing-model.ts";
import type { DoneWave, EvaluationTask } from "./waves.ts";

let device: Device;
let tested: TestedModel;
beforeAll(async () => {
  device = await createCpuDevice({ threads: 1 });
  tested = await testedModel(device);
});
afterAll(async () => {
  tested[Symbol.dispose]();
  await device[Symbol.asyncDispose]();
});

const WORDS = "the of and to in is that for it as was with on be by at from this have or".split(" ");

function words(random: Random, count: number): string {
  return Array.from({ length: count }, () => WORDS[random.int(WORDS.length)]).join(" ");
}

function taskOf(name: string, rows: readonly object[]): EvaluationTask {
  const read = rows.map((row, i) => taskRow(row, `line ${i + 1}`, { isJudged: true }));
  return { name, form: read[0].form, rows: read };
}

const choiceRows = (count: number, length = 8) => {
  const random = new Random(3);
  return Array.from({ length: count }, () => ({
    context: `${words(random, length)}:`,
    choices: [words(random, 1), words(random, 3), words(random, 2)],
    gold: random.int(3),
  }));
};

const one = async (task: EvaluationTask, options: EvaluateOptions = {}) => {
  const waves: DoneWave[] = [];
  const { tasks } = await evaluate(tested, [task], {
    log: true,
    onWave: (wave) => void waves.push(wave),
    ...options,
  });
  return { ...tasks[0], waves, done: waves.flatMap(({ done }) => done) };
};

describe("choices", () => {
  it("get the log-likelihoods of a direct pass over context and choice", async () => {
    const { tokenizer, plainScores } = tested;
    const rows = choiceRows(12);
    const { done, values, metrics } = await one(taskOf("choices", rows));
    let [right, normalized] = [0, 0];
    for (const [i, { context, choices, gold }] of rows.entries()) {
      const before = tokenizer.encode(context).length;
      const sums: number[] = [];
      for (const [j, choice] of choices.entries()) {
        const scores = (await plainScores(tokenizer.encode(`${context} ${choice}`))).slice(before - 1);
        sums.push(scores.reduce((a, b) => a + b, 0));
        expect(done[i].log!.answers[j][0]).toBeCloseTo(sums[j], 4);
      }
      const best = (all: number[]) => all.indexOf(Math.max(...all));
      const acc = best(sums) === gold ? 1 : 0;
      const accNorm = best(sums.map((sum, j) => sum / choices[j].length)) === gold ? 1 : 0;
      expect([values.acc[i], values.acc_norm[i]]).toEqual([acc, accNorm]);
      right += acc;
      normalized += accNorm;
    }
    expect(metrics.map(({ name, value }) => [name, value])).toEqual([
      ["acc", right / 12],
      ["acc_norm", normalized / 12],
    ]);
    // Otherwise the test says nothing.
    expect(right).not.toBe(normalized);
  });

  it("say which of them the model would have written", async () => {
    const { tokenizer } = tested;
    const context = "the of and to in is that for it";
    const [answer] = (await one(taskOf("a", [{ prompt: context, answer: "x" }]), { maxTokens: 3, stop: [] }))
      .done;
    const written = answer.log!.answers[0][0] as string;
    const ids = tokenizer.encode(written, { addSpecialTokens: false });
    const { done } = await one(taskOf("b", [{ context, choices: [written, "of the"], gold: 0 }]));
    const { log } = done[0];
    // Only text that is cut as it was written can be found again.
    if (ids.length === 3 && written.startsWith(" ")) expect(log!.answers[0][1]).toBe(true);
    expect(log!.answers[1][1]).toBe(false);
  });

  it("stand behind examples that are the same for all, but never behind themselves", async () => {
    const rows = choiceRows(6);
    const { done, shots } = await one(taskOf("choices", rows), { shots: 2, seed: 7 });
    expect(shots).toBe(2);
    const heads = done.map(({ log }, i) => {
      const [read] = log!.requests[0];
      expect(read.endsWith(`\n\n${rows[i].context}`)).toBe(true);
      const head = read.slice(0, -rows[i].context.length - 2).split("\n\n");
      expect(head).toHaveLength(2);
      for (const example of head) {
        const from = rows.findIndex(
          ({ context, choices, gold }) => example === `${context} ${choices[gold]}`,
        );
        expect(from).toBeGreaterThanOrEqual(0);
        expect(from).not.toBe(i);
      }
      return head.join("|");
    });
    // Two rows are examples themselves.
    expect(new Set(heads).size).toBeLessThanOrEqual(3);
    expect(
      new Set(
        (await one(taskOf("c", rows), { shots: 2, seed: 8 })).done.map(({ log }) => log!.requests[0][0]),
      ),
    ).not.toEqual(new Set(done.map(({ log }) => log!.requests[0][0])));
    await expect(one(taskOf("choices", rows), { shots: 6 })).rejects.toThrow(/too few rows.*7 rows.*6/s);
  });

  it("lose the beginning of a context that is too long, which is counted", async () => {
    const { tokenizer, plainScores } = tested;
    const [row] = choiceRows(1, 200);
    const { done, counts } = await one(taskOf("choices", [row]));
    expect(counts.shortened).toBe(3);
    for (const [j, choice] of row.choices.entries()) {
      const ids = tokenizer.encode(`${row.context} ${choice}`);
      const own = ids.length - tokenizer.encode(row.context).length;
      // 128 positions are read; the last token is only scored.
      const scores = (await plainScores(ids.slice(-129, -1).concat(ids.at(-1)!).slice(-128))).slice(-own);
      expect(scores).toHaveLength(own);
      expect(done[0].log!.answers[j][0]).toBeCloseTo(
        scores.reduce((a, b) => a + b, 0),
        0,
      );
    }
  });

  it("are turns of their own behind a chat template", async () => {
    const { tokenizer, plainScores } = tested;
    const template = builtinTemplate(tokenizer, "llm");
    const rows = choiceRows(3);
    const { tasks } = await evaluate({ ...tested, template }, [taskOf("choices", rows)], {
      ...{ chat: true, system: "Be brief.", log: true },
      async onWave({ done }) {
        for (const { row, log } of done) {
          const { context, choices } = rows[row];
          const ids = template.encode([
            { role: "system", content: "Be brief." },
            { role: "user", content: context },
          ]);
          for (const [j, choice] of choices.entries()) {
            const own = tokenizer.encode(`${template.stripsSpace ? " " : ""}${choice}`, {
              addSpecialTokens: false,
            });
            const scores = (await plainScores([...ids, ...own])).slice(ids.length - 1);
            expect(log!.answers[j][0]).toBeCloseTo(
              scores.reduce((a, b) => a + b, 0),
              4,
            );
          }
        }
      },
    });
    expect(tasks[0].rows).toBe(3);
    await expect(evaluate(tested, [taskOf("choices", rows)], { chat: true })).rejects.toThrow(
      /no chat template/,
    );
    const asked = [{ context: [{ role: "user", content: "a" }], choices: ["b", "c"], gold: "c" }];
    await expect(one(taskOf("messages", asked))).rejects.toThrow(/no chat template/);
  });
});

describe("texts", () => {
  it("are read in windows as a plain loop reads them", async () => {
    const { tokenizer, plainScores } = tested;
    const random = new Random(5);
    const texts = [words(random, 300), "a", `${words(random, 20)} Grüße, 你好.`];
    const { values, metrics, done } = await one(
      taskOf(
        "texts",
        texts.map((text) => ({ text })),
      ),
      { maxLength: 50 },
    );
    expect(done.length).toBeGreaterThan(8);
    let [nats, bytes, wordCount] = [0, 0, 0];
    for (const [i, text] of texts.entries()) {
      const ids = tokenizer.encode(text, { addSpecialTokens: false });
      let sum = 0;
      for (let at = 0; at < ids.length; at++) {
        // The window of 50 that a token is predicted in, and the one token that stands before it.
        const begin = Math.floor(at / 50) * 50;
        const end = Math.min(begin + 50, ids.length);
        const from = Math.max(0, end - 50);
        const before =
          from === 0 ? [tokenizer.specialIds.bos!, ...ids.slice(0, at)] : ids.slice(from - 1, at);
        sum += (await plainScores([...before, ids[at]])).at(-1)!;
      }
      const size = new TextEncoder().encode(text).length;
      expect(values.bits_per_byte[i]).toEqual([expect.closeTo(sum, 3), size]);
      expect(values.word_perplexity[i]).toEqual([expect.closeTo(sum, 3), text.split(" ").length]);
      nats -= sum;
      bytes += size;
      wordCount += text.split(" ").length;
    }
    const figures = Object.fromEntries(metrics.map(({ name, value }) => [name, value]));
    expect(figures.bits_per_byte).toBeCloseTo(nats / bytes / Math.LN2, 4);
    expect(figures.byte_perplexity).toBeCloseTo(Math.exp(nats / bytes), 3);
    expect(figures.word_perplexity / Math.exp(nats / wordCount)).toBeCloseTo(1, 3);
  });
});

/** The share of the sets of k of these that hold one that is true. */
function bruteForce(right: readonly boolean[], k: number): number {
  let [all, passed] = [0, 0];
  for (let set = 0; set < 2 ** right.length; set++) {
    const chosen = right.filter((_, i) => (set >> i) & 1);
    if (chosen.length !== k) continue;
    all++;
    if (chosen.includes(true)) passed++;
  }
  return passed / all;
}

describe("answers", () => {
  const rows = Array.from({ length: 5 }, (_, i) => ({ prompt: `${WORDS[i]} of the`, answer: i }));

  it("get pass@k as an enumeration of all sets gives it", async () => {
    const seen: RewardSample[][] = [];
    const judge = {
      reward: (samples: readonly RewardSample[]) => {
        seen.push([...samples]);
        return samples.map(({ completion }) => (completion.length % 3 === 0 ? 1 : 0.25));
      },
    };
    const options = { judge, samples: 6, ks: [1, 2, 5], maxTokens: 4, stop: [] };
    const { values, metrics, done } = await one(taskOf("answers", rows), options);
    expect(seen.map((samples) => samples.length)).toEqual([6, 6, 6, 6, 6]);
    expect(new Set(seen.flat().map(({ key }) => key))).toEqual(new Set(["0", "1", "2", "3", "4"]));
    for (const { row, log } of done) {
      const right = log!.answers[0].map((text) => (text as string).length % 3 === 0);
      for (const k of [1, 2, 5]) expect(values[`pass@${k}`][row]).toBeCloseTo(bruteForce(right, k), 12);
    }
    const mean = (list: readonly unknown[]) => (list as number[]).reduce((a, b) => a + b, 0) / list.length;
    expect(metrics.map(({ name }) => name)).toEqual(["reward", "pass@1", "pass@2", "pass@5"]);
    for (const { name, value } of metrics) expect(value).toBeCloseTo(mean(values[name]), 12);
    expect(mean(values["pass@5"])).toBeGreaterThan(mean(values["pass@1"]));
    const other = await one(taskOf("answers", rows), { ...options, seed: 2 });
    expect(other.done.map(({ log }) => log)).not.toEqual(done.map(({ log }) => log));
  });

  it("count what has no verdict, and leave it out of pass@k", async () => {
    const reward = (samples: readonly RewardSample[]) =>
      samples.map((_, i) => (i === 0 ? 1 : i === 1 ? 0 : null));
    const { values, counts } = await one(taskOf("answers", rows), {
      judge: { reward },
      samples: 4,
      maxTokens: 2,
    });
    expect(values["pass@1"]).toEqual([0.5, 0.5, 0.5, 0.5, 0.5]);
    expect(values["pass@4"]).toEqual([1, 1, 1, 1, 1]);
    expect(counts).toEqual({ shortened: 0, unjudged: 10, timedOut: 0 });
    const failing = () => {
      throw new Error("no judge today");
    };
    await expect(one(taskOf("answers", rows), { judge: { reward: failing } })).rejects.toThrow(
      /no judge today/,
    );
  });

  it("match one of the row's, without white space around them, and end before a stop string", async () => {
    const open = await one(taskOf("answers", rows), { maxTokens: 12, stop: [] });
    const texts = open.done.map(({ log }) => log!.answers[0][0] as string);
    const target = texts.map((text) => ["no", ` ${text.trim()}\n`]);
    const found = await one(
      taskOf(
        "answers",
        rows.map((row, i) => ({ ...row, answer: i < 3 ? target[i] : "no" })),
      ),
      { maxTokens: 12, stop: [] },
    );
    expect(found.values.exact_match).toEqual([1, 1, 1, 0, 0]);
    const long = texts.findIndex((text) => text.length > 8);
    const stop = texts[long].slice(4, 7);
    const cut = await one(taskOf("answers", rows), { maxTokens: 12, stop: [stop] });
    const end = texts[long].indexOf(stop);
    expect(cut.done[long].log!.answers[0][0]).toBe(texts[long].slice(0, end));
  });

  it("refuse what makes no sense by name", async () => {
    const task = taskOf("answers", rows);
    await expect(one(task, { samples: 2, temperature: 0 })).rejects.toThrow(/all the same.*temperature/s);
    await expect(one(task, { samples: 2, ks: [3] })).rejects.toThrow(/ks\[0\]/);
    await expect(one(task, { stop: [""] })).rejects.toThrow(/stop/);
    await expect(one(task, { maxTokens: 128 })).rejects.toThrow(/maxTokens/);
    await expect(one(task, { system: "a" })).rejects.toThrow(/system/);
    await expect(one(taskOf("choices", choiceRows(2)), { maxTokens: 3 })).rejects.toThrow(/answer or infill/);
    await expect(evaluate(tested, [task, task])).rejects.toThrow(/two tasks of one name/);
    await expect(evaluate(tested, [])).rejects.toThrow(/number of tasks/);
  });
});

it("asks for middles as the engine is asked for them, and compares them to the letter", async () => {
  const { tokenizer } = tested;
  const asked = { prefix: "the of ", suffix: " is that" };
  const [first] = (await one(taskOf("infill", [{ ...asked, middle: "x" }]), { maxTokens: 6 })).done;
  const written = first.log!.answers[0][0] as string;
  expect(first.values.exact_match).toBe(0);
  const middles = [written, `${written} `, written.slice(1)];
  const { values } = await one(
    taskOf(
      "infill",
      middles.map((middle) => ({ ...asked, middle })),
    ),
    { maxTokens: 6 },
  );
  expect(values.exact_match).toEqual([1, 0, 0]);
  const { length } = written;
  expect(values.edit_similarity).toEqual([
    1,
    expect.closeTo(length / (length + 1)),
    expect.closeTo(1 - 1 / length),
  ]);
  // A prefix that does not fit loses its beginning.
  const long = { prefix: `${words(new Random(1), 300)} `, suffix: " is", middle: "a" };
  expect((await one(taskOf("infill", [long]))).counts.shortened).toBe(1);
  expect(fimPrompt(tokenizer, long.prefix, long.suffix).length).toBeGreaterThan(128);
  const full = { prefix: "a", suffix: words(new Random(1), 300), middle: "a" };
  await expect(one(taskOf("infill", [full]))).rejects.toThrow(/suffix leaves no room/);
});

it("gives the same bits wherever it was stopped", async () => {
  const random = new Random(9);
  const tasks = [
    taskOf("choices", choiceRows(400, 20)),
    taskOf(
      "texts",
      [words(random, 9000), words(random, 3000), "a b"].map((text) => ({ text })),
    ),
    taskOf(
      "answers",
      Array.from({ length: 300 }, (_, i) => ({ prompt: `${i} of`, answer: i })),
    ),
  ];
  const options = { maxTokens: 3, temperature: 0.8, shots: 1, maxLength: 100 };
  const waves: DoneWave[] = [];
  const whole = await evaluate(tested, tasks, { ...options, onWave: (wave) => void waves.push(wave) });
  expect(waves.length).toBeGreaterThan(5);
  for (const at of [1, 2, waves.length - 2, waves.length]) {
    const done = waves.slice(0, at);
    const stop = new AbortController();
    const later: DoneWave[] = [];
    const onWave = (wave: DoneWave) => {
      later.push(wave);
      if (at === 2) stop.abort(new Error("stopped"));
    };
    const next = evaluate(tested, tasks, {
      ...options,
      done: JSON.parse(JSON.stringify(done)),
      onWave,
      signal: stop.signal,
    });
    if (at === 2) {
      await expect(next).rejects.toThrow("stopped");
    } else {
      const { tasks: found } = await next;
      expect(found.map(({ values }) => values)).toEqual(whole.tasks.map(({ values }) => values));
    }
    const untimed = (all: readonly DoneWave[]) => all.map(({ task, done }) => ({ task, done }));
    expect(untimed(later)).toEqual(untimed(waves.slice(at, at + later.length)));
  }
  await expect(evaluate(tested, tasks, { ...options, done: waves.slice(1) })).rejects.toThrow(/does not fit/);
});
