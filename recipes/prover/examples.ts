/**
 * What the small prover learns from, in the short style of prompts: proofs in the forms of DeepSeek-Prover-V1.5 (whole, with
 * thoughts, with the state learned, resumed behind a state), blocks inside proofs as `fillFile` asks for them, and the language jobs
 * of DeepSeek-Prover V1 (translations of problems in words, grades of statements, refutations). Names, and theorems that stand before
 * the one in question, vary, as they do in files.
 */
import { WorldRandom } from "../../src/data/world/generator.ts";
import { renamed } from "../../src/prove/corpus/automation-run.ts";
import { CORPUS_FAMILIES } from "../../src/prove/corpus/families.ts";
import { problemRow } from "../../src/prove/corpus/problems.ts";
import { type CorpusItem, corpusItem } from "../../src/prove/corpus/sample.ts";
import { readTruth } from "../../src/prove/corpus/truth.ts";
import { formalizePrompt, gradingAnswer, gradingPrompt } from "../../src/prove/text/formalize.ts";
import { proofPrompt, STOP } from "../../src/prove/text/prompts.ts";
import { falseGoal, negate } from "../../src/prove/text/statements.ts";
import { blockExample } from "../../src/prove/train/blocks.ts";
import { proofExamples } from "../../src/prove/train/forms.ts";
import type { CheckableProof, ProofCuts } from "./cuts.ts";
import { ruledGrade } from "./grades.ts";

export interface Example {
  readonly prompt: string;
  readonly completion: string;
}

/** Forms of examples, by their weights. */
export interface Mixture {
  readonly whole: number;
  readonly thoughts: number;
  readonly translation: number;
  /** Of proofs with states. */
  readonly state?: number;
  readonly resume?: number;
  readonly block?: number;
  readonly grade?: number;
  readonly refutation?: number;
}
export type ExampleForm = keyof Mixture;

/** What the first prover learns. */
export const FIRST_FORMS: Mixture = { whole: 6, thoughts: 2, translation: 2 };
/** What provers learn after it. */
export const ALL_FORMS: Mixture = {
  ...{ whole: 34, thoughts: 10, translation: 12, state: 6, resume: 20, block: 6 },
  ...{ grade: 6, refutation: 6 },
};
/** The same without states and blocks. */
export const WHOLE_FORMS: Mixture = { whole: 60, thoughts: 16, translation: 12, grade: 6, refutation: 6 };

/** Where examples come from. */
export interface ExampleSource {
  readonly seed: number;
  readonly mixture: Mixture;
  /** Scripted proofs with their states. */
  readonly cuts: readonly ProofCuts[];
  /** Proofs that a model found: half of the whole ones are of these, if there are any. */
  readonly found?: readonly CheckableProof[];
}

/** Example `index`: the same for the same source. */
export function example(source: ExampleSource, index: number): Example {
  const random = new WorldRandom(source.seed, STREAM, index);
  const form = formOf(source.mixture, random);
  switch (form) {
    case "state":
    case "resume":
    case "block":
      return cutExample(source, form, random);
    case "refutation":
      return refutation(source, random, index);
    default:
      return scripted(source, form, random, index);
  }
}

const STREAM = 90;
const SHORT = { style: "short" } as const;
const NAMES =
  "t t t t result main example_1 key claim goal lemma_2 h step fact statement statement_not".split(" ");

function formOf(mixture: Mixture, random: WorldRandom): ExampleForm {
  const forms = Object.entries(mixture) as [ExampleForm, number][];
  let at = random.int(forms.reduce((sum, [, weight]) => sum + weight, 0));
  for (const [form, weight] of forms) {
    if (at < weight) return form;
    at -= weight;
  }
  throw new Error("a mixture without forms");
}

interface Shown {
  readonly preamble: string;
  readonly statement: string;
  readonly family?: string;
}

/** A statement as it may stand in a file: under a name of many, in one case of three with another theorem above. */
function inFile({ preamble, statement, family }: Shown, random: WorldRandom, seed: number) {
  const definitions = preamble === "" ? "" : `${preamble.trimEnd()}\n\n`;
  const own = renamed(statement, random.pick(NAMES));
  if (random.int(3) > 0) return { header: definitions, statement: own };
  const families = CORPUS_FAMILIES.filter((name) => name !== family);
  const other = corpusItem(
    { seed, families: [random.pick(families)], levels: [1, 0, 0] },
    random.int(2 ** 20),
  );
  // Definitions of both could clash.
  if (other.preamble !== "" || other.proof === null) return { header: definitions, statement: own };
  const before = `${renamed(other.statement, random.pick(NAMES))}${other.proof.trimEnd()}\n\n`;
  return { header: random.int(2) === 0 ? before + definitions : definitions + before, statement: own };
}

/** How often an item that does not have what a form needs is replaced by another. */
const TRIES = 400;
/** Items of an example are apart from those of others. */
const itemAt = (index: number, tried: number) => index * 16 + (tried % 16) + (tried >> 4) * 7919;

function scripted(
  { seed, found = [] }: ExampleSource,
  form: "translation" | "grade" | "whole" | "thoughts",
  random: WorldRandom,
  index: number,
): Example {
  if (form === "whole" && found.length > 0 && random.int(2) === 0) {
    const proof = random.pick(found);
    return whole(proof, proof.proof, "non-cot", random, seed);
  }
  // Grades are of all levels, proofs of those that are shown.
  const levels = form === "grade" ? ([35, 35, 30] as const) : ([45, 55, 0] as const);
  for (let tried = 0; tried < TRIES; tried++) {
    const item = corpusItem({ seed, levels: [...levels] }, itemAt(index, tried));
    if (form === "translation") return translation(item);
    if (form === "grade") return grade(item);
    const proof = form === "thoughts" ? item.thoughts : item.proof;
    if (proof !== null) return whole(item, proof, form === "thoughts" ? "cot" : "non-cot", random, seed);
  }
  throw new Error(`no item of the corpus has what an example ${form} needs`);
}

function translation({ informal, statement }: CorpusItem): Example {
  const completion = `${renamed(statement, "statement").trimEnd()}\n${STOP}`;
  return { prompt: formalizePrompt(informal), completion };
}

function grade({ informal, statement }: CorpusItem): Example {
  const named = renamed(statement, "statement");
  const answer = gradingAnswer({ translation: informal, ...ruledGrade(named) });
  // The prompt ends with the label that the answer begins with.
  return {
    prompt: gradingPrompt(named, SHORT),
    completion: `${answer.slice(answer.indexOf(":") + 1)}\n`,
  };
}

function whole(
  shown: Shown,
  proof: string,
  mode: "cot" | "non-cot",
  random: WorldRandom,
  seed: number,
): Example {
  const prompt = proofPrompt(inFile(shown, random, seed), { ...SHORT, mode });
  return { prompt, completion: `${proof.trimEnd()}\n${STOP}` };
}

function cutExample(
  { seed, cuts }: ExampleSource,
  form: "state" | "resume" | "block",
  random: WorldRandom,
): Example {
  for (let tried = 0; tried < TRIES; tried++) {
    const cut = random.pick(cuts);
    const problem = inFile(cut, random, seed);
    if (form === "block") {
      if (cut.blocks.length === 0) continue;
      const { read, written } = blockExample(problem, random.pick(cut.blocks), SHORT);
      return { prompt: read, completion: written };
    }
    const { proof, segments } = cut;
    const examples = proofExamples({ problem, proof, segments }, { ...SHORT, forms: [form] });
    // Behind the last cut there is only the fence: few of these are enough.
    const open = examples.slice(0, -1);
    if (open.length === 0 && random.int(8) > 0) continue;
    const { read, written } = random.pick(open.length === 0 ? examples : open);
    return { prompt: read, completion: written };
  }
  throw new Error(`no proof among ${cuts.length} has what an example ${form} needs`);
}

/** Seeds of problems whose refutations are shown: no pipeline starts from them. */
const SHOWN_PROBLEMS = 1000;

/** The other side of a problem that does not hold: its negation, or the contradiction of its hypotheses. */
function refutation({ seed }: ExampleSource, random: WorldRandom, index: number): Example {
  for (let tried = 0; tried < TRIES; tried++) {
    const { hidden } = problemRow(SHOWN_PROBLEMS + seed, itemAt(index, tried));
    const { truth, gold, proof, level } = readTruth(hidden);
    if (truth === "true" || proof === null || level === 3) continue;
    const statement = truth === "vacuous" ? falseGoal(gold) : negate(gold);
    return whole({ preamble: "", statement }, proof, "non-cot", random, seed);
  }
  throw new Error("no problem of this seed has a refutation that may be shown");
}
