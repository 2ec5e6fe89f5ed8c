/**
 * Lines that use what another file of the project exports: how likely they are, and whether they are written, after their own file alone,
 * after the file that they need, and after another one of the same project.
 */

import type { TextFile } from "../../src/data/corpus.ts";
import { ImportResolver } from "../../src/data/imports.ts";
import { dependencyGraph } from "../../src/data/repository-order.ts";
import { Engine } from "../../src/engine/engine.ts";
import { likelihood } from "../../src/evaluate/requests.ts";
import { Random } from "../../src/tensor/random.ts";
import type { TextExam } from "./declaration.ts";
import { documentsOf, encoded, LINE_TOKENS, NOTHING, share, write } from "./exams.ts";
import { pathOf } from "./repository.ts";

/** Stream of the numbers that places are drawn from: the same for all arms and seeds. */
const STREAM = 80;
const [MOST_PLACES, SMALL] = [200, 6] as const;
/** Of the own file before the line, and of the other file at its end. */
const [OWN_TOKENS, OTHER_TOKENS] = [128, 256];

export interface CrossFilePlace {
  readonly path: string;
  /** Paths of the file that has what the line uses, and of one that has nothing to do with it. */
  readonly needed: string;
  readonly other: string;
  readonly prefix: string;
  readonly line: string;
}

/** Names that a file imports, with where from. */
function importedNames(
  text: string,
): { readonly name: string; readonly from: string; readonly end: number }[] {
  const imports = /^import\s+(?:type\s+)?(\w+)?\s*,?\s*(?:\{([^}]*)\})?\s*from\s*["']([^"']+)["'];?/gm;
  return [...text.matchAll(imports)].flatMap(({ 0: whole, 1: own, 2: braces = "", 3: from, index }) => {
    const listed = braces.split(",").map((each) => each.trim().split(/\s+/).at(-1)!);
    const names = [own, ...listed].filter((each) => each !== undefined && /^\w+$/.test(each));
    return names.map((name) => ({ name: name!, from, end: index + whole.length }));
  });
}

const COMMENT = /^\s*(?:\*|\/\/|\/\*)/;

/** The first line behind the imports that uses what a file imports from another one; one of a file. */
export function crossFilePlaces(files: readonly TextFile[], most: number): CrossFilePlace[] {
  const random = new Random(1, STREAM);
  const resolver = new ImportResolver(files.map(({ path }) => path));
  const graph = dependencyGraph(files);
  const places: CrossFilePlace[] = [];
  for (const i of random.shuffle(files.map((_, at) => at))) {
    if (places.length === most) break;
    const { path, text } = files[i];
    const imported = importedNames(text);
    const begin = text.indexOf("\n", Math.max(-1, ...imported.map(({ end }) => end))) + 1;
    const found = random.shuffle([...imported]).flatMap(({ name, from }) => {
      const [needed] = resolver.resolve(path, from);
      if (needed === undefined || begin === 0) return [];
      let at = begin;
      for (const line of text.slice(begin).split("\n")) {
        if (!COMMENT.test(line) && new RegExp(`\\b${name}\\b`).test(line)) return [{ needed, at, line }];
        at += line.length + 1;
      }
      return [];
    })[0];
    const strangers = files.filter((_, j) => j !== i && !graph[i].includes(j));
    if (found === undefined || strangers.length === 0) continue;
    const { needed, at, line } = found;
    const other = strangers[random.int(strangers.length)].path;
    places.push({ path, needed, other, prefix: text.slice(0, at), line });
  }
  return places;
}

/**
 * `gain of the needed file`: nats of a token that it takes from the lines, against the own file alone; `.. over another file` against
 * one that has nothing to do with them.
 */
export const crossFile: TextExam = async (trained) => {
  const { run, small } = trained;
  const files = documentsOf(trained).flatMap((text) => {
    const path = pathOf(text);
    return path === null ? [] : [{ path, text }];
  });
  const texts = new Map(files.map(({ path, text }) => [path, text]));
  const places = crossFilePlaces(files, small ? SMALL : MOST_PLACES);
  if (places.length === 0) return NOTHING;
  const end = run.tokenizer.specialIds.eos!;
  const asked = places.map(({ needed, other, prefix, line }) => {
    const own = encoded(run, prefix).slice(-OWN_TOKENS);
    const after = (path: string) => [...encoded(run, texts.get(path)!).slice(-OTHER_TOKENS), end, ...own];
    return { continuation: encoded(run, line), prompts: [own, after(needed), after(other)] };
  });
  const { signal } = new AbortController();
  const tokens = asked.reduce((sum, { continuation }) => sum + continuation.length, 0);
  await using engine = new Engine(run.model, { maxBatch: 16, maxQueue: 2000, cacheTokens: 32_768 });
  const natsOf = (which: number) =>
    Promise.all(
      asked.map(async ({ prompts, continuation }) => {
        const prompt = prompts[which];
        const { logprob } = await likelihood(engine, { prompt, continuation }, { greedy: false, signal });
        // Scaled so that their mean is the mean of a token.
        return (-logprob * asked.length) / tokens;
      }),
    );
  const [alone, needed, other] = [await natsOf(0), await natsOf(1), await natsOf(2)];
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const gains = (from: readonly number[]) =>
    from.map((each, i) => Math.round(1e3 * (each - needed[i])) / 1e3);
  const [gain, over] = [gains(alone), gains(other)];
  const exact = async (which: number) => {
    const prompts = asked.map(({ prompts: each }) => each[which]);
    const { answers } = await write(trained, prompts, LINE_TOKENS);
    return places.map(({ line }, i) => answers[i].text.split("\n", 1)[0].trim() === line.trim());
  };
  const [withFile, without] = [await exact(1), await exact(0)];
  return {
    scores: { "line after the needed file": share(withFile), "line after its own": share(without) },
    figures: {
      ...{ "nats after its own file": mean(alone), "nats after the needed file": mean(needed) },
      ...{ "gain of the needed file": mean(gain), "gain over another file": mean(over) },
    },
    items: {
      ...{ "gain of the needed file": gain, "gain over another file": over },
      "line after the needed file": withFile.map(Number),
    },
  };
};
