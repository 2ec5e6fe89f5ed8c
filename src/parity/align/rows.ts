/** What is learned, and where it lies: rows of `packing` and `sft-packed`, spans of `chat-spans`. */
import { builtinTemplate } from "../../chat/template.ts";
import { tokenLosses } from "../../tensor/ops/cross-entropy.ts";
import { TOKEN } from "../../tokenizer/families.ts";
import { loadTokenizer, type Tokenizer } from "../../tokenizer/tokenizer.ts";
import { trainBpe, trainedTokenizerConfig } from "../../tokenizer/train-bpe.ts";
import { inputsOf } from "../../train/batches.ts";
import { bestFitRows, splitDocuments } from "../../train/best-fit.ts";
import { tokenObjective } from "../../train/objectives/objective.ts";
import { type Lesson, PackedRows, packedRow } from "../../train/packed-rows.ts";
import type { AlignCase, FixtureJson } from "./align-case.ts";

export async function comparePacking(run: AlignCase): Promise<void> {
  const { comparison, inputs } = run;
  const expected = await run.expectedJson();
  inputs.cases.forEach(({ lengths, sequence_length: length }: FixtureJson, i: number) => {
    const { split_first: split, truncate_first: cut } = expected.cases[i];
    const pieces = splitDocuments(lengths, length);
    const flat = pieces.flatMap((piece) => [piece.document, piece.offset, piece.length]);
    comparison.ids(`${i}.split_first.pieces`, flat, split.pieces.flat());
    const rows = bestFitRows(
      pieces.map((piece) => piece.length),
      length,
    );
    compareRows(run, `${i}.split_first.rows`, rows, split.rows);
    const short = lengths.map((each: number) => Math.min(each, length));
    compareRows(run, `${i}.truncate_first.rows`, bestFitRows(short, length), cut.rows);
  });
}

/** Rows as one list, each closed by -1. */
function compareRows({ comparison }: AlignCase, name: string, found: number[][], wanted: number[][]): void {
  const flat = (rows: number[][]) => rows.flatMap((row) => [...row, -1]);
  comparison.ids(name, flat(found), flat(wanted));
}

export async function compareSftPacked(run: AlignCase): Promise<void> {
  const { comparison, device, inputs, tolerance } = run;
  const { sequence_length: length, conversations, trained } = inputs;
  const lessons: Lesson[] = conversations.map((ids: number[], i: number) => ({ ids, learned: trained[i] }));
  const rows = bestFitRows(
    lessons.map(({ ids }) => ids.length),
    length,
  );
  compareRows(run, "rows", rows, inputs.rows);
  const packed = rows.map((row) => packedRow(lessons, row, length));
  const ids = packed.flatMap((row) => Array.from(row.ids));
  comparison.ids("input_ids", ids, inputs.input_ids.flat());
  // What is not learned is -100 there.
  const targets = packed.flatMap((row) => Array.from(row.targets, (target) => (target < 0 ? -100 : target)));
  comparison.ids("targets", targets, inputs.targets.flat());
  using model = await run.model();
  const source = new PackedRows(lessons, { length });
  const batches = [];
  for await (const batch of source.once(rows.length)) batches.push(batch);
  const [batch] = batches;
  const losses = device.tidy(() => {
    const read = device.tensor(inputsOf(batch), [batch.batch, batch.length], "i32");
    const wanted = device.tensor(batch.targets, [batch.targets.length], "i32");
    const logits = model.logits(model.hidden(read, { documents: batch.documents }));
    return tokenLosses(logits.view([batch.targets.length, -1]), wanted);
  });
  const nll = await losses.data();
  losses.dispose();
  const real = (i: number) => batch.targets[i] >= 0;
  comparison.values("nll", nll, await run.expected("nll"), tolerance.nll_max_abs, "absolute", real);
  const sums = lessons.map(() => 0);
  rows.forEach((row, b) => {
    let at = b * length;
    for (const index of row) {
      for (let i = 0; i < lessons[index].ids.length; i++, at++) if (real(at)) sums[index] += nll[at];
    }
  });
  const bound = tolerance.nll_max_abs * length;
  comparison.values("conversation_nll", sums, await run.expected("conversation_nll"), bound);
  const { loss } = await run.update([{ batch, share: 1 }], (part) => tokenObjective(model, part, {}));
  comparison.values("loss", [loss], await run.expected("loss"), tolerance.loss_max_abs);
  await run.gradients(model, "grads.safetensors", "grad.");
}

/** Built-in templates by the fixture's names. Coder's own preamble is in none of its texts. */
const TEMPLATES: Readonly<Record<string, "llm" | "v3" | "coder">> = {
  "llm-v2": "llm",
  v3: "v3",
  "coder-v1": "coder",
};

/** A vocabulary of bytes with the tokens that templates write. */
async function spellingTokenizer(): Promise<Tokenizer> {
  const tokens = [TOKEN.user, TOKEN.assistant, TOKEN.eot];
  return loadTokenizer(
    await trainBpe(["a"], { vocabSize: 300, specialTokens: tokens }),
    trainedTokenizerConfig(512),
  );
}

export async function compareChatSpans(run: AlignCase): Promise<void> {
  const { comparison, inputs } = run;
  const expected = await run.expectedJson();
  const tokenizer = await spellingTokenizer();
  const points = (text: string) => Array.from(text, (c) => c.codePointAt(0)!);
  inputs.cases.forEach(({ template: name, messages }: FixtureJson, i: number) => {
    const template = builtinTemplate(tokenizer, TEMPLATES[name]);
    const own = name === "coder-v1" && messages[0].role !== "system";
    const { text, spans, ids, learned } = template.lesson(messages);
    // The preamble stands between the token that texts begin with and the first instruction.
    const [from, to] = own ? [TOKEN.bos.length, text.indexOf("### Instruction:")] : [0, 0];
    const wanted: string = expected.cases[i].text;
    const recorded: [number, number][] = expected.cases[i].learnt;
    comparison.ids(`${i} ${name}.text`, points(text.slice(0, from) + text.slice(to)), points(wanted));
    const place = (unit: number) => points(text.slice(0, unit)).length - points(text.slice(from, to)).length;
    const found = spans.flatMap((span) => [place(span.from), place(span.to)]);
    comparison.ids(`${i} ${name}.learned`, found, recorded.flat());
    // The same by the tokens alone.
    const read = tokenizer.decode(
      ids.filter((_, t) => learned[t] === 1),
      { skipSpecialTokens: false },
    );
    const learnedText = recorded.map(([a, b]) => [...wanted].slice(a, b).join("")).join("");
    comparison.ids(`${i} ${name}.tokens`, points(read), points(learnedText));
  });
}
