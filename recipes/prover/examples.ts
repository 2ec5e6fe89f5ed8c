/**
 * What the small prover learns from: prompts in the short style and what follows, in the forms of DeepSeek-Prover-V1.5 (whole
 * proofs, proofs with thoughts), and translations of problems in words (DeepSeek-Prover V1). Names, and theorems that stand before
 * the one in question, vary, as they do in files.
 */
import { WorldRandom } from "../../src/data/world/generator.ts";
import { renamed } from "../../src/prove/corpus/automation-run.ts";
import { CORPUS_FAMILIES } from "../../src/prove/corpus/families.ts";
import { type CorpusItem, corpusItem } from "../../src/prove/corpus/sample.ts";
import { formalizePrompt } from "../../src/prove/text/formalize.ts";
import { proofPrompt } from "../../src/prove/text/prompts.ts";

export interface Example {
  readonly prompt: string;
  readonly completion: string;
}

const FENCE = "```";
const STREAM = 90;
const NAMES = [
  "t",
  "t",
  "t",
  "result",
  "main",
  "example_1",
  "key",
  "claim",
  "goal",
  "lemma_2",
  "h",
  "step",
  "fact",
];

const end = (proof: string) => `${proof.replace(/\s+$/, "")}\n${FENCE}`;

/** A statement as it may stand in a file: other theorems before it, in one of three cases. */
function inFile(item: CorpusItem, random: WorldRandom, seed: number): { header: string; statement: string } {
  const definitions = item.preamble === "" ? "" : `${item.preamble.trimEnd()}\n\n`;
  const statement = renamed(item.statement, random.pick(NAMES));
  if (random.int(3) > 0) return { header: definitions, statement };
  const families = CORPUS_FAMILIES.filter((name) => name !== item.family);
  const other = corpusItem(
    { seed, families: [random.pick(families)], levels: [1, 0, 0] },
    random.int(2 ** 20),
  );
  // Definitions of both could clash.
  if (other.preamble !== "" || other.proof === null) return { header: definitions, statement };
  const before = `${renamed(other.statement, random.pick(NAMES))}${other.proof.replace(/\s+$/, "")}\n\n`;
  return { header: random.int(2) === 0 ? before + definitions : definitions + before, statement };
}

/** Of ten examples: proofs, proofs with thoughts, translations. */
const SHARES = { proofs: 6, thoughts: 2 };

/** Example `index` of the scripted part of the corpus, which never repeats. */
export function scriptedExample(seed: number, index: number): Example {
  const random = new WorldRandom(seed, STREAM, index);
  const form = random.int(10);
  for (let i = 0; ; i++) {
    const item = corpusItem({ seed, levels: [45, 55, 0] }, index * 16 + (i % 16) + (i >> 4) * 7919);
    if (form >= SHARES.proofs + SHARES.thoughts) {
      const statement = renamed(item.statement, "statement").replace(/\s*$/, "\n");
      return { prompt: formalizePrompt(item.informal), completion: `${statement}${FENCE}` };
    }
    const cot = form >= SHARES.proofs;
    const proof = cot ? item.thoughts : item.proof;
    if (proof === null) continue;
    const prompt = proofPrompt(inFile(item, random, seed), { style: "short", mode: cot ? "cot" : "non-cot" });
    return { prompt, completion: end(proof) };
  }
}
