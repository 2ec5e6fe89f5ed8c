/**
 * Drives a search: hands out places to go on from, lets the model write on from them in batches, checks what it wrote while the
 * next batch is written, and counts the results. Places are handed out as checks end, so generation waits for a slow verifier.
 */
import { ConfigError, FormatError } from "../../tensor/errors.ts";
import { Random } from "../../tensor/random.ts";
import { faultOf, type LeanProblem, type LeanSession } from "../lean/session.ts";
import { withSorry } from "../text/problem.ts";
import { answerOf, type PromptProblem, resumePrompt, STOP } from "../text/prompts.ts";
import { stateText } from "../text/states.ts";
import { type Attempt, attemptSeed, type Outcome } from "./attempt.ts";
import { ProofChecks } from "./check-proof.ts";
import { type GeneratedText, generateAll, type TextGenerator } from "./generator.ts";
import { Deferred, Inbox } from "./inbox.ts";
import type { Lease, SearchPolicy } from "./policy.ts";
import { ResumedChains } from "./resume.ts";
import { WholeProofs } from "./sample.ts";
import { type SearchOptions, type SearchSettings, searchSettings } from "./search-options.ts";
import { ProofTree } from "./tree.ts";

/** What is to be proved: as prompts show it, and as the verifier is asked (`leanProblem`). */
export interface ProofTask extends PromptProblem {
  readonly problem: LeanProblem;
}

/** What writes and what checks. */
export interface SearchTools {
  readonly generator: TextGenerator;
  readonly lean: LeanSession;
}

/** What a search has used so far, a continued one all together. */
export interface SearchCost {
  readonly samples: number;
  readonly tokens: number;
  /** Questions to the verifier of this process. */
  readonly checks: number;
}

export type SearchEvent =
  /** The statement elaborates; its state before any tactic. */
  | { readonly type: "root"; readonly state: string }
  /** A generation has ended: what logs keep. */
  | ({ readonly type: "sample" } & Attempt)
  /** A node is new (`rmaxts`), or a chain has moved (`resume`): the states on the way to it. */
  | { readonly type: "node"; readonly tree: number; readonly node: number; readonly path: readonly string[] }
  /** `code`: the whole declaration. Once for each text. */
  | {
      readonly type: "proved";
      readonly tree: number;
      readonly seq: number;
      readonly proof: string;
      readonly code: string;
      readonly axioms: readonly string[];
      readonly cost: SearchCost;
    }
  /** All generations are spent without a proof: the verified text that came furthest. */
  | { readonly type: "exhausted"; readonly best: string; readonly state: string; readonly cost: SearchCost };

/** A generation on its way. */
interface Running {
  readonly tree: number;
  readonly seq: number;
  readonly lease: Lease;
  readonly prompt: string;
  readonly seed: number;
}

/**
 * Searches a proof until the budget is spent or `stop` says so. Leaving the iteration stops everything at once.
 * @throws FormatError for a statement that Lean does not accept, with its message
 * @throws ConfigError for an option out of range, or a log of another search
 * @throws the signal's reason, and errors of the tools
 */
export async function* search(
  task: ProofTask,
  tools: SearchTools,
  options: SearchOptions = {},
): AsyncGenerator<SearchEvent, void, undefined> {
  const settings = searchSettings(options, tools.lean.slots);
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  signal.throwIfAborted();
  const root = await rootState(task, tools.lean, settings, signal);
  yield { type: "root", state: root };
  const run = new Run(task, tools, settings, root, signal);
  try {
    yield* run.events();
    yield* run.conclusion();
  } finally {
    stop.abort(new Error("the search has ended"));
    await run.settled();
  }
}

/** State of the statement before any tactic. */
async function rootState(
  { problem, statement }: ProofTask,
  lean: LeanSession,
  { timeout, heartbeats }: SearchSettings,
  signal: AbortSignal,
): Promise<string> {
  const { preamble, trustedPreamble, imports } = problem;
  // As a tactic, so that there is a state.
  const code = withSorry(statement).replace(/:=\s*sorry$/, ":= by sorry");
  const options = { steps: true, timeout, heartbeats, signal };
  const answer = await lean.check({ preamble, trustedPreamble, imports, code }, options);
  const fault = faultOf(answer);
  if (fault !== "") {
    throw new FormatError("Lean does not accept the statement", {
      where: statement.slice(0, 200),
      found: fault,
    });
  }
  return stateText(answer.steps.at(-1)?.goalsBefore ?? []);
}

class Run {
  readonly #task: ProofTask;
  readonly #generator: TextGenerator;
  readonly #settings: SearchSettings;
  readonly #signal: AbortSignal;
  readonly #checks: ProofChecks;
  readonly #policies: SearchPolicy[] = [];
  readonly #root: string;
  /** Next number of each tree, and numbers that a log has answered. */
  readonly #next: number[] = [];
  readonly #logged = new Map<string, Attempt>();
  readonly #proofs = new Set<string>();
  readonly #work = new Set<Promise<void>>();
  readonly #inRounds: boolean;
  #samples = 0;
  #tokens = 0;
  /** Enough was found: nothing new begins. */
  #closing = false;

  constructor(
    task: ProofTask,
    tools: SearchTools,
    settings: SearchSettings,
    root: string,
    signal: AbortSignal,
  ) {
    this.#task = task;
    this.#generator = tools.generator;
    this.#settings = settings;
    this.#signal = signal;
    this.#root = root;
    this.#inRounds = settings.order === "rounds" || settings.parallel === 1;
    const { segmentation, cutProofs, timeout, heartbeats, nodeTokens } = settings;
    this.#checks = new ProofChecks(tools.lean, task.problem, task.statement, {
      ...{ segmentation, cutProofs, timeout, heartbeats, signal },
      steps: settings.search !== "sample" || cutProofs,
      fits: (text) => tools.generator.countTokens(text) < nodeTokens,
    });
    for (const attempt of settings.log ?? []) {
      const key = keyOf(attempt);
      if (attempt.tree >= settings.trees || attempt.seq >= settings.samples || this.#logged.has(key)) {
        throw misfit(attempt, "numbers within the budget, each once");
      }
      this.#logged.set(key, attempt);
    }
  }

  events(): AsyncGenerator<SearchEvent> {
    return this.#inRounds ? this.#rounds() : this.#arrivals();
  }

  /**
   * Rounds of `parallel` generations, counted in the order in which they began: the same seed gives the same search. Generations
   * of the log are answered by it.
   */
  async *#rounds(): AsyncGenerator<SearchEvent> {
    for (;;) {
      const round: Running[] = [];
      while (round.length < this.#settings.parallel) {
        const running = this.#begin();
        if (running === null) break;
        round.push(running);
      }
      if (round.length === 0) return;
      const outcomes = new Map<Running, Promise<Outcome>>();
      const written: Running[] = [];
      for (const running of round) {
        const logged = this.#logged.get(keyOf(running));
        if (logged === undefined) written.push(running);
        else outcomes.set(running, Promise.resolve(logged));
      }
      if (written.length > 0) this.#write(written, (running, outcome) => outcomes.set(running, outcome));
      for (const running of round) {
        const outcome = await (outcomes.get(running) as Promise<Outcome>);
        yield* this.#count(running, outcome, this.#logged.get(keyOf(running)));
        if (this.#stopsAtOnce) return;
      }
    }
  }

  /** Generations are counted as their checks end. The log is counted first, in its order. */
  async *#arrivals(): AsyncGenerator<SearchEvent> {
    const { parallel, batch } = this.#settings;
    for (const attempt of this.#logged.values()) {
      const { tree, seq, node, entry } = attempt;
      yield* this.#count(
        { tree, seq, lease: this.#policy(tree).lease(node, entry), prompt: "", seed: 0 },
        attempt,
        attempt,
      );
    }
    if (this.#stopsAtOnce) return;
    const inbox = new Inbox<[Running, Outcome]>();
    let waiting: Running[] = [];
    let active = 0;
    let writing = false;
    for (;;) {
      while (active < parallel) {
        const running = this.#begin();
        if (running === null) break;
        waiting.push(running);
        active++;
      }
      if (active === 0) return;
      if (!writing && waiting.length > 0 && (waiting.length >= batch || waiting.length === active)) {
        writing = true;
        const written = this.#write(waiting, (running, outcome) => {
          outcome.then(
            (value) => inbox.put([running, value]),
            (error) => inbox.fail(error),
          );
        });
        written.then(() => {
          writing = false;
          inbox.wake();
        });
        waiting = [];
      }
      for (const [running, outcome] of await inbox.take()) {
        active--;
        yield* this.#count(running, outcome);
        if (this.#stopsAtOnce) return;
      }
      if (this.#closing) {
        for (const { tree, lease } of waiting) this.#policy(tree).release(lease);
        active -= waiting.length;
        waiting = [];
      }
    }
  }

  /** How a search without a proof ended. */
  *conclusion(): Generator<SearchEvent> {
    if (this.#proofs.size > 0) return;
    const found = this.#policies.map((policy) => policy.best());
    const best = found.reduce((a, b) => (b.code.length > a.code.length ? b : a), {
      code: "",
      state: this.#root,
    });
    yield { type: "exhausted", best: best.code, state: best.state, cost: this.#cost() };
  }

  get #stopsAtOnce(): boolean {
    return this.#closing && this.#settings.stop === "first";
  }

  /** Waits until nothing runs that could still write or check. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#work);
  }

  #cost(): SearchCost {
    return { samples: this.#samples, tokens: this.#tokens, checks: this.#checks.count };
  }

  /** Tree and number of the next generation; null if none may begin. Trees follow each other. */
  #nextNumber(): { tree: number; seq: number } | null {
    if (this.#closing) return null;
    const { trees, samples } = this.#settings;
    for (let tree = Math.max(this.#next.length - 1, 0); tree < trees; tree++) {
      let seq = this.#next[tree] ?? 0;
      // In rounds the log answers when its turn comes; otherwise it has been counted already.
      while (!this.#inRounds && seq < samples && this.#logged.has(keyOf({ tree, seq }))) seq++;
      this.#next[tree] = seq;
      if (seq < samples) return { tree, seq };
    }
    return null;
  }

  #policy(tree: number): SearchPolicy {
    this.#policies[tree] ??= policyOf(this.#settings, this.#root);
    return this.#policies[tree];
  }

  /** Hands out a place; null if no more may begin. */
  #begin(): Running | null {
    const number = this.#nextNumber();
    if (number === null) return null;
    const { tree, seq } = number;
    this.#next[tree] = seq + 1;
    const { style, shots, tacticState } = this.#settings;
    const seed = attemptSeed(this.#settings.seed, tree, seq);
    const lease = this.#policy(tree).select(new Random(seed, 1).uniform());
    const place = { code: lease.code, comment: tacticState ? lease.comment : "" };
    const prompt = resumePrompt(this.#task, place, { mode: this.#mode(tree, seq), style, shots });
    return { tree, seq, lease, prompt, seed };
  }

  #mode(tree: number, seq: number): "cot" | "non-cot" {
    const { mode, trees } = this.#settings;
    if (mode !== "mix") return mode;
    return (trees % 2 === 0 ? tree : tree + seq) % 2 === 0 ? "non-cot" : "cot";
  }

  /** Writes a batch; `checked` gets each text's outcome as a promise once it is written, and all of them if writing fails. */
  #write(
    batch: readonly Running[],
    checked: (running: Running, outcome: Promise<Outcome>) => void,
  ): Promise<void> {
    const { maxTokens, temperature, topP } = this.#settings;
    const deferred = batch.map((running) => {
      const outcome = new Deferred<Outcome>();
      checked(running, outcome.promise);
      return outcome;
    });
    const write = async () => {
      const open = new Set(batch.keys());
      const texts = generateAll(
        this.#generator,
        batch.map(({ prompt }) => prompt),
        {
          seeds: batch.map(({ seed }) => seed),
          maxTokens,
          temperature,
          topP,
          stop: [STOP],
          signal: this.#signal,
        },
      );
      for await (const text of texts) {
        if (!open.delete(text.index)) {
          throw new ConfigError("a generator gave a text twice, or one that was not asked", {
            where: this.#generator.model,
            ...{ name: "index", found: text.index },
          });
        }
        const { resolve, reject } = deferred[text.index];
        this.#track(this.#outcome(batch[text.index], text).then(resolve, reject));
      }
      this.#signal.throwIfAborted();
      if (open.size > 0) {
        throw new ConfigError("a generator left prompts without a text", {
          where: this.#generator.model,
          ...{ expected: batch.length, found: batch.length - open.size },
        });
      }
    };
    const written = write().catch((error) => {
      for (const { reject } of deferred) reject(error);
    });
    this.#track(written);
    return written;
  }

  #track(work: Promise<void>): void {
    this.#work.add(work);
    work.then(() => this.#work.delete(work));
  }

  async #outcome({ lease }: Running, { text, tokens, end }: GeneratedText): Promise<Outcome> {
    return { text, tokens, end, ...(await this.#checks.check(lease.code + answerOf(text))) };
  }

  /** Counts what ended. `logged`: what the log says of it, which must be the same. */
  *#count({ tree, seq, lease }: Running, outcome: Outcome, logged?: Attempt): Generator<SearchEvent> {
    const { text, tokens, end, verdict, detail, axioms, proof, segments } = outcome;
    const { node, entry } = lease;
    const policy = this.#policy(tree);
    const { newNodes, reward, created } = policy.complete(lease, segments, proof !== null);
    this.#samples++;
    this.#tokens += tokens;
    const counted = { tree, seq, node, entry, newNodes, reward };
    if (logged !== undefined) {
      for (const [name, value] of Object.entries(counted)) {
        if (logged[name as keyof Attempt] !== value) throw misfit(logged, `${name} ${value}`);
      }
    } else {
      yield { type: "sample", ...counted, text, tokens, end, verdict, detail, axioms, proof, segments };
      for (const id of created) yield { type: "node", tree, node: id, path: policy.path(id) };
    }
    if (proof !== null && !this.#proofs.has(proof)) {
      this.#proofs.add(proof);
      yield {
        type: "proved",
        tree,
        seq,
        proof,
        code: this.#task.statement + proof,
        axioms,
        cost: this.#cost(),
      };
    }
    const { stop, interval } = this.#settings;
    if (this.#proofs.size === 0 || stop === "never") return;
    if (stop === "first" || this.#samples % interval === 0) this.#closing = true;
  }
}

const keyOf = ({ tree, seq }: { readonly tree: number; readonly seq: number }) => `${tree}/${seq}`;

function misfit(attempt: Attempt, expected: string): ConfigError {
  return new ConfigError("the log is of another search, or damaged", {
    where: `tree ${attempt.tree}, generation ${attempt.seq}`,
    expected,
    found: JSON.stringify({
      node: attempt.node,
      entry: attempt.entry,
      newNodes: attempt.newNodes,
      reward: attempt.reward,
    }),
    hint: "Begin the search anew, without this log.",
  });
}

/** What chooses the places of a search. @param root state of the statement */
export function policyOf(settings: SearchSettings, root: string): SearchPolicy {
  const { search, gamma, bandit, reward, keys, patience } = settings;
  switch (search) {
    case "sample":
      return new WholeProofs(root);
    case "resume":
      return new ResumedChains({ root, patience, keys });
    case "rmaxts":
      return new ProofTree({ root, gamma, bandit, reward, keys });
  }
}
