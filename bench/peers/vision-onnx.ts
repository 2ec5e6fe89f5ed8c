/**
 * A tower exported to ONNX through onnxruntime-node, as a child process of `vision.ts`: {"load": path, "pixels": path, "shape":
 * [..]}, {"run": n} and {"output": path} on standard input, one line of JSON each as answer. Argument: threads.
 */
import { readFile, writeFile } from "node:fs/promises";
import { createInterface } from "node:readline";

/** What is used of the package, which is installed by hand. */
interface OnnxTensor {
  readonly data: Float32Array;
}
interface OnnxSession {
  run(inputs: { x: OnnxTensor }): Promise<{ y: OnnxTensor }>;
}
interface OnnxRuntime {
  readonly InferenceSession: { create(path: string, options: object): Promise<OnnxSession> };
  readonly Tensor: new (type: "float32", data: Float32Array, shape: readonly number[]) => OnnxTensor;
}

const packageName: string = "onnxruntime-node";
const { InferenceSession, Tensor } = (await import(packageName)) as OnnxRuntime;
const threads = Number(process.argv[2] ?? 2);
const say = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);
let session: OnnxSession | null = null;
let x: OnnxTensor | null = null;
let y: OnnxTensor | null = null;
say({ threads });
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  if ("load" in command) {
    session = await InferenceSession.create(command.load, {
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
    });
    const { buffer } = Uint8Array.from(await readFile(command.pixels));
    x = new Tensor("float32", new Float32Array(buffer), command.shape);
    say({});
  } else if ("run" in command) {
    const ms: number[] = [];
    const used = process.cpuUsage();
    for (let i = 0; i < command.run; i++) {
      const start = performance.now();
      ({ y } = await session!.run({ x: x! }));
      ms.push(performance.now() - start);
    }
    const { user, system } = process.cpuUsage(used);
    say({ ms, cpuMs: (user + system) / 1e3 });
  } else if ("output" in command) {
    await writeFile(command.output, y!.data);
    say({});
  }
}
