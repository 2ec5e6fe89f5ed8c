import { expect, it } from "vitest";
import type { ReplyPiece } from "../chat/reply-pieces.ts";
import { chatTemplate } from "../chat/template.ts";
import { testTokenizer } from "../chat/testing.ts";
import { MemoryQueue } from "../jobs/memory-queue.ts";
import { Conversation, type Reply } from "./conversation.ts";
import { processReplies, type ReplyTask } from "./reply-job.ts";
import { scriptedSource } from "./testing-source.ts";

const turn = () => new Promise<void>((resolve) => setTimeout(resolve, 0));

async function talking(replies: readonly string[]) {
  const tokenizer = await testTokenizer("v3");
  const template = chatTemplate(tokenizer, null, { modelType: "deepseek_v3", name: "DeepSeek-V3" });
  const conversation = new Conversation(scriptedSource(tokenizer, replies, turn), tokenizer, template);
  const queue = new MemoryQueue();
  processReplies(queue, conversation);
  const ask = (task: ReplyTask) => queue.add<ReplyTask, ReplyPiece, Reply>("reply", task);
  return { conversation, queue, ask };
}

async function textOf(events: AsyncIterable<{ readonly event: ReplyPiece }>): Promise<string> {
  let text = "";
  for await (const { event } of events) if (event.kind === "content") text += event.text;
  return text;
}

it("answers in turn, with any reader, and changes the conversation", async () => {
  const { conversation, queue, ask } = await talking(["I am fine.", "And you?", "Again.", "Edited."]);
  await using _queue = queue;
  const first = await ask({ ask: "send", content: "How are you?", settings: {} });
  const second = await ask({ ask: "send", content: "Good.", settings: {} });
  expect((await second.result()).content).toBe("And you?");
  expect(await textOf(first.events())).toBe("I am fine.");
  const whole = await textOf(second.events());
  const tail = await textOf(second.events(2));
  expect(whole.endsWith(tail) && tail.length < whole.length && tail !== "").toBe(true);
  expect((await (await ask({ ask: "regenerate", settings: {} })).result()).content).toBe("Again.");
  const edited = await ask({ ask: "edit", turn: 1, content: "Hello!", settings: {} });
  expect((await edited.result()).content).toBe("Edited.");
  expect(conversation.messages.map(({ content }) => content)).toEqual(["Hello!", "Edited."]);
  await expect((await ask({ ask: "edit", turn: 9, content: "a", settings: {} })).result()).rejects.toThrow(
    /no such message|message/,
  );
});

it("gives the reply as far as it came when it is canceled", async () => {
  const long = "one two three four five six seven eight nine ten";
  const { conversation, queue, ask } = await talking([long]);
  await using _queue = queue;
  const job = await ask({ ask: "send", content: "Count.", settings: {} });
  for await (const _ of job.events()) break;
  await job.cancel();
  const { content, stats } = await job.result();
  expect(stats.stopReason).toBe("aborted");
  expect(long.startsWith(content) && content !== "" && content !== long).toBe(true);
  expect(conversation.messages.at(-1)!.content).toBe(content);
});
