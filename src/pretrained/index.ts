/** Opening models without a file system; names, paths and the hub are in `deepseek-ts/node`. */
export type { ChatTemplateSource } from "./chat-template-source.ts";
export type { GenerationConfig } from "./generation-config.ts";
export type { DownloadedModel } from "./hub.ts";
export type { HubFile } from "./hub-client.ts";
export type { NeededFiles } from "./hub-files.ts";
export type { HubOptions } from "./hub-settings.ts";
export type { HubTree } from "./hub-tree.ts";
export {
  type LoadDtype,
  type LoadedModel,
  type LoadFilesOptions,
  type LoadProgress,
  loadFolder,
  loadGguf,
  type ModelOrigin,
} from "./load.ts";
export type { LoadedAdapter } from "./load-adapter.ts";
export {
  autoencoderOf,
  type LoadedDrawing,
  type LoadedVae,
  SDXL_VAE,
  type VaeSource,
} from "./load-drawing.ts";
export type { LoadedVision } from "./load-vision.ts";
