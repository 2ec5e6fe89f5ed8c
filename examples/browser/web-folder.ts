/** A model's folder on any web server. */
import { blobSource, type FileTree } from "deepseek-ts/checkpoint";

/**
 * The folder at an address: each file is fetched when it is asked for, and kept as a blob, outside of the heap.
 * @param address without a slash at its end
 */
export function webFolder(address: string): FileTree {
  const files = new Map<string, Promise<Blob | null>>();
  const load = async (path: string) => {
    const answer = await fetch(`${address}/${path}`);
    // Some servers answer with their front page where there is no such file.
    const page = answer.headers.get("content-type")?.startsWith("text/html");
    if (answer.ok && !page) return answer.blob();
    if (answer.ok || answer.status === 404) return null;
    throw new Error(`${answer.url}: ${answer.status} ${answer.statusText}`);
  };
  const get = (path: string) => {
    const found = files.get(path) ?? load(path);
    files.set(path, found);
    return found;
  };
  const need = async (path: string) => {
    const blob = await get(path);
    if (blob === null) throw new Error(`${address}/${path}: no such file`);
    return blob;
  };
  return {
    name: address,
    has: async (path) => (await get(path)) !== null,
    open: async (path) => blobSource(await need(path), path),
    readText: async (path) => (await need(path)).text(),
    list: async () => [],
  };
}
