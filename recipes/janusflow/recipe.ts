/** JanusFlow on the picture world: an autoencoder, and a model that draws in its latents by rectified flow. */
import { autoencoderArm, CODEC_MINUTES } from "../shared/codecs.ts";
import { type Arm, runProgram } from "../shared/program.ts";

const arms: readonly Arm[] = [
  {
    name: "vae",
    text: "the autoencoder by itself: pictures to latents and back",
    minutes: CODEC_MINUTES.autoencoder,
    run: autoencoderArm,
  },
];

process.exitCode = await runProgram(
  {
    name: "janusflow",
    folder: import.meta.dirname,
    title: "JanusFlow on the picture world",
    minutes: 60,
    arms,
    measures: ["scenes read exactly", "loose ceiling", "strict ceiling"],
    comparisons: [],
    notes:
      "Pictures of 64 x 64 pixels are 16 x 16 latents of four channels. `scenes read exactly` are test scenes whose objects the world's checker reads " +
      "from the recreated picture with shape, color, size and place; the ceilings are the scores of recreated pictures for " +
      "their captions, which nothing that draws latents can exceed by much.",
  },
  process.argv.slice(2),
);
