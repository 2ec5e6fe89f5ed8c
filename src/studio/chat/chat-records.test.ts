/** Records of conversations: the tree, what an answer's events make of a turn, bodies, the store, files. */
import { describe, expect, it } from "vitest";
import { encodePng } from "../../vision/image/png-writer.ts";
import type { BackendError } from "../backend/backend.ts";
import { BackendError as Refusal } from "../backend/backend.ts";
import { followJob } from "../backend/follow.ts";
import type { JobEvent } from "../backend/wire.ts";
import { Answer, speedOf } from "./answer.ts";
import {
  childrenOf,
  newConversation,
  newTurn,
  pathOf,
  showing,
  subtree,
  type Turn,
  titleOf,
} from "./conversation.ts";
import { exportConversations, importConversations, readExported } from "./exchange.ts";
import { readPicture } from "./pictures.ts";
import { answerBody } from "./request.ts";
import { MemoryStore } from "./store.ts";

const turn = (id: string, parent: string | null, created: number, fields: Partial<Turn> = {}): Turn =>
  newTurn({ id, conversation: "c", parent, role: "user", ended: "whole", content: id, ...fields }, created);

const treeOf = (...turns: readonly Turn[]) => new Map(turns.map((each) => [each.id, each]));

describe("the tree of a conversation", () => {
  const turns = treeOf(
    turn("a", null, 1),
    turn("b", "a", 2, { role: "assistant" }),
    turn("b2", "a", 3, { role: "assistant" }),
    turn("c", "b", 4),
    turn("gone", "b2", 5, { deleted: 9 }),
  );
  const ids = (list: readonly Turn[]) => list.map(({ id }) => id);

  it("shows what was chosen, else the newest", () => {
    expect(ids(pathOf(turns, {}))).toEqual(["a", "b2"]);
    expect(ids(pathOf(turns, showing(turns, {}, "c")))).toEqual(["a", "b", "c"]);
    expect(ids(pathOf(turns, { a: "no such turn" }))).toEqual(["a", "b2"]);
    expect(ids(childrenOf(turns, "a"))).toEqual(["b", "b2"]);
  });

  it("has everything that follows a turn, and ends where records go in a circle", () => {
    expect(ids(subtree(turns, "a")).sort()).toEqual(["a", "b", "b2", "c", "gone"]);
    const circle = treeOf(turn("x", "y", 1), turn("y", "x", 2), turn("z", "z", 3));
    expect(pathOf(circle, {})).toEqual([]);
    expect(subtree(circle, "x")).toHaveLength(2);
    expect(showing(circle, {}, "x")).toEqual({ y: "x", x: "y" });
  });

  it("is named by the first words", () => {
    expect(titleOf("  Why  is\tthis?\nMore")).toBe("Why is this?");
    expect(titleOf("word ".repeat(40))).toHaveLength(58);
  });
});

const event = (number: number, time: number, given: JobEvent["event"]): JobEvent => ({
  number,
  time,
  event: given,
});
const chunk = (number: number, time: number, delta: object, reason: string | null = null) =>
  event(number, time, { type: "chunk", chunk: { choices: [{ index: 0, delta, finish_reason: reason }] } });

describe("an answer", () => {
  const asked = newTurn(
    { id: "t", conversation: "c", parent: null, role: "assistant", job: { id: "j", after: 0 } },
    0,
  );

  it("grows by chunks, with times, and goes on after any event", () => {
    const events = [
      event(1, 1000, {
        type: "progress",
        progress: { done: 1, total: 2, unit: "tokens", text: "reads the prompt" },
      }),
      chunk(2, 1500, { reasoning_content: "hm" }),
      chunk(3, 3000, { content: "one " }),
      chunk(4, 3500, { content: "two", grounding: [{ label: "x", image: 0, boxes: [] }] }),
      chunk(5, 3600, { tool_calls: [{ index: 0, id: "k", function: { name: "f", arguments: '{"a"' } }] }),
      chunk(6, 3700, { tool_calls: [{ index: 0, function: { arguments: ":1}" } }] }, "length"),
      event(7, 3800, {
        type: "chunk",
        chunk: { choices: [], usage: { prompt_tokens: 20, completion_tokens: 9 } },
      }),
    ];
    const whole = new Answer(asked, 900);
    for (const each of events) whole.read(each);
    expect(whole.turn(asked)).toMatchObject({
      content: "one two",
      reasoning: "hm",
      ended: "length",
      calls: [{ id: "k", name: "f", arguments: '{"a":1}' }],
      phrases: [{ label: "x" }],
      job: { after: 7 },
      figures: { promptTokens: 20, tokens: 9, firstToken: 600, writing: 2200, thought: 1500 },
    });
    expect(speedOf(whole.figures)).toBeCloseTo(8 / 2.2);
    // As after a reload: the first three events are in the turn already.
    const first = new Answer(asked, 900);
    for (const each of events.slice(0, 3)) first.read(each);
    const kept = first.turn(asked);
    const second = new Answer(kept, 900);
    for (const each of events.slice(3)) second.read(each);
    expect(second.turn(kept)).toMatchObject({ content: "one two", reasoning: "hm", ended: "length" });
  });

  it("keeps the text when it fails, and says how it ended", () => {
    const end = (state: "failed" | "canceled" | "interrupted" | "done", message?: string) => {
      const answer = new Answer(asked, 0);
      answer.read(chunk(1, 1, { content: "part" }));
      const job = { state, error: message ? { message, code: null } : null };
      answer.read(event(2, 2, { type: "end", job } as JobEvent["event"]));
      return answer.turn(asked);
    };
    expect(end("failed", "no room")).toMatchObject({ content: "part", ended: "failed", error: "no room" });
    expect(end("canceled").ended).toBe("stopped");
    expect(end("interrupted").ended).toBe("interrupted");
    expect(end("done").ended).toBe("whole");
  });
});

describe("following a job", () => {
  it("reads each event once over lost connections, and gives up where the job is unknown", async () => {
    const all = Array.from({ length: 6 }, (_, i) => chunk(i + 1, i, { content: String(i + 1) }));
    const last = event(7, 7, { type: "end", job: {} } as JobEvent["event"]);
    const asked: number[] = [];
    const lost: boolean[] = [];
    const backend = {
      async *events(_: string, after: number) {
        asked.push(after);
        yield* [...all, last].slice(Math.max(0, after - 1), after + 3);
        if (after < 4) throw new Refusal("lost", "gone");
      },
    };
    const { signal } = new AbortController();
    const read: number[] = [];
    for await (const { number } of followJob(backend, "j", 0, {
      signal,
      onLost: (is) => lost.push(is),
      waits: [0],
    }))
      read.push(number);
    expect(read).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(asked).toEqual([0, 3, 6]);
    expect(lost).toEqual([true, false, true, false]);
    const unknown = {
      // biome-ignore lint/correctness/useYield: it refuses before the first event
      async *events(): AsyncGenerator<JobEvent> {
        throw new Refusal("refused", "no such job", 404);
      },
    };
    const reading = followJob(unknown, "j", 0, { signal, waits: [0] }).next();
    await expect(reading).rejects.toSatisfy((error: BackendError) => error.status === 404);
  });
});

describe("bodies", () => {
  const conversation = {
    ...newConversation("c", 0),
    system: "Be brief.",
    settings: {
      temperature: 0.5,
      stop: "a\n\nb",
      thinking: "disabled",
      schema: '{"type":"object"}',
    } as const,
  };
  const path = [
    turn("see", null, 1, { pictures: ["h"] }),
    turn("half", "see", 2, {
      role: "assistant",
      reasoning: "why",
      calls: [{ id: "k", name: "f", arguments: "{}" }],
    }),
  ];

  it("say what was said, with pictures, settings, and what is gone on with", () => {
    const body = answerBody(conversation, path, "m", new Map([["h", "data:image/png;base64,AA"]]), true);
    expect(body).toMatchObject({
      model: "m",
      temperature: 0.5,
      stop: ["a", "b"],
      thinking: { type: "disabled" },
      response_format: { json_schema: { schema: { type: "object" } } },
      continue_final_message: true,
      messages: [
        { role: "system", content: "Be brief." },
        {
          role: "user",
          content: [{ image_url: { url: "data:image/png;base64,AA" } }, { type: "text", text: "see" }],
        },
        { role: "assistant", content: "half", reasoning_content: "why", tool_calls: [{ id: "k" }] },
      ],
    });
    expect(() => answerBody({ ...conversation, settings: { schema: "{" } }, path, "m", new Map())).toThrow(
      /schema is not JSON/,
    );
  });

  it("of raw completion are the text alone", () => {
    const body = answerBody(
      { ...conversation, mode: "raw", settings: { suffix: "end" } },
      path,
      "m",
      new Map(),
    );
    expect(body).toMatchObject({ prompt: "seehalf", suffix: "end" });
    expect(body.messages).toBeUndefined();
  });
});

describe("what is kept", () => {
  it("does not replace an answer by an older state of it, nor forget what another tab chose", async () => {
    const store = new MemoryStore();
    const job = (after: number, fields: Partial<Turn> = {}) =>
      turn("t", null, 1, { role: "assistant", job: { id: "j", after }, ...fields });
    await store.putTurn(job(5, { ended: "whole", content: "all" }));
    await store.putTurn(job(3, { ended: null, content: "so" }));
    await store.putTurn(job(5, { ended: null, content: "all but the end" }));
    expect((await store.turns("c"))[0].content).toBe("all");
    const mine = await store.putConversation(newConversation("c", 0));
    await store.putConversation({ ...mine, chosen: { a: "theirs", root: "theirs" } });
    const both = await store.putConversation({ ...mine, revision: 0, chosen: { root: "mine" } });
    expect(both).toMatchObject({ revision: 3, chosen: { a: "theirs", root: "mine" } });
    await store.putPicture({ hash: "h", blob: new Blob(), width: 1, height: 1, name: "p" });
    await store.putTurn(turn("p", null, 1, { pictures: ["h"] }));
    await store.purge("c");
    expect([await store.turns("c"), await store.conversations(), await store.picture("h")]).toEqual([
      [],
      [],
      null,
    ]);
  });

  it("goes into a file and comes back under names of its own, checked", async () => {
    const store = new MemoryStore();
    const conversation = {
      ...newConversation("c", 5),
      title: "T",
      chosen: { root: "a" },
      settings: { seed: 3 },
    };
    await store.putConversation(conversation);
    await store.putTurn(turn("a", null, 1));
    await store.putTurn(turn("b", "a", 2, { role: "assistant" }));
    const file = JSON.stringify(await exportConversations(store, await store.conversations()));
    let count = 0;
    const [{ conversation: back, turns }] = readExported(file, () => `n${count++}`, 9).conversations;
    expect(turns.map(({ id, parent, content }) => [id, parent, content])).toEqual([
      ["n0", null, "a"],
      ["n1", "n0", "b"],
    ]);
    expect(back).toMatchObject({ id: "n2", title: "T", chosen: { root: "n0" }, settings: { seed: 3 } });
    for (const bad of ["{", "[]", '{"format":"other"}', '{"format":"deepseek-ts-conversations","version":2}'])
      expect(() => readExported(bad, () => "n", 0)).toThrow(/The file/);
    const odd = JSON.stringify({
      format: "deepseek-ts-conversations",
      version: 1,
      conversations: [
        7,
        {
          conversation: { settings: { seed: "x", evil: 1 }, system: 4 },
          turns: [3, { id: "q", role: "root", pictures: ["../x"], created: -1 }],
        },
      ],
      pictures: { x: { url: "javascript:1" } },
    });
    const read = readExported(odd, () => "n", 7);
    expect(read.pictures).toEqual([]);
    expect(read.conversations[0]).toMatchObject({
      conversation: { settings: {}, system: "" },
      turns: [{ role: "user", pictures: [], created: 7 }],
    });
  });

  it("is kept beside what is there, with pictures by the bytes that they have", async () => {
    const store = new MemoryStore();
    const rgb = new Uint8Array(12);
    const png = new Blob([new Uint8Array(await encodePng({ width: 2, height: 2, rgb }))], {
      type: "image/png",
    });
    const { hash } = await readPicture(png, "dot");
    const url = `data:image/png;base64,${Buffer.from(await png.arrayBuffer()).toString("base64")}`;
    const file = {
      ...{ format: "deepseek-ts-conversations", version: 1 },
      conversations: [
        { conversation: newConversation("c", 5), turns: [turn("a", null, 1, { pictures: [hash] })] },
      ],
      pictures: { [`${"0".repeat(64)}`]: { url, name: "dot" } },
    };
    await store.putConversation(newConversation("c", 5));
    expect(await importConversations(store, new File([JSON.stringify(file)], "a.json"))).toBe(1);
    const [, second] = await store.conversations();
    expect(second.id).not.toBe("c");
    expect(await store.turns(second.id)).toMatchObject([{ content: "a", pictures: [hash] }]);
    expect(await store.picture(hash)).toMatchObject({ width: 2, height: 2, name: "dot" });
  });
});
