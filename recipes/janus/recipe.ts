/** Janus on the picture world: an image tokenizer, and a model that draws by its ids and understands by a tower of its own. */
import { CODEC_MINUTES, tokenizerArm } from "../shared/codecs.ts";
import { JANUS_STAGES, type JanusOptions, runJanus } from "../shared/janus.ts";
import { type Arm, runProgram } from "../shared/program.ts";

const arm = (name: string, text: string, options: JanusOptions): Arm => ({
  name,
  text,
  run: (context) => runJanus(context, options),
});

const arms: readonly Arm[] = [
  {
    name: "vq",
    text: "the image tokenizer by itself: pictures to ids and back",
    minutes: CODEC_MINUTES.tokenizer,
    run: tokenizerArm(),
  },
  {
    name: "vq-1024",
    text: "a tokenizer of 1024 codes, for a gate that 512 miss",
    minutes: CODEC_MINUTES.tokenizer,
    run: tokenizerArm({ name: "vq-1024", config: { codes: 1024 } }),
  },
  {
    name: "vq-16",
    text: "a tokenizer that makes 16 x 16 ids, for a gate that 8 x 8 miss",
    minutes: CODEC_MINUTES.tokenizer,
    run: tokenizerArm({ name: "vq-16", config: { encoderFactors: [1, 1, 2], decoderFactors: [1, 1, 2] } }),
  },
  arm("janus", "a tower for understanding, the tokenizer for drawing", {}),
  arm("one-encoder", "the tokenizer's encoder for both", { shared: true }),
  arm("understanding", "as janus, without drawing; as many steps of the rest", { without: ["drawing"] }),
  arm("one-encoder-understanding", "as one-encoder, without drawing; as many steps of the rest", {
    ...{ shared: true, without: ["drawing"] },
  }),
  arm("drawing", "as janus, without questions about pictures; as many steps of the rest", {
    without: ["understanding"],
  }),
  arm("undropped", "as janus, no caption is dropped", { dropped: 0 }),
  arm("codebook", "as janus, ids are read as rows of the tokenizer's codebook, which stays as it is", {
    codebook: true,
  }),
  arm("all-captions", "as janus, all captions from the beginning of stage 2", {
    stages: JANUS_STAGES.map((stage) => ({ ...stage, easy: 0 })),
  }),
  arm("long-first", "as janus, stage 1 is longer and has the captions of one thing (Janus-Pro)", {
    stages: JANUS_STAGES.map((stage, i) => ({
      ...stage,
      ...[{ share: 22, easy: 1 }, { share: 23, easy: 0 }, {}][i],
    })),
  }),
];

/** Captions of one thing from the beginning, and the language model from the first minute. */
const short: JanusOptions = {
  short: true,
  stages: [
    { ...JANUS_STAGES[0], share: 1, easy: 1 },
    { ...JANUS_STAGES[1], share: 9, easy: 1, mixture: () => ({ understanding: 2, language: 1, drawing: 7 }) },
    {
      ...JANUS_STAGES[2],
      share: 3,
      easy: 1,
      mixture: () => ({ understanding: 12, language: 1, drawing: 7 }),
    },
  ],
  exam: { captions: 12, options: { count: 1, guidance: 2 }, categories: ["single", "color"] },
};

process.exitCode = await runProgram(
  {
    name: "janus",
    folder: import.meta.dirname,
    title: "Janus on the picture world",
    minutes: 60,
    arms,
    small: {
      name: "small",
      text: "15 minutes of captions of one thing, from the tower, language model and tokenizer of the repository",
      minutes: 15,
      run: (context) => runJanus({ ...context, small: false }, short),
    },
    measures: [
      ...["scenes read exactly", "strict ceiling", "strict", "loose", "strict chance", "loose chance"],
      ...["single", "two", "counting", "color", "position", "attribution", "full"].map(
        (name) => `${name} strict`,
      ),
      ...[1, 2, 3, 5, 8].map((s) => `strict s=${s}`),
      ...["questions", "count", "color", "exists", "relation", "find", "describe F1", "language"],
    ],
    comparisons: [
      {
        ...{ claim: "a shared encoder hurts understanding", better: "janus", worse: "one-encoder" },
        measure: "questions",
      },
      { claim: "and drawing", better: "janus", worse: "one-encoder", measure: "strict" },
      {
        ...{
          claim: "of a shared encoder drawing takes from understanding",
          better: "one-encoder-understanding",
        },
        ...{ worse: "one-encoder", measure: "questions" },
      },
      {
        ...{ claim: "drawing costs understanding something with two encoders", better: "understanding" },
        ...{ worse: "janus", measure: "questions" },
      },
      {
        ...{ claim: "understanding costs drawing something with two encoders", better: "drawing" },
        ...{ worse: "janus", measure: "strict" },
      },
      {
        ...{ claim: "dropped captions make guidance work", better: "janus", worse: "undropped" },
        measure: "strict",
      },
      { claim: "ids need their own embedding", better: "janus", worse: "codebook", measure: "strict" },
      {
        ...{ claim: "captions of one thing first help", better: "janus", worse: "all-captions" },
        measure: "strict",
      },
      {
        ...{ claim: "a longer first stage helps more", better: "long-first", worse: "janus" },
        measure: "strict",
      },
    ],
    notes:
      "Pictures of 64 x 64 pixels are 8 x 8 ids. `scenes read exactly` are test scenes whose objects the world's checker reads " +
      "from the recreated picture with shape, color, size and place; the ceiling is the score of recreated pictures for " +
      "their captions, which nothing that draws ids can exceed by much. Drawn pictures are judged by the checker: `loose` as GenEval " +
      "does, `strict` with sizes, nothing else in the picture and nothing malformed; two pictures of each of 100 captions in " +
      "seven categories, guidance 5, temperature 1, each caption counted once. Chance is the score for the captions of other " +
      "pictures. `s` is the guidance, on 15 captions of each category. Frames of drawn pictures: green strict, yellow loose, red " +
      "neither. `questions` are all questions about scenes, answered greedily.",
  },
  process.argv.slice(2),
);
