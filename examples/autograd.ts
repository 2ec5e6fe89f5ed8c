/** Tensors and a gradient: fits y = w x by hand, first on the CPU, then with the plain reference in doubles. */
import { createCpuDevice, createReferenceDevice, type Device, differentiate } from "deepseek-ts";
import { addScaled, linear, meanAll, reshape } from "deepseek-ts/tensor";

/** Rows of x and what w = [2, -3] makes of them. */
const inputs = [1, 0, 0, 1, 1, 1, 2, -1];
const outputs = [2, -3, -1, 7];

async function descend(device: Device): Promise<Float32Array> {
  using x = device.tensor(inputs, [4, 2]);
  using y = device.tensor(outputs, [4, 1]);
  using w = device.tensor([0, 0], [1, 2]);
  w.requiresGrad = true;
  for (let step = 0; step < 100; step++) {
    // Everything made in the body is freed, but for the loss that it returns.
    using loss = differentiate(device, () => {
      const difference = addScaled(linear(x, w), y, 1, -1); // [4, 1]
      const row = reshape(difference, [1, 4]);
      return linear(row, row); // [1, 1], the sum of squares
    });
    const [weights, gradient] = [await w.data(), await w.grad!.data()];
    if (step % 25 === 0)
      console.log(`  step ${step}: loss ${(await loss.item()).toFixed(4)}, gradient [${gradient}]`);
    w.set(Array.from(weights, (value, i) => value - 0.05 * gradient[i]));
    w.grad!.dispose();
    w.grad = null;
  }
  return (await w.data()) as Float32Array;
}

for (const create of [() => createCpuDevice(), async () => createReferenceDevice()]) {
  await using device = await create();
  console.log(device.backend.name);
  const w = await descend(device);
  console.log(`  w = [${Array.from(w, (v) => v.toFixed(3)).join(", ")}]`);
  if (Math.abs(w[0] - 2) > 1e-2 || Math.abs(w[1] + 3) > 1e-2) throw new Error("the fit did not converge");
}

{
  await using device = createReferenceDevice();
  using mean = meanAll(device.tensor([1, 2, 3, 6]));
  console.log(`mean of 1, 2, 3, 6: ${await mean.item()}`);
}
