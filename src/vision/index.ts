/** Images: decoding, resizing, the processors' canvases and tiles; towers that see; boxes in answers. Runs in Node, browsers and workers. */
export type { LayerNorm } from "../nn/norm.ts";
export type { AttentionNames, AutoencoderNames, AutoencoderShape, ConvEncoder } from "./autoencoder.ts";
export { type CanvasSettings, canvasImage, canvasPlacement, type Placement } from "./canvas.ts";
export { drawBoxes, enlargedForLabels, type LabeledBox } from "./draw-boxes.ts";
export {
  type BoxFlag,
  boxNumbers,
  type GroundedBox,
  type Grounding,
  type GroundingEvent,
  type GroundingFault,
  GroundingStream,
  groundingText,
  type ImageSize,
  type PixelBox,
  parseGrounding,
} from "./grounding.ts";
export { HybridTower } from "./hybrid.ts";
export { BYTE_LIMIT, type DecodeOptions, decodeImage, PIXEL_LIMIT } from "./image/decode.ts";
export type { Orientation } from "./image/exif.ts";
export { ImageError, type ImageFault, type RgbImage } from "./image/image.ts";
export type { ImageFormat, ImageHeader } from "./image/image-header.ts";
export { encodePng, type PngOptions } from "./image/png-writer.ts";
export { readImageHeader } from "./image/read-header.ts";
export { resizeImage, resizeImageOn, type Turn } from "./image/resize.ts";
export { type Normalization, type PerChannel, pixelBytes, pixelValues } from "./pixels.ts";
export { Projector, type TowerOutput } from "./projector.ts";
export { SamNeck, SamTower } from "./sam.ts";
export { type Normed, SiglipBlock, SiglipTower } from "./siglip.ts";
export { TileLayout } from "./tile-layout.ts";
export {
  type ImageArea,
  imageTokens,
  type TilePlan,
  type TileSettings,
  tileAreas,
  tiledViews,
  tilePlan,
} from "./tiles.ts";
export type {
  HybridConfig,
  MeanAndStd,
  ProjectorConfig,
  SamConfig,
  SiglipConfig,
  TowerConfig,
} from "./tower-config.ts";
export {
  ConvNextBlock,
  UvitDecoder,
  type UvitDecoderConfig,
  UvitEncoder,
  type UvitEncoderConfig,
  type UvitPart,
} from "./uvit.ts";
export { type LatentMoments, sampleLatents, splitMoments, type VaeConfig, VaeModel } from "./vae.ts";
export { type QuantizedLatents, type VqConfig, VqTokenizer } from "./vq.ts";
