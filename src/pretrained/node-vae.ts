/**
 * Where the autoencoder is that JanusFlow draws with: no release of the model brings it. A folder or a file that is named, or
 * a name on the hub; else `vae/` beside the model, then what was downloaded of Stable Diffusion XL's. Node only.
 */
import { stat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import type { FileTree } from "../checkpoint/byte-source.ts";
import { nodeFolder } from "../checkpoint/node-files.ts";
import { vaeBeside, vaeOfFile } from "../checkpoint/vae.ts";
import { ConfigError } from "../tensor/errors.ts";
import { type DownloadOptions, downloadModel } from "./hub.ts";
import { parseHubName } from "./hub-name.ts";
import { SDXL_VAE } from "./load-drawing.ts";

/** What `name` leads to: a folder, a safetensors file, or a repository, which is downloaded. */
async function namedVae(name: string, options: DownloadOptions): Promise<FileTree> {
  const info = await stat(name).catch(() => null);
  if (info?.isDirectory()) return (await vaeBeside(nodeFolder(name))) ?? nodeFolder(name);
  if (info?.isFile()) {
    if (/\.safetensors$/i.test(name)) return vaeOfFile(nodeFolder(dirname(name)), basename(name));
    throw new ConfigError("an autoencoder is a folder or a .safetensors file", { where: name });
  }
  if (info === null && parseHubName(name) !== null) {
    const { path } = await downloadModel(name, { ...options, revision: undefined, file: undefined });
    return nodeFolder(path);
  }
  throw new ConfigError("no autoencoder of this name", {
    where: name,
    expected: "a folder, a .safetensors file, or org/name on the hub",
    hint: `The one that JanusFlow was trained with is ${SDXL_VAE}.`,
  });
}

/**
 * The files of the autoencoder for a model; null if none is named, none lies beside the model and none was downloaded.
 * @param named a folder, a file or `org/name[@revision]`; default: look in the places above
 * @throws ConfigError for a name that leads nowhere, HubError, FormatError, the signal's reason
 */
export async function locateVae(
  model: FileTree,
  named: string | undefined,
  options: DownloadOptions = {},
): Promise<FileTree | null> {
  if (named !== undefined) return await namedVae(named, options);
  const beside = await vaeBeside(model);
  if (beside !== null) return beside;
  const cached = await downloadModel(SDXL_VAE, {
    ...options,
    ...{ revision: undefined, file: undefined, offline: true, onNotice: undefined },
  }).catch(() => null);
  return cached && nodeFolder(cached.path);
}
