/** Opens a model that sees and answers about pictures, in a worker: the page stays free. */
import { groundingMessage, type ImagePart, modelTemplate } from "deepseek-ts/chat";
import { Conversation, ImageEncoder } from "deepseek-ts/engine";
import { type LoadedModel, loadFolder } from "deepseek-ts/pretrained";
import { GroundingStream } from "deepseek-ts/vision";
import type { FromWorker, ToWorker } from "./messages.ts";
import { webFolder } from "./web-folder.ts";

const say = (message: FromWorker) => self.postMessage(message);

let opened: LoadedModel | null = null;
let images: ImageEncoder | null = null;
let running = new AbortController();

async function open(address: string): Promise<void> {
  images?.[Symbol.dispose]();
  await opened?.dispose();
  opened = null;
  const onProgress = ({ done, total }: { done: number; total: number }) =>
    say({ state: `Loading: ${Math.round((100 * done) / total)}%` });
  opened = await loadFolder(webFolder(address.replace(/\/+$/, "")), { onProgress });
  const { vision, name } = opened;
  if (vision === null) throw new Error(`${name} reads text only; open DeepSeek-VL or DeepSeek-VL2.`);
  images = new ImageEncoder(vision.model, () => vision.imageProcessor());
  say({ opened: name, boxes: vision.family === "vl2" });
}

async function answer({ image: file, text, find }: Extract<ToWorker, { image: File }>): Promise<void> {
  const { model, tokenizer } = opened!;
  running = new AbortController();
  const { signal } = running;
  const image: ImagePart = {
    type: "image",
    image: new Uint8Array(await file.arrayBuffer()),
    name: file.name,
  };
  const [{ width, height }] = images!.plan([image]);
  const content = find ? groundingMessage(image, text, tokenizer!) : [image, { type: "text", text } as const];
  const template = modelTemplate(opened!, tokenizer!);
  using conversation = new Conversation(model, tokenizer!, template, { images });
  const boxes = new GroundingStream({ width, height });
  const tell = (events: ReturnType<GroundingStream["end"]>) => {
    for (const event of events) {
      if ("text" in event) say({ text: event.text });
      else say({ label: event.label, boxes: event.boxes.map(({ box }) => box), width, height });
    }
  };
  const reply = conversation.send(content, { maxTokens: 300, signal });
  for (;;) {
    const { done, value } = await reply.next();
    if (done) {
      tell(boxes.end());
      const { imageTokens, imageMs, generatedTokens } = value.stats;
      say({
        done: `${imageTokens} tokens of the picture, seen in ${Math.round(imageMs)} ms; ${generatedTokens} written`,
      });
      return;
    }
    if (value.kind === "image") say({ state: `Seeing: view ${value.view} of ${value.views}` });
    else if (value.kind === "content") tell(boxes.push(value.text));
  }
}

self.addEventListener("message", ({ data }: { data: ToWorker }) => {
  if ("stop" in data) running.abort();
  else {
    const work = "open" in data ? open(data.open) : answer(data);
    work.catch((error: unknown) => say({ error: error instanceof Error ? error.message : String(error) }));
  }
});
