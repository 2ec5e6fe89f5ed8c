/** How this program recognizes its own GGUF file, so that it replaces no other. Node only. */
import { isMissing } from "../../files/file-error.ts";
import { FormatError } from "../../tensor/errors.ts";
import { nodeFileSource } from "../node-files.ts";
import { EXPORT_MARK } from "./export.ts";
import { openGguf } from "./reader.ts";

/** Whether `exportGguf` wrote the file at `path`. */
export async function isOwnExport(path: string): Promise<boolean> {
  try {
    const source = await nodeFileSource(path);
    try {
      return (await openGguf(source)).metadata.has(EXPORT_MARK);
    } finally {
      await source.close?.();
    }
  } catch (error) {
    if (error instanceof FormatError || isMissing(error)) return false;
    throw error;
  }
}
