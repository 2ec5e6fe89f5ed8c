/** From conversations to what training reads of them: ids, what is learned, views of images. */

import type { ContentPart, ImageMessage, PromptPiece } from "../../chat/image-messages.ts";
import { lessonPieces } from "../../chat/lesson.ts";
import { drawingPrompt } from "../../chat/vl-prompt.ts";
import { type ImageConversation, imagesOf } from "../../data/conversations/messages.ts";
import type { ImageProcessor } from "../../models/image-processor.ts";
import type { LoadedVision } from "../../pretrained/load-vision.ts";
import { ConfigError, DeepseekError, FormatError } from "../../tensor/errors.ts";
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";
import type { Lesson, LessonImage } from "../../train/image-rows.ts";
import type { RgbImage } from "../../vision/image/image.ts";
import { squareImage } from "../../vision/square-image.ts";
import type { LearnedText } from "./config.ts";
import type { DrawingLesson } from "./drawing.ts";

/** What is needed of a model to read conversations. */
export interface Reader {
  readonly vision: LoadedVision;
  readonly tokenizer: Tokenizer;
  /** Most tokens of a sample. */
  readonly sequenceLength: number;
}

const sameView = (a: RgbImage, b: RgbImage) =>
  a.rgb.length === b.rgb.length && Buffer.compare(a.rgb, b.rgb) === 0;

export class LessonMaker {
  readonly imageId: number;
  /** Side of the pictures that are drawn; to be set before any is read. */
  drawnSide: number | null = null;
  readonly #reader: Reader;
  readonly #processor: ImageProcessor;

  /** @throws ConfigError if the model's folder does not say how images are prepared */
  constructor(reader: Reader) {
    this.#reader = reader;
    this.#processor = reader.vision.imageProcessor();
    const { tokenizer, vision } = reader;
    const id = tokenizer.idOf(vision.imageToken);
    if (id === undefined) {
      throw new FormatError("the tokenizer lacks the token of images", { name: vision.imageToken });
    }
    this.imageId = id;
  }

  /** Any id that rows are filled with. */
  get padId(): number {
    return this.#reader.tokenizer.specialIds.eos ?? 0;
  }

  /** The pieces of a conversation. @throws FormatError naming `where` */
  #pieces<Image>({ messages }: ImageConversation<Image>, where: string): PromptPiece[] {
    const { vision, tokenizer } = this.#reader;
    const read = messages.map(({ role, content }): ImageMessage => {
      if (typeof content === "string") return { role, content };
      const parts = content.map((part): ContentPart => (part.type === "image" ? { type: "image" } : part));
      return { role, content: parts };
    });
    try {
      return lessonPieces(vision.family, read, tokenizer);
    } catch (cause) {
      if (!(cause instanceof DeepseekError)) throw cause;
      throw new FormatError(cause.message, { where, cause });
    }
  }

  #check(tokens: number, where: string): void {
    const { sequenceLength } = this.#reader;
    if (tokens <= sequenceLength) return;
    throw new FormatError("the conversation is too long", {
      where,
      expected: `at most ${sequenceLength} tokens, those of images included`,
      found: tokens,
      hint: "Shorten or divide it, or allow longer ones (--length), which takes more memory.",
    });
  }

  /**
   * Tokens of a conversation whose images have these sizes, checked against what a sample may have.
   * @throws FormatError naming `where`
   */
  count<Image>(
    conversation: ImageConversation<Image>,
    sizes: readonly { readonly width: number; readonly height: number }[],
    where: string,
  ): number {
    const { model } = this.#reader.vision;
    const pieces = this.#pieces(conversation, where);
    let tokens = 0;
    for (const piece of pieces) {
      if ("ids" in piece) tokens += piece.ids.length;
      else {
        const { width, height } = sizes[piece.image];
        tokens += model.imageTokens(this.#processor.tiles(width, height, { images: sizes.length }));
      }
    }
    this.#check(tokens, where);
    return tokens;
  }

  /** What training reads of a conversation. @throws FormatError, ConfigError naming `where` */
  async make(conversation: ImageConversation<RgbImage>, loss: LearnedText, where: string): Promise<Lesson> {
    const pieces = this.#pieces(conversation, where);
    const pictures = imagesOf(conversation);
    const choice = { images: pictures.length };
    const { model } = this.#reader.vision;
    const images: LessonImage[] = [];
    const ids: number[] = [];
    const learned: number[] = [];
    for (const piece of pieces) {
      if ("ids" in piece) {
        for (const id of piece.ids) {
          ids.push(id);
          learned.push(loss === "all" || piece.learned ? 1 : 0);
        }
        continue;
      }
      const picture = pictures[piece.image];
      const tiles = this.#processor.tiles(picture.width, picture.height, choice);
      images.push({ tiles, views: await this.#views(picture, choice) });
      for (let left = model.imageTokens(tiles); left > 0; left--) {
        ids.push(this.imageId);
        learned.push(0);
      }
    }
    this.#check(ids.length, where);
    if (!learned.some((each, i) => i > 0 && each === 1)) {
      throw new FormatError("nothing of the conversation is learned", { where });
    }
    return { ids: Int32Array.from(ids), learned: Uint8Array.from(learned), images };
  }

  /** Pixels of an image's views; of a picture that is one tile the tile may be the whole view again. */
  async #views(picture: RgbImage, choice: { readonly images: number }): Promise<Float32Array[]> {
    const views = await this.#processor.views(picture, choice);
    const made: Float32Array[] = [];
    for (const [i, view] of views.entries()) {
      const equal = views.findIndex((each, before) => before < i && sameView(each, view));
      made.push(equal >= 0 ? made[equal] : this.#processor.pixels(view));
    }
    return made;
  }

  /** Whether pictures can be drawn: what the model draws with. */
  get draws(): boolean {
    return this.#reader.vision.model.generation !== null;
  }

  /** What drawing learns of a picture. @param key names the sample @throws FormatError, ConfigError naming `where` */
  async draw(picture: RgbImage, caption: string, key: string, where: string): Promise<DrawingLesson> {
    const prompt = this.#drawingPrompt(caption, where);
    if (this.drawnSide === null)
      throw new ConfigError("what pictures are drawn with is not opened", { where });
    return { prompt, picture: await squareImage(picture, this.drawnSide), key };
  }

  #drawingPrompt(caption: string, where: string): number[] {
    const { vision, tokenizer } = this.#reader;
    const { family } = vision;
    if (family === "vl" || family === "vl2") throw new ConfigError("the model does not draw", { where });
    try {
      return drawingPrompt(caption, tokenizer, family);
    } catch (cause) {
      if (!(cause instanceof DeepseekError)) throw cause;
      throw new FormatError(cause.message, { where, cause });
    }
  }

  /** Tokens of a caption that is drawn, checked against what a sample may have. @throws FormatError naming `where` */
  countDrawing(caption: string, where: string): number {
    const tokens = this.#drawingPrompt(caption, where).length + this.#reader.vision.model.viewTokens;
    this.#check(tokens, where);
    return tokens;
  }

  /** Plain text in rows, all of it learned. */
  rows(text: string): Lesson[] {
    const { tokenizer, sequenceLength } = this.#reader;
    const { bos, eos } = tokenizer.specialIds;
    const ids = tokenizer.encode(text, { addSpecialTokens: false, parseSpecial: false });
    const all = [...(bos === undefined ? [] : [bos]), ...ids, ...(eos === undefined ? [] : [eos])];
    const rows: Lesson[] = [];
    for (let at = 0; at + 1 < all.length; at += sequenceLength - 1) {
      const row = Int32Array.from(all.slice(at, at + sequenceLength));
      rows.push({ ids: row, learned: new Uint8Array(row.length).fill(1), images: [] });
    }
    return rows;
  }
}
