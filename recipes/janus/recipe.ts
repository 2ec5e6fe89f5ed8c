/** Janus on the picture world: an image tokenizer, and a model that draws by its ids and understands by a tower of its own. */
import { CODEC_MINUTES, tokenizerArm } from "../shared/codecs.ts";
import { type Arm, runProgram } from "../shared/program.ts";

const arms: readonly Arm[] = [
  {
    name: "vq",
    text: "the image tokenizer by itself: pictures to ids and back",
    minutes: CODEC_MINUTES.tokenizer,
    run: tokenizerArm,
  },
];

process.exitCode = await runProgram(
  {
    name: "janus",
    folder: import.meta.dirname,
    title: "Janus on the picture world",
    minutes: 60,
    arms,
    measures: ["scenes read exactly", "loose ceiling", "strict ceiling"],
    comparisons: [],
    notes:
      "Pictures of 64 x 64 pixels are 8 x 8 ids. `scenes read exactly` are test scenes whose objects the world's checker reads " +
      "from the recreated picture with shape, color, size and place; the ceilings are the scores of recreated pictures for " +
      "their captions, which nothing that draws ids can exceed by much.",
  },
  process.argv.slice(2),
);
