/** What PNG files say of themselves in front of their pixels; tells pictures that this program drew from others. */
import { openForReading } from "../files/text-file.ts";
import { pngTexts } from "../vision/image/png-text.ts";

/** Bytes at the beginning of a file in which texts are looked for: the longest prompt has a tenth of it. */
const HEAD_BYTES = 1 << 20;

/** The texts of a PNG file by keyword; none for another file. @throws the system's error */
export async function pngFileTexts(path: string): Promise<Map<string, string>> {
  const file = await openForReading(path);
  try {
    const { size } = await file.stat();
    const head = new Uint8Array(Math.min(size, HEAD_BYTES));
    const { bytesRead } = await file.read(head, 0, head.length, 0);
    return pngTexts(head.subarray(0, bytesRead));
  } finally {
    await file.close();
  }
}

/** Whether a PNG file says that `software` wrote it (`PngOptions.software`). */
export async function hasSoftware(path: string, software: string): Promise<boolean> {
  return (await pngFileTexts(path)).get("Software") === software;
}
