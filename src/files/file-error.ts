/**
 * Errors of the operating system in words: what failed, on which file, and what to do next. Everything that reads or
 * writes files for the user goes through `fileError`, so that users never see a bare "ENOSPC".
 */
import { dirname } from "node:path";
import { DeepseekError } from "../tensor/errors.ts";

/** The disk or the system refused: full, read-only, missing, not permitted. `code` is the system's own. */
export class FileError extends DeepseekError {
  override name = "FileError";
  readonly code: string;

  constructor(code: string, message: string, detail: ConstructorParameters<typeof DeepseekError>[1]) {
    super(message, detail);
    this.code = code;
  }
}

export type FileAction = "read" | "write" | "remove";

interface Words {
  readonly message: string;
  readonly hint?: string;
}

const ELSEWHERE = "choose a place on another disk.";

function words(code: string, path: string, action: FileAction): Words {
  switch (code) {
    case "ENOSPC":
      return { message: "the disk is full", hint: `Free some space, or ${ELSEWHERE}` };
    case "EDQUOT":
      return { message: "disk quota exceeded", hint: `Free some space, or ${ELSEWHERE}` };
    case "EROFS":
      return { message: "the disk is read-only", hint: `Mount it for writing, or ${ELSEWHERE}` };
    case "EFBIG":
      return { message: "file is too large for the file system", hint: `Use smaller files, or ${ELSEWHERE}` };
    case "EACCES":
    case "EPERM":
      return {
        message: `no permission to ${action} it`,
        hint: `Check the permissions: ls -ld ${action === "read" ? path : dirname(path)}`,
      };
    case "ENOENT":
      return action === "write"
        ? { message: "its folder does not exist", hint: `Create it first: mkdir -p ${dirname(path)}` }
        : { message: "no such file or folder", hint: "Check the path." };
    case "ENOTDIR":
      return { message: "a part of the path is a file, not a folder", hint: "Check the path." };
    case "EISDIR":
      return { message: "this is a folder, not a file", hint: "Name a file." };
    case "EEXIST":
    case "ENOTEMPTY":
      return { message: "already exists", hint: "Choose another name." };
    case "ENAMETOOLONG":
      return { message: "file name is too long", hint: "Choose a shorter one." };
    case "ELOOP":
      return { message: "too many levels of symbolic links", hint: "Check the path." };
    case "EXDEV":
      return {
        message: "it cannot be moved as a whole: it lies on another disk or layer",
        hint: "Choose another place.",
      };
    case "EBUSY":
    case "ETXTBSY":
      return { message: "another program is using it", hint: "Close that program, or choose another place." };
    case "EMFILE":
    case "ENFILE":
      return { message: "too many files are open", hint: "Raise the limit: ulimit -n 4096" };
    case "EIO":
      return {
        message: `the disk failed to ${action} it`,
        hint: `Check the disk, or ${ELSEWHERE}`,
      };
    default:
      return { message: `could not ${action} it (${code})` };
  }
}

/** The code of a system error such as "ENOENT", or "" for anything else. */
export function codeOf(error: unknown): string {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === "string" && /^E[A-Z0-9]+$/.test(code) ? code : "";
}

/** True if the error says that nothing is at a path. */
export function isMissing(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR"].includes(codeOf(error));
}

/** A system error as a FileError about `path`; any other error as it is. */
export function fileError(error: unknown, path: string, action: FileAction): unknown {
  const code = codeOf(error);
  if (code === "" || error instanceof DeepseekError) return error;
  const { message, hint } = words(code, path, action);
  return new FileError(code, message, { where: path, hint, cause: error });
}

/** Runs `body`; a system error in it becomes a FileError about `path`. */
export async function explained<T>(path: string, action: FileAction, body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    throw fileError(error, path, action);
  }
}
