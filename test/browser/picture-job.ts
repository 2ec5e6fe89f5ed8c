/**
 * What the browser test asks about pictures on both sides, Node and Chromium: from the bytes of a file to ids, text and
 * boxes, with the model in the same thread, and from a host. Packages come as arguments, so that this file loads in either.
 */
import { type EnginePackage, modelFiles, plainChat } from "./chat-request.ts";
import type { VisionPackage } from "./image-job.ts";
import type { DeepseekPackage } from "./ten-steps.ts";

export type ChatPackage = typeof import("../../src/chat/index.ts");
type EngineChannel = import("../../src/engine/index.ts").EngineChannel;
type EngineClient = import("../../src/engine/index.ts").EngineClient;
type GenerationJob = import("../../src/engine/index.ts").GenerationJob;
type GroundedBox = import("../../src/vision/index.ts").GroundedBox;
type ImagePart = import("../../src/chat/index.ts").ImagePart;
type MessagePart = import("../../src/chat/index.ts").MessagePart;

export interface PicturePackages {
  readonly deepseek: DeepseekPackage;
  readonly engine: EnginePackage;
  readonly chat: ChatPackage;
  readonly vision: VisionPackage;
}

/** A picture and what is asked about it: where a phrase is, or a question. */
export interface PictureCase {
  /** Path of the file. */
  readonly file: string;
  readonly find?: string;
  readonly question?: string;
}

/** The bytes of a file, by its path in the site. */
export type ReadFile = (path: string) => Promise<Uint8Array>;

export interface PictureAnswer {
  readonly content: string;
  /** SHA-256 of the picture's embeddings. */
  readonly seen: string;
  /** Of the answer, from `generate`. */
  readonly ids: readonly number[];
  readonly stats: readonly [promptTokens: number, imageTokens: number];
  readonly views: number;
  readonly boxes: readonly GroundedBox[];
}

const most = 60;

async function sha256(bytes: Uint8Array): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes.slice()));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The message of a case. With `find` the tags are control tokens. */
async function messageOf({ file, find, question }: PictureCase, read: ReadFile): Promise<MessagePart[]> {
  const image: MessagePart = { type: "image", image: await read(file), name: file };
  if (find === undefined) return [image, { type: "text", text: question! }];
  const token = (name: "<|ref|>" | "<|/ref|>") => ({ type: "token", token: name }) as const;
  return [image, token("<|ref|>"), { type: "text", text: find }, token("<|/ref|>")];
}

/** Loads the model of a folder, and answers each case as a conversation of its own and as a prompt of ids. */
export async function pictureAnswers(
  { deepseek, engine, chat, vision }: PicturePackages,
  folder: string,
  cases: readonly PictureCase[],
  read: ReadFile,
): Promise<readonly PictureAnswer[]> {
  const files = new Map<string, Uint8Array>();
  for (const name of modelFiles(folder)) files.set(name, await read(`${folder}/${name}`));
  await using device = await deepseek.createCpuDevice({ threads: 2, relaxed: false });
  await using opened = await deepseek.loadFolder(deepseek.memoryFolder(files, folder), { device });
  const { model } = opened;
  const tokenizer = opened.tokenizer!;
  const template = chat.modelTemplate(opened, tokenizer);
  using images = new engine.ImageEncoder(opened.vision!.model, () => opened.vision!.imageProcessor());
  const answers: PictureAnswer[] = [];
  for (const each of cases) {
    const content = await messageOf(each, read);
    using conversation = new engine.Conversation(model, tokenizer, template, { images });
    const reply = conversation.send(content, { maxTokens: most, temperature: 0 });
    let views = 0;
    let next = await reply.next();
    for (; !next.done; next = await reply.next()) if (next.value.kind === "image") views++;
    const { value } = next;

    const prompt = template.prompt([{ role: "user", content }]);
    const encoded = await images.encode(content.filter((part) => part.type === "image"));
    const embeddings = (await encoded[0].embeddings.data()) as Float32Array;
    const seen = await sha256(
      new Uint8Array(embeddings.buffer, embeddings.byteOffset, embeddings.byteLength),
    );
    const ids: number[] = [];
    const stopIds = [...model.config.eosTokenIds, ...template.stopIds];
    const options = { maxTokens: most, temperature: 0, stopIds, vocabularySize: tokenizer.vocabSize };
    for await (const { id } of engine.generate(model, engine.chatPrompt(prompt, encoded), options))
      ids.push(id);
    for (const image of encoded) image[Symbol.dispose]();

    const picture = await vision.decodeImage(await read(each.file), { name: each.file });
    const { promptTokens, imageTokens } = value.stats;
    const { items } = vision.parseGrounding(value.content, picture);
    answers.push({
      content: value.content,
      seen,
      ids,
      stats: [promptTokens, imageTokens],
      views,
      boxes: items,
    });
  }
  return answers;
}

/** Hash of a picture with boxes drawn on it; `shown` may put it somewhere and say what can be read there. */
export async function drawnHash(
  { vision }: Pick<PicturePackages, "vision">,
  file: string,
  boxes: readonly GroundedBox[],
  read: ReadFile,
  shown: (picture: { width: number; height: number; rgb: Uint8Array }) => Uint8Array = ({ rgb }) => rgb,
): Promise<string> {
  const picture = await vision.decodeImage(await read(file), { name: file });
  return sha256(shown(vision.drawBoxes(picture, boxes)));
}

export interface HostedAnswer {
  readonly content: string;
  readonly ids: readonly number[];
  readonly usage: unknown;
  readonly phrases: unknown;
}

async function ask(client: EngineClient, content: readonly MessagePart[], grounding: boolean, give = false) {
  const messages = [{ role: "user", content }] as const;
  const request = { ...plainChat, messages, grounding, maxTokens: most, temperature: 0, ignoreEos: false };
  const answer = { content: "", ids: [] as number[], usage: {} as unknown, phrases: [] as unknown[] };
  for await (const event of await client.generate(request, { giveImages: give })) {
    if (event.type === "finished") {
      answer.usage = event.usage;
      continue;
    }
    answer.content += event.delta.content ?? "";
    answer.ids.push(...(event.delta.logprobs ?? []).map(({ id }) => id));
    answer.phrases.push(...(event.delta.grounding ?? []));
  }
  return answer;
}

export interface HostedReport {
  readonly answers: readonly HostedAnswer[];
  /** Bytes that are left here of a picture that was given away. */
  readonly left: number;
  /** What is wrong with files that are none, too large, or cut short. */
  readonly refusals: readonly (readonly [file: string, code: string | null, message: string])[];
  /** How canceled jobs end: one that writes, one whose picture is being seen. */
  readonly canceled: readonly string[];
  /** After that: what runs, what waits, what waits to be seen, and how many pictures of the second were seen. */
  readonly counts: readonly number[];
  /** Whether the first question gets its answer again: from bytes that were given away, and after all this. */
  readonly same: readonly boolean[];
}

/** Asks the host behind `channel`, ends some jobs early, then shuts it down. */
export async function hostedReport(
  engine: EnginePackage,
  channel: EngineChannel,
  cases: readonly PictureCase[],
  bad: readonly string[],
  large: string,
  read: ReadFile,
): Promise<HostedReport> {
  const client = await engine.EngineClient.connect(channel);
  const answers: HostedAnswer[] = [];
  for (const each of cases)
    answers.push(await ask(client, await messageOf(each, read), each.find !== undefined));

  const given = await messageOf(cases[0], read);
  const [picture] = given;
  const again = await ask(client, given, cases[0].find !== undefined, true);
  const left = picture.type === "image" ? (picture.image as Uint8Array).length : -1;

  const refusals: (readonly [string, string | null, string])[] = [];
  for (const file of bad) {
    const fault = await ask(client, await messageOf({ file, question: "describe" }, read), false).then(
      () => ({ code: null, message: "it was answered" }),
      (error: { fault?: { code: string | null; message: string } }) => error.fault ?? Promise.reject(error),
    );
    refusals.push([file, fault.code, fault.message]);
  }

  const canceled: string[] = [];
  const ended = async (job: GenerationJob) => {
    await job.job.result().catch((error: Error) => canceled.push(error.name));
  };
  const options = { ...plainChat, temperature: 0, maxTokens: 800, ignoreEos: true };
  const begin = (content: readonly MessagePart[]) =>
    client.generate({ ...options, messages: [{ role: "user", content }] });
  const writing = await begin(await messageOf({ file: cases[0].file, question: "describe" }, read));
  for await (const event of writing.job.events()) if (event.event.type === "deltas") break;
  await writing.cancel();
  await ended(writing);

  const [file] = await messageOf({ file: large, question: "" }, read);
  const text = { type: "text", text: "describe" } as const;
  const { encoded } = (await client.figures())!.images!;
  // The same picture in two sizes: it stops between the two at the latest.
  const seeing = await begin([file, { ...(file as ImagePart), maxTiles: 1 }, text]);
  await seeing.cancel();
  await ended(seeing);

  const last = await ask(client, await messageOf(cases[0], read), cases[0].find !== undefined);
  let counts: readonly number[] = [];
  // Figures may be those of before where the engine takes long.
  for (let i = 0; i < 50 && String(counts) !== "0,0,0,0"; i++) {
    const { images, running, waiting } = (await client.figures())!;
    counts = [running, waiting, images!.waiting, images!.encoded - encoded];
  }
  const same = [again, last].map(
    ({ content, ids }) => content === answers[0].content && String(ids) === String(answers[0].ids),
  );
  await client.shutdown();
  return { answers, left, refusals, canceled, counts, same };
}
