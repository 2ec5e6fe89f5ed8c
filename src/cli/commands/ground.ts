/** `deepseek-ts ground`: where in a picture something is, as boxes drawn on it and as JSON. */
import { Command } from "commander";
import { groundingMessage } from "../../chat/grounding-message.ts";
import { Conversation } from "../../engine/conversation.ts";
import { nodeFileSink } from "../../files/file-sink.ts";
import { checkFilePlace, realPlace } from "../../files/place.ts";
import { writeWhole } from "../../files/sink.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { plural } from "../../text/units.ts";
import { drawBoxes, enlargedForLabels } from "../../vision/draw-boxes.ts";
import {
  type GroundedBox,
  type GroundingFault,
  type ImageSize,
  parseGrounding,
} from "../../vision/grounding.ts";
import { decodeImage } from "../../vision/image/decode.ts";
import { encodePng } from "../../vision/image/png-writer.ts";
import { usageOf } from "../answer-usage.ts";
import { replyStats } from "../chat-settings.ts";
import { flowing } from "../help.ts";
import {
  type ImageFlags,
  imageEncoder,
  readImageFile,
  refuseUnseen,
  withImageOptions,
} from "../image-files.ts";
import { hasSoftware } from "../png-software.ts";
import type { GenerationFlags } from "./generation.ts";
import { MODEL_ARGUMENT, openModel } from "./open-model.ts";
import { openDevice, usageError } from "./options.ts";
import { openTemplate, replyTo, settingsOf, withReplies } from "./reply.ts";

interface GroundFlags extends GenerationFlags, ImageFlags {
  readonly out?: string;
  readonly force?: boolean;
}

/** What the program's own pictures say of themselves. */
const SOFTWARE = "deepseek-ts ground";

const examples = `
Examples:
  deepseek-ts ground deepseek-ai/deepseek-vl2-tiny photo.jpg "the giraffe at the back" --out boxes.png
  deepseek-ts ground ./deepseek-vl2-small photo.jpg --out boxes.png      describe the picture, with boxes
  deepseek-ts ground ./deepseek-vl2-small photo.jpg "the sign" > sign.json

Standard output gets one JSON object: answer, and boxes with label, box (left, top, right, bottom in pixels of the
picture), numbers (as the model wrote them, thousandths of the sides) and flags (order: corners exchanged; range: partly
outside the picture).`;

const faultText = (fault: GroundingFault): string =>
  fault.kind === "count"
    ? `the answer has ${plural(fault.refs, "phrase")} and ${plural(fault.dets, "list")} of boxes`
    : `the answer has something else than boxes: ${fault.text.slice(0, 80)}`;

export function groundCommand(): Command {
  const command = new Command("ground")
    .summary("find things in a picture: boxes")
    .description(
      "Asks a DeepSeek-VL2 model where in a picture something is, draws the boxes and writes them as JSON to standard output.",
    )
    .argument("<model>", MODEL_ARGUMENT)
    .argument("<file>", "the picture (PNG, JPEG, WebP or GIF)")
    .argument("[phrase]", "what to look for; if absent, the picture is described, with boxes")
    .option("--out <file>", "PNG file for the picture with its boxes; small pictures are enlarged")
    .option("--force", "replace --out if it is a picture that this command drew");
  withImageOptions(withReplies(command));
  return command
    .addHelpText("after", flowing(examples))
    .action(async (path: string, file: string, phrase: string | undefined, flags: GroundFlags) => {
      if (flags.bos !== undefined)
        usageError(command, "the chat template decides about BOS; leave out --bos and --no-bos");
      if (phrase?.trim() === "") usageError(command, "the phrase is empty");
      const { out, force, maxPixels } = flags;
      const sink = { force, sources: [file], isOurs: (there: string) => hasSoftware(there, SOFTWARE) };
      // A place that is taken is told before a model is loaded.
      if (out !== undefined) await checkFilePlace(await realPlace(out), sink);
      const { image: bytes, rotate } = await readImageFile(file, flags);
      const image = await decodeImage(bytes as Uint8Array, { name: file, rotate, maxPixels });
      await using device = await openDevice(flags);
      await using opened = await openModel(path, device, flags);
      refuseUnseen(opened, file);
      const { tokenizer, vision, name } = opened;
      if (vision?.family !== "vl2") {
        throw new ConfigError("the model sees pictures, but writes no boxes", {
          where: name,
          expected: "a DeepSeek-VL2 model",
          found: vision?.model.config.modelType,
          hint: "Use deepseek-ai/deepseek-vl2-tiny; `deepseek-ts ask` asks this model about the picture.",
        });
      }
      const message = groundingMessage(
        { type: "image", image, name: file },
        phrase?.trim() ?? null,
        tokenizer,
      );
      const template = await openTemplate(opened, undefined);
      const settings = settingsOf(command, flags, opened.generationConfig);
      using images = imageEncoder(opened, flags);
      using conversation = new Conversation(opened.model, tokenizer, template, { images });
      const reply = await replyTo(conversation, message, settings, () => {});
      if (reply === null) return;
      const { error } = parseGrounding(reply.content, image);
      const boxesIn = (size: ImageSize): GroundedBox[] =>
        parseGrounding(reply.content, size).items.map((item) => ({ ...item, label: item.label.trim() }));
      const boxes = boxesIn(image);
      const drawn = out !== undefined && boxes.length > 0 ? out : null;
      if (drawn !== null) {
        const shown = enlargedForLabels(image);
        const png = await encodePng(drawBoxes(shown, boxesIn(shown)), { software: SOFTWARE });
        await writeWhole(await nodeFileSink(drawn, sink), png);
      }
      const { stopReason } = reply.stats;
      const result = {
        ...{ image: file, width: image.width, height: image.height, phrase: phrase?.trim() ?? null },
        ...{ answer: reply.content, boxes, ...(error !== null && { error: faultText(error) }) },
        ...{ out: drawn, stopReason, usage: usageOf(reply) },
      };
      process.stdout.write(`${JSON.stringify(result)}\n`);
      if (flags.stats) process.stderr.write(`${replyStats(reply)}\n`);
      if (error !== null) process.exitCode ||= 1;
      const unwritten = out === undefined || drawn !== null ? "" : `; ${out} was not written`;
      if (error !== null) process.stderr.write(`error: ${faultText(error)}${unwritten}\n`);
      else if (boxes.length === 0) process.stderr.write(`no boxes in the answer${unwritten}\n`);
    });
}
