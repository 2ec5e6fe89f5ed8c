/** Tells pictures that this program drew from others. */
import { openForReading } from "../files/text-file.ts";

/** Whether a PNG file says, in front of its pixels, that `software` wrote it (`PngOptions.software`). */
export async function hasSoftware(path: string, software: string): Promise<boolean> {
  const file = await openForReading(path);
  try {
    // Signature and header are 33 bytes, length and type of the next chunk 8.
    const { buffer, bytesRead } = await file.read(Buffer.alloc(256), 0, 256, 0);
    const text = `tEXtSoftware\0${software}`;
    return (
      buffer.toString("latin1", 1, 4) === "PNG" && buffer.toString("latin1", 37, bytesRead).startsWith(text)
    );
  } finally {
    await file.close();
  }
}
