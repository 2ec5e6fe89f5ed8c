/** Janus, JanusFlow and their autoencoders, whole and in parts, against the reference classes: ids, pixels, gradients. */
import { nodeFolder } from "../../src/checkpoint/node-files.ts";
import { describeCases, type ParityCase, withFiles } from "./checked-cases.ts";

const root = new URL("../fixtures/", import.meta.url).pathname;

const cases: readonly ParityCase<string>[] = [
  ["janus/vq", 36],
  ["janus/understand", 7],
  ["janus/understand-port", 7],
  ["janus/generate", 27],
  ["janus/generate-port", 27],
  ["janusflow/uvit", 44],
  ["janusflow/understand", 7],
  ["janusflow/velocity", 12],
  ["janusflow/sample", 16],
  ["janusflow/loss", 84],
  ["janusflow/repa", 160],
  ["janusflow/vae", 23],
  ["janusflow/vae-original-names", 23],
  ["janusflow/vae-original-names", 23, "model-in-pipeline.safetensors"],
];

describeCases(cases, (name, file = "model.safetensors") =>
  withFiles(nodeFolder(root + name), { "model.safetensors": file }),
);
