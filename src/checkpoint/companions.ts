/** The files that belong to a model in addition to its configuration and weights. */
import type { FileTree } from "./byte-source.ts";

const COMPANION =
  /^((generation_config|(pre)?processor_config|tokenizer[^/]*|special_tokens_map|added_tokens|chat_template|prover)\.json|chat_template\.jinja)$/;

/** Texts of a folder that go with its model, by name, as they are written. */
export async function companions(tree: FileTree): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for (const name of await tree.list()) if (COMPANION.test(name)) files[name] = await tree.readText(name);
  return files;
}
