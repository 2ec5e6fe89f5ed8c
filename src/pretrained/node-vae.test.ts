import { cp, mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { nodeFolder } from "../checkpoint/node-files.ts";
import { loadVae } from "../checkpoint/vae.ts";
import { ConfigError } from "../tensor/errors.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { downloadModel } from "./hub.ts";
import { neededFiles } from "./hub-files.ts";
import { SDXL_VAE } from "./load-drawing.ts";
import { locateVae } from "./node-vae.ts";
import { TestingHub } from "./testing-hub.ts";

const fixtures = new URL("../../test/fixtures/janusflow/", import.meta.url).pathname;

let folder: string;
let hub: TestingHub;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "node-vae-"));
  hub = await TestingHub.start();
  const read = async (file: string) => new Uint8Array(await readFile(join(fixtures, "vae", file)));
  hub.repos.set(SDXL_VAE, {
    commit: "1".repeat(40),
    files: new Map([
      ["config.json", await read("config.json")],
      ["diffusion_pytorch_model.safetensors", await read("model.safetensors")],
      ["diffusion_pytorch_model.bin", new Uint8Array(9)],
      ["sdxl_vae.safetensors", new Uint8Array(9)],
    ]),
  });
});
afterAll(async () => {
  await hub[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

/** Options of a cache of its own. */
const cacheOf = (name: string) => ({ endpoint: hub.endpoint, cacheDir: join(folder, name), attempts: 1 });

async function modelFolder(name: string, vae: boolean) {
  const path = join(folder, name);
  await mkdir(join(path, "vae"), { recursive: true });
  if (vae) {
    for (const file of ["config.json", "model.safetensors"]) {
      const to = file === "config.json" ? file : "diffusion_pytorch_model.safetensors";
      await cp(join(fixtures, "vae", file), join(path, "vae", to));
    }
  }
  return nodeFolder(path);
}

async function latentsOf(tree: NonNullable<Awaited<ReturnType<typeof locateVae>>>) {
  await using device = createReferenceDevice();
  using vae = await loadVae(tree, device);
  return [vae.config.latentChannels, vae.config.scalingFactor];
}

describe("locateVae", () => {
  it("finds what lies beside the model, before what was downloaded", async () => {
    const found = await locateVae(await modelFolder("with", true), undefined, cacheOf("empty"));
    expect(found!.name).toBe(join(folder, "with", "vae"));
    expect(await latentsOf(found!)).toEqual([4, 0.13025]);
  });

  it("finds nothing without asking the hub, then what was downloaded", async () => {
    const model = await modelFolder("without", false);
    const options = cacheOf("cache");
    const before = hub.seen.length;
    expect(await locateVae(model, undefined, options)).toBe(null);
    expect(hub.seen.length).toBe(before);
    await downloadModel(SDXL_VAE, options);
    const asked = hub.seen.length;
    const found = await locateVae(model, undefined, options);
    expect(hub.seen.length).toBe(asked);
    expect(await latentsOf(found!)).toEqual([4, 0.13025]);
  });

  it("takes what is named before all others: folders, files, repositories", async () => {
    const model = await modelFolder("other", true);
    const file = join(fixtures, "vae-original-names", "model-in-pipeline.safetensors");
    const ofFile = await locateVae(model, file, cacheOf("empty"));
    expect(ofFile!.name).toBe(file);
    // A configuration beside it counts if it is an autoencoder's.
    const strange = join(folder, "strange");
    await mkdir(strange);
    await cp(join(fixtures, "vae", "model.safetensors"), join(strange, "mine.safetensors"));
    await cp(join(fixtures, "sample", "config.json"), join(strange, "config.json"));
    const alone = await locateVae(model, join(strange, "mine.safetensors"), cacheOf("empty"));
    expect(await alone!.has("config.json")).toBe(false);
    await cp(join(fixtures, "vae", "config.json"), join(strange, "config.json"));
    expect(await latentsOf(alone!)).toEqual([4, 0.13025]);
    const ofFolder = await locateVae(model, join(fixtures, "vae"), cacheOf("empty"));
    expect(await latentsOf(ofFolder!)).toEqual([4, 0.13025]);
    // A model's folder stands for the autoencoder in it.
    const inside = await locateVae(model, join(folder, "with"), cacheOf("empty"));
    expect(inside!.name).toBe(join(folder, "with", "vae"));
    const ofHub = await locateVae(model, SDXL_VAE, cacheOf("named"));
    expect(ofHub!.name).toContain("snapshots");
    expect(await latentsOf(ofHub!)).toEqual([4, 0.13025]);
  });

  it("refuses names that lead nowhere", async () => {
    const model = await modelFolder("other", true);
    for (const [name, message] of [
      [join(folder, "absent"), /no autoencoder of this name.*stabilityai\/sdxl-vae/],
      [join(fixtures, "vae", "config.json"), /a folder or a \.safetensors file/],
    ] as const) {
      const refused = locateVae(model, name, cacheOf("empty"));
      await expect(refused).rejects.toThrow(ConfigError);
      await expect(refused).rejects.toThrow(message);
    }
    await expect(locateVae(model, "no/such", cacheOf("empty"))).rejects.toThrow(/no\/such/);
  });
});

describe("neededFiles", () => {
  it("takes an autoencoder's weights where a repository has no model's", () => {
    const diffusers = "diffusion_pytorch_model.safetensors";
    const files = ["config.json", "diffusion_pytorch_model.bin", diffusers, "sdxl_vae.safetensors"];
    expect(neededFiles("a/b", files).weights).toEqual([diffusers]);
    expect(neededFiles("a/b", [...files, "model.safetensors"]).weights).toEqual(["model.safetensors"]);
    expect(neededFiles("a/b", [diffusers, "a.gguf"]).kind).toBe("gguf");
  });
});
