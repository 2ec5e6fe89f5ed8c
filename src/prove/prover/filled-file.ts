/** A Lean file with proofs for its `sorry`s, before anything is written: as a patch, or put in the file's place. */
import { isAbsolute, relative, resolve, sep } from "node:path";
import { createTwoFilesPatch, FILE_HEADERS_ONLY } from "diff";
import { writeTextFile } from "../../files/file-sink.ts";
import { readTextFile } from "../../files/text-file.ts";
import type { FilledUnit, FillResult } from "../fill/fill.ts";

export class FilledFile {
  readonly path: string;
  /** The file as it was read. */
  readonly source: string;
  /** The file with its proofs. */
  readonly text: string;
  /** Every `sorry` that was worked on, with its end. */
  readonly units: readonly FilledUnit[];
  /** Lean's first error in the filled file, if it has one that the file did not have before; empty otherwise. */
  readonly fault: string;

  constructor(path: string, source: string, { text, ends, fault }: FillResult) {
    this.path = path;
    this.source = source;
    this.text = text;
    this.units = ends;
    this.fault = fault;
  }

  /** `sorry`s that were proved. */
  get solved(): number {
    return this.units.filter(({ end }) => end.outcome === "proved").length;
  }

  get changed(): boolean {
    return this.text !== this.source;
  }

  /** A unified patch, its file named from the working directory, or from the root if it lies elsewhere; empty if nothing was proved. */
  patch(): string {
    if (!this.changed) return "";
    const near = isAbsolute(this.path) ? relative("", this.path) : this.path;
    const path = near.startsWith("..") ? resolve(this.path) : near;
    const name = path.replaceAll(sep, "/").replace(/^\//, "");
    return createTwoFilesPatch(
      ...([`a/${name}`, `b/${name}`, this.source, this.text, undefined, undefined] as const),
      { context: 3, headerOptions: FILE_HEADERS_ONLY },
    );
  }

  /** Puts the text into the file, in one step. @throws ConfigError if the file is no longer what was read, FileError */
  async apply(): Promise<void> {
    if (!this.changed) return;
    const unchanged = async (file: string) => (await readTextFile(file)) === this.source;
    await writeTextFile(this.path, this.text, { force: true, isOurs: unchanged });
  }
}
