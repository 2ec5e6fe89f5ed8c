/**
 * What the screen works on, over reloads and while other screens are shown: the text, what Lean says of it, and the search that was
 * asked for last. The server searches; this follows it.
 */
import { effect, signal } from "@preact/signals";
import { isFault, messageOf } from "../backend/backend.ts";
import { followJob } from "../backend/follow.ts";
import type { JobEvent } from "../backend/wire.ts";
import { announce } from "../state/notices.ts";
import { newId, type Studio } from "../state/studio.ts";
import { Checks } from "./checks.ts";
import { SearchModel, type Unit } from "./search-model.ts";

export const KINDS = {
  rmaxts: "Tree search",
  resume: "Go on from what holds",
  sample: "Whole proofs",
} as const;

export interface SearchFields {
  readonly search: keyof typeof KINDS;
  readonly budget: number;
  /** Null for one by chance. */
  readonly seed: number | null;
}

/** A search that was asked for. */
export interface Asked extends SearchFields {
  readonly id: string;
  readonly model: string;
  readonly source: string;
  readonly started: number;
}

export interface Search {
  readonly asked: Asked;
  readonly news: SearchModel;
  /** What is done, in words, before the first generation. */
  readonly doing: string;
  readonly ended: "done" | "stopped" | "failed" | "interrupted" | null;
  readonly error: string | null;
  /** Milliseconds since 1970: when it ended. */
  readonly until: number | null;
  /** Whether the server does not answer just now. */
  readonly lost: boolean;
}

const TEXT = "studio.prove.text";
const FIELDS = "studio.prove.fields";
const ASKED = "studio.prove.asked";
const RESULT = "studio.prove.result";

/** Milliseconds between two looks of the page at a search that runs. */
const SHOW = 120;

export const EXAMPLE = `theorem swap_and (p q : Prop) (h : p ∧ q) : q ∧ p := by
  sorry
`;

function read<T>(key: string, isOne: (value: unknown) => boolean): T | null {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(key) ?? "null");
    return isOne(value) ? (value as T) : null;
  } catch {
    return null;
  }
}

function keep(key: string, value: unknown): void {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // Without storage, or without room in it, it lasts until the page is closed.
  }
}

const isFields = (value: unknown) => {
  const { search, budget, seed } = (value ?? {}) as SearchFields;
  return (
    Object.hasOwn(KINDS, search ?? "") &&
    Number.isSafeInteger(budget) &&
    (seed === null || Number.isSafeInteger(seed))
  );
};
const isAsked = (value: unknown) => {
  const { id, source, model } = (value ?? {}) as Asked;
  return isFields(value) && [id, source, model].every((each) => typeof each === "string");
};

/** A search that has ended, without its trees. */
interface Result {
  readonly asked: Asked;
  readonly ended: NonNullable<Search["ended"]>;
  readonly error: string | null;
  readonly until: number;
  readonly units: readonly Unit[];
  readonly filled: SearchModel["filled"];
  readonly samples: number;
  readonly checks: number;
}
const isResult = (value: unknown) => {
  const { asked, units, ended } = (value ?? {}) as Result;
  return isAsked(asked) && Array.isArray(units) && typeof ended === "string";
};

const ENDED = { done: "done", canceled: "stopped", failed: "failed", interrupted: "interrupted" } as const;

export class Proving {
  readonly #studio: Studio;
  readonly checks: Checks;
  readonly text = signal(read<string>(TEXT, (value) => typeof value === "string") ?? EXAMPLE);
  readonly cursor = signal(0);
  readonly fields = signal<SearchFields>(
    read(FIELDS, isFields) ?? { search: "rmaxts", budget: 128, seed: null },
  );
  readonly search = signal<Search | null>(null);
  #shown: ReturnType<typeof setTimeout> | undefined;

  constructor(studio: Studio) {
    this.#studio = studio;
    this.checks = new Checks(studio.backend);
    effect(() => keep(FIELDS, this.fields.value));
    this.checks.change(this.text.peek(), true);
    // A check that was lost with the server is asked again when it is back.
    effect(() => {
      if (studio.connection.value.state === "ready" && !this.checks.settled) this.checks.again();
    });
    this.#goOn();
  }

  change(text: string): void {
    this.text.value = text;
    keep(TEXT, text);
    this.checks.change(text);
  }

  /** Follows the search that was under way when the page was left, or shows what it gave. */
  #goOn(): void {
    const asked = read<Asked>(ASKED, isAsked);
    if (asked === null) return;
    this.search.value = begun(asked);
    this.#follow(asked);
  }

  async start(model: string): Promise<void> {
    const fields = this.fields.peek();
    const seed = fields.seed ?? crypto.getRandomValues(new Uint32Array(1))[0];
    const asked: Asked = {
      ...fields,
      seed,
      id: newId(),
      model,
      source: this.text.peek(),
      started: Date.now(),
    };
    this.search.value = begun(asked);
    keep(ASKED, asked);
    const { search, budget, source, id } = asked;
    try {
      await this.#studio.backend.start({ kind: "prove", body: { model, source, search, budget, seed }, id });
    } catch (error) {
      this.#end(asked, "failed", messageOf(error));
      return;
    }
    this.#studio.refresh();
    await this.#follow(asked);
  }

  /** Asks the running search to stop; its end says that it has. @returns whether there was one */
  stop(onFault: (text: string) => void): boolean {
    const search = this.search.peek();
    if (search === null || search.ended !== null) return false;
    this.#studio.stop(search.asked.id).catch((error) => onFault(messageOf(error)));
    return true;
  }

  /** Takes an ended search away. */
  close(): void {
    if (this.search.peek()?.ended === null) return;
    this.search.value = null;
    for (const key of [ASKED, RESULT]) keep(key, null);
  }

  #change(asked: Asked, change: Partial<Search>): void {
    const search = this.search.peek();
    if (search?.asked.id === asked.id) this.search.value = { ...search, ...change };
  }

  /** Shows what has come, some times a second. */
  #show(asked: Asked): void {
    this.#shown ??= setTimeout(() => {
      this.#shown = undefined;
      this.#change(asked, {});
    }, SHOW);
  }

  async #follow(asked: Asked): Promise<void> {
    const { signal: never } = new AbortController();
    const news = this.search.peek()!.news;
    try {
      const events = followJob(this.#studio.backend, asked.id, 0, {
        signal: never,
        onLost: (lost) => this.#change(asked, { lost }),
      });
      for await (const event of events) {
        if (this.search.peek()?.asked.id !== asked.id) return;
        this.#take(asked, news, event);
      }
    } catch (error) {
      const gone = isFault(error, "refused") && error.status === 404;
      const kept = read<Result>(RESULT, isResult);
      if (gone && kept?.asked.id === asked.id) this.#showKept(kept);
      else this.#end(asked, gone ? "interrupted" : "failed", gone ? null : messageOf(error));
    }
    this.#studio.refresh();
  }

  #take(asked: Asked, news: SearchModel, { event }: JobEvent): void {
    if (event.type === "progress") {
      if (event.progress.total === null) this.#change(asked, { doing: event.progress.text });
    } else if (event.type === "proof") {
      news.take(event.news);
      this.#show(asked);
    } else if (event.type === "end") {
      const { state, error, ended } = event.job;
      this.#end(
        asked,
        ENDED[state as keyof typeof ENDED] ?? "done",
        error?.message ?? null,
        ended ?? Date.now(),
      );
    }
  }

  #end(asked: Asked, ended: NonNullable<Search["ended"]>, error: string | null, until = Date.now()): void {
    this.#change(asked, { ended, error, until, lost: false });
    const search = this.search.peek();
    if (search?.asked.id !== asked.id) return;
    const { units, filled, samples, checks } = search.news;
    const result: Result = {
      ...{ asked, ended, error, until, filled, samples, checks },
      units: units.map((unit) => ({ ...unit, tree: null })),
    };
    keep(RESULT, result);
    const proved = units.filter(({ state }) => state === "proved").length;
    announce(ended === "done" ? `${proved} of ${units.length} proved` : `The search has ended: ${ended}`);
  }

  #showKept({ asked, ended, error, until, units, filled, samples, checks }: Result): void {
    const news = new SearchModel();
    news.units.push(...units);
    Object.assign(news, { filled, samples, checks });
    this.search.value = { ...begun(asked), news, ended, error, until };
  }
}

const begun = (asked: Asked): Search => ({
  ...{
    asked,
    news: new SearchModel(),
    doing: "waits for its turn",
    ended: null,
    error: null,
    until: null,
    lost: false,
  },
});
