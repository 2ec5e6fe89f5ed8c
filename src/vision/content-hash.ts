/** What names an image's content. */
import { ConfigError } from "../tensor/errors.ts";

/** SHA-256 of bytes behind some numbers, in hexadecimal. @throws ConfigError if the page may not compute it */
export async function contentHash(numbers: readonly number[], content: Uint8Array): Promise<string> {
  const { subtle } = globalThis.crypto ?? {};
  if (subtle === undefined) {
    throw new ConfigError("images are told apart by SHA-256, which this page may not compute", {
      where: "contentHash",
      hint: "Serve the page over https, or from localhost.",
    });
  }
  const head = new Uint8Array(Int32Array.from(numbers).buffer);
  const bytes = new Uint8Array(head.length + content.length);
  bytes.set(head);
  bytes.set(content, head.length);
  const digest = new Uint8Array(await subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
