/** Images: decoding, resizing, the processors' canvases and tiles. Runs in Node, browsers and workers. */
export { type CanvasSettings, canvasImage, canvasPlacement, type Placement } from "./canvas.ts";
export { BYTE_LIMIT, type DecodeOptions, decodeImage, PIXEL_LIMIT } from "./image/decode.ts";
export type { Orientation } from "./image/exif.ts";
export { ImageError, type ImageFault, type RgbImage } from "./image/image.ts";
export type { ImageFormat, ImageHeader } from "./image/image-header.ts";
export { readImageHeader } from "./image/read-header.ts";
export { resizeImage, resizeImageOn } from "./image/resize.ts";
export { type Normalization, type PerChannel, pixelValues } from "./pixels.ts";
export { imageTokens, type TilePlan, type TileSettings, tiledViews, tilePlan } from "./tiles.ts";
