/** Proofs as jobs: verdicts on whole proofs, messages and goals of a text, proofs for the `sorry`s of one. */

import { treeTokenizer } from "../../pretrained/load.ts";
import { locateModel } from "../../pretrained/node-load.ts";
import type { FillEvent } from "../../prove/fill/fill.ts";
import { HostGenerator } from "../../prove/host-generator.ts";
import { readLeanFile } from "../../prove/lean/lean-file.ts";
import type { LeanSession } from "../../prove/lean/session.ts";
import { Prover, promptSettings } from "../../prove/prover/prover.ts";
import { proverSettings } from "../../prove/prover/settings.ts";
import type { SearchEvent } from "../../prove/search/search.ts";
import type { SearchOptions } from "../../prove/search/search-options.ts";
import { SearchTrace } from "../../prove/search/trace.ts";
import { invalidRequest } from "../errors.ts";
import { Verifier } from "../verify-answer.ts";
import { parseProofs } from "../verify-request.ts";
import type { JobPlan, JobWork } from "./jobs.ts";
import type { StoredModels } from "./model-list.ts";
import type { OpenModels } from "./open-models.ts";
import type { JsonObject } from "./protocol.ts";
import type { BodyOf } from "./requests.ts";
import type { StudioLean } from "./studio-lean.ts";

export interface ProveParts {
  readonly open: OpenModels;
  readonly stored: StoredModels;
  readonly lean: StudioLean;
}

async function leanOf({ lean }: ProveParts, work: JobWork, unit: "samples" | "checks"): Promise<LeanSession> {
  const tell = (text: string) => work.progress({ done: 0, total: null, unit, text });
  tell("starts Lean");
  return await lean.get(tell, work.signal);
}

/** Verdicts on proofs; the body is that of `/v1/verify`. @throws ApiError as that */
export function verifyPlan(body: JsonObject, parts: ProveParts): JobPlan {
  const { proofs } = parseProofs(body);
  return {
    ...{ lane: "verify", title: `verify ${proofs[0]?.name ?? "a proof"}`, model: null },
    async run(work) {
      const verifier = new Verifier(await leanOf(parts, work, "checks"));
      const data: object[] = [];
      const tell = () =>
        work.progress({ done: data.length, total: proofs.length, unit: "checks", text: "checks" });
      tell();
      for await (const verdict of verifier.verdicts(proofs, work.signal)) {
        data.push(verdict);
        work.emit({ type: "proof", news: { type: "verdict", ...verdict } });
        tell();
      }
      return { data };
    },
  };
}

/** What Lean says of a text: messages, and goals before and after each tactic. */
export function checkPlan({ source, steps = true }: BodyOf<"check">, parts: ProveParts): JobPlan {
  return {
    ...{ lane: "check", title: "check a text", model: null },
    async run(work) {
      const lean = await leanOf(parts, work, "checks");
      work.progress({ done: 0, total: 1, unit: "checks", text: "checks" });
      return { ...(await lean.check(readLeanFile(source), { steps, signal: work.signal })) };
    },
  };
}

/** Proofs for the `sorry`s of a text by a model that is open. @throws ApiError 404 for one that is not */
export async function provePlan(asked: BodyOf<"prove">, parts: ProveParts): Promise<JobPlan> {
  const { source, search, budget, seed } = asked;
  const { open, stored } = parts;
  const { model } = open.find(asked.model);
  if (!/\bsorry\b/.test(source)) {
    throw invalidRequest("There is no `sorry` to be filled.", "body.source", "invalid_value");
  }
  const { path, from } = await stored.find(model);
  return {
    ...{ lane: "prove", title: titleOf(source), model },
    async run(work) {
      using held = open.hold(model);
      let checks = 0;
      const lean = counted(await leanOf(parts, work, "samples"), () => checks++);
      const place = await locateModel(path, { offline: true, download: false });
      const tokenizer = await treeTokenizer(place.tree, place.gguf);
      if (tokenizer === null) throw invalidRequest("The model has no tokenizer.", "body.model");
      const named = { name: model, source: from === "hub" ? { ...place.source, repo: model } : place.source };
      const settings = promptSettings(await proverSettings(path), named);
      const contextTokens = Math.min(settings.contextTokens ?? 4096, held.engine.info.context);
      const prover = new Prover({
        ...{ lean, settings, contextTokens, store: null, close: async () => {} },
        generator: new HostGenerator(held.engine, tokenizer),
        parallel: Math.min(2 * lean.slots, held.engine.info.maxBatch),
      });
      const { signal } = work;
      const options = { search, samples: budget, trees: 1, seed, signal };
      const { text, ends, fault } = await prover.fillText(source, {
        ...options,
        onEvent: tellProof(work, budget, prover.searchOptions(options), () => checks),
      });
      const proved = ends.filter(({ end }) => end.outcome === "proved").length;
      return { text, fault, proved, open: ends.length - proved };
    },
  };
}

/** The name of the first theorem with a `sorry`. */
function titleOf(source: string): string {
  const name = /\b(?:theorem|lemma|example|def|instance)\s+([^\s:({[]+)?/.exec(source)?.[1];
  return `prove ${name ?? "a statement"}`;
}

/** A session that tells of every question to it. */
function counted(lean: LeanSession, tell: () => void): LeanSession {
  return {
    ...{ kind: lean.kind, version: lean.version, slots: lean.slots },
    check(...asked) {
      tell();
      return lean.check(...asked);
    },
    verify(...asked) {
      tell();
      return lean.verify(...asked);
    },
    ready: () => lean.ready(),
    async [Symbol.asyncDispose]() {},
  };
}

/** Characters of a text that was tried, and of its fault. */
const MOST_TRIED = 1000;

/** Tells what a search does. `options`: its own; `checks`: questions to Lean so far. */
function tellProof(
  work: JobWork,
  budget: number,
  options: SearchOptions,
  checks: () => number,
): (event: FillEvent) => void {
  const tell = (news: JsonObject) => work.emit({ type: "proof", news });
  let [samples, units] = [0, 1];
  let trace: SearchTrace | null = null;
  const count = (title: string) => {
    samples++;
    work.note({ done: samples, total: units * budget, unit: "samples", text: title });
  };
  const tellSearch = (title: string, event: SearchEvent) => {
    if (event.type === "root") {
      trace = new SearchTrace(event.state, options);
      tell({ type: "root", title, state: event.state });
    } else if (event.type === "sample") {
      count(title);
      tell({ type: "sample", title, ...trace!.take(event), checks: checks() });
    } else if (event.type !== "node") tell({ ...event, title });
  };
  return (event) => {
    if (event.type === "plan") {
      const { plan } = event;
      units = Math.max(1, plan.units.length);
      tell({ type: "plan", units: plan.units.map(({ title }) => title), left: plan.left });
      return;
    }
    if (event.type === "filled") {
      const { text, fault, ends } = event.result;
      tell({
        type: "filled",
        text,
        fault,
        ends: ends.map(({ unit, end }) => ({ title: unit.title, ...end })),
      });
      return;
    }
    const { title } = event.unit;
    if (event.type === "unit") {
      tell({ type: "unit", title });
      work.progress({ done: samples, total: units * budget, unit: "samples", text: title });
    } else if (event.type === "search") tellSearch(title, event.event);
    else if (event.type === "place") tell({ type: "root", title, state: event.state });
    else if (event.type === "tried") {
      count(title);
      const [text, fault] = [event.text, event.fault].map((each) => each.slice(0, MOST_TRIED));
      tell({ type: "tried", title, seq: event.seq, text, fault, checks: checks() });
    } else tell({ type: "ended", title, ...event.end });
  };
}
