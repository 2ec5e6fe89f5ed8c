/** Replies of a conversation as jobs (`src/jobs`). */
import type { Message, MessagePart } from "../chat/messages.ts";
import type { JobContext, JobQueue } from "../jobs/job.ts";
import type { Conversation, Reply, ReplyEvent, ReplySettings } from "./conversation.ts";

/** What is asked of the conversation: see its functions of these names. */
export type ReplyTask = (
  | { readonly ask: "send"; readonly content: string | readonly MessagePart[] }
  | { readonly ask: "sendToolResults"; readonly results: readonly Message[] }
  | { readonly ask: "regenerate" }
  | { readonly ask: "edit"; readonly turn: number; readonly content: string | readonly MessagePart[] }
) & { readonly settings: Omit<ReplySettings, "signal" | "constraint"> };

/**
 * Lets `queue` reply: jobs of the kind `reply` take a `ReplyTask`, tell every `ReplyEvent` and give a `Reply`, one at a
 * time. Canceled, a job gives the reply as far as it came, which stays in the history.
 */
export function processReplies(queue: JobQueue, conversation: Conversation): void {
  queue.process(
    "reply",
    async (task: ReplyTask, { emit, signal }: JobContext<ReplyEvent>): Promise<Reply> => {
      const pieces = begin(conversation, task, { ...task.settings, signal });
      for (;;) {
        const next = await pieces.next();
        if (next.done) return next.value;
        emit(next.value);
      }
    },
  );
}

function begin(conversation: Conversation, task: ReplyTask, settings: ReplySettings) {
  switch (task.ask) {
    case "send":
      return conversation.send(task.content, settings);
    case "sendToolResults":
      return conversation.sendToolResults(task.results, settings);
    case "regenerate":
      return conversation.regenerate(settings);
    case "edit":
      return conversation.edit(task.turn, task.content, settings);
  }
}
