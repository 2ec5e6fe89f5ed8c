/** JanusFlow on the picture world: an autoencoder, and a model that draws in its latents by rectified flow. */
import { autoencoderArm, CODEC_MINUTES } from "../shared/codecs.ts";
import { FLOW_STAGES, type FlowOptions, runJanusFlow } from "../shared/janusflow.ts";
import { type Arm, runProgram } from "../shared/program.ts";

const arm = (name: string, text: string, options: FlowOptions): Arm => ({
  name,
  text,
  run: (context) => runJanusFlow(context, options),
});

const arms: readonly Arm[] = [
  {
    name: "vae",
    text: "the autoencoder by itself: pictures to latents and back",
    minutes: CODEC_MINUTES.autoencoder,
    run: autoencoderArm,
  },
  arm("janusflow", "alignment after block 2 of 6, logit-normal times", {}),
  arm("unaligned", "as janusflow, without alignment", { alignment: null }),
  arm("aligned-1", "as janusflow, alignment after block 1", { alignment: { afterBlock: 1, weight: 1 } }),
  arm("aligned-4", "as janusflow, alignment after block 4", { alignment: { afterBlock: 4, weight: 1 } }),
  arm("uniform", "as janusflow, all times alike", { times: "uniform" }),
  arm("understanding", "as janusflow, without drawing; as many steps of the rest", { without: ["drawing"] }),
  arm("undropped", "as janusflow, no caption is dropped", { dropped: 0 }),
];

/** Captions of one thing from the beginning, and the language model from the first minute; most times are where it shows what is drawn. */
const short: FlowOptions = {
  short: true,
  times: { mean: -0.5, deviation: 1 },
  stages: [
    {
      ...{ ...FLOW_STAGES[1], easy: 1 },
      mixture: () => ({ understanding: 15, language: 5, drawing: 80 }),
    },
  ],
  exam: { captions: 12, options: { count: 1, guidance: 2, steps: 10 }, categories: ["single", "color"] },
};

process.exitCode = await runProgram(
  {
    name: "janusflow",
    folder: import.meta.dirname,
    title: "JanusFlow on the picture world",
    minutes: 65,
    arms,
    small: {
      name: "small",
      text: "15 minutes of captions of one thing, from the tower, language model and autoencoder of the repository",
      minutes: 15,
      run: (context) => runJanusFlow({ ...context, small: false }, short),
    },
    measures: [
      ...["scenes read exactly", "strict ceiling", "strict", "loose", "strict chance", "loose chance"],
      ...["single", "two", "counting", "color", "position", "attribution", "full"].map(
        (name) => `${name} strict`,
      ),
      ...[1, 2, 5, 10, 30].map((steps) => `strict N=${steps}`),
      ...[1, 3, 5].map((weight) => `strict w=${weight}`),
      ...["questions", "count", "color", "exists", "relation", "find", "describe F1", "language"],
    ],
    comparisons: [
      { claim: "alignment speeds drawing", better: "janusflow", worse: "unaligned", measure: "strict" },
      { claim: "and leaves understanding", better: "janusflow", worse: "unaligned", measure: "questions" },
      {
        ...{ claim: "two of six blocks are a better place than one", better: "janusflow" },
        ...{ worse: "aligned-1", measure: "strict" },
      },
      {
        ...{ claim: "and than four", better: "janusflow", worse: "aligned-4", measure: "strict" },
      },
      {
        ...{
          claim: "logit-normal times draw better than uniform ones",
          better: "janusflow",
          worse: "uniform",
        },
        measure: "strict",
      },
      {
        ...{ claim: "drawing costs understanding something", better: "understanding", worse: "janusflow" },
        measure: "questions",
      },
      {
        ...{ claim: "dropped captions make guidance work", better: "janusflow", worse: "undropped" },
        measure: "strict",
      },
    ],
    notes:
      "Pictures of 64 x 64 pixels are 16 x 16 latents of four channels. `scenes read exactly` are test scenes whose objects the " +
      "world's checker reads from the recreated picture with shape, color, size and place; the ceiling is the score of " +
      "recreated pictures for their captions, which nothing that draws latents can exceed by much. Drawn pictures are judged by the " +
      "checker: `loose` as GenEval does, `strict` with sizes, nothing else in the picture and nothing malformed; one picture of " +
      "each of 100 captions in seven categories, 10 Euler steps, guidance 2, with the moving average of the weights. Chance is " +
      "the score for the captions of other pictures. `N` are steps and `w` is guidance, on 15 captions of each category. Frames " +
      "of drawn pictures: green strict, yellow loose, red neither. `questions` are all questions about scenes, answered greedily.",
  },
  process.argv.slice(2),
);
