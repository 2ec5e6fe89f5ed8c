/**
 * The saved states of a run: `step-*` folders side by side, of which the newest whole one counts. Damaged ones are set aside, old
 * ones removed; nothing goes that this program did not write.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { clearAbandonedIn, removeOwnFolder, setAside } from "../files/owned.ts";
import { someOf } from "../files/place.ts";
import { DeepseekError, FormatError } from "../tensor/errors.ts";
import { savedSteps, stepFolder } from "../train/state.ts";

export class RunStates {
  readonly folder: string;
  /** Old states that are kept because foreign files were added to them. */
  readonly #left = new Set<string>();

  constructor(folder: string) {
    this.folder = folder;
  }

  /** Folder of the state after `step`. */
  path(step: number): string {
    return join(this.folder, stepFolder(step));
  }

  /** Complete states, oldest first. */
  async steps(): Promise<number[]> {
    return savedSteps(await readdir(this.folder).catch(() => []));
  }

  /** What is left after a figure that was not finite, in one sentence. */
  async keptText(): Promise<string> {
    const last = (await this.steps()).at(-1);
    return last === undefined ? "Nothing was saved before." : `The state after step ${last} is kept.`;
  }

  /**
   * Gives the states to `load`, the newest first, until one loads without a `DeepseekError`; those that did not are set aside
   * under another name, so that they do not count as states to keep.
   * @returns whether there was a state @throws FormatError if there are states and none is whole
   */
  async loadNewest(
    load: (path: string) => Promise<void>,
    onNotice: (text: string) => void,
  ): Promise<boolean> {
    await clearAbandonedIn(this.folder);
    const damaged: { step: number; reason: string }[] = [];
    for (const step of (await this.steps()).toReversed()) {
      try {
        await load(this.path(step));
      } catch (error) {
        // Every error that a truncated or overwritten file causes; out of memory or a lost disk is not among them.
        if (!(error instanceof DeepseekError)) throw error;
        damaged.push({ step, reason: error.message });
        continue;
      }
      for (const { step, reason } of damaged) {
        const aside = await setAside(this.path(step));
        onNotice(`the state of step ${step} is damaged (${reason}) and now lies in ${aside}`);
      }
      if (damaged.length > 0) onNotice(`continuing after step ${step}, the newest whole state`);
      return true;
    }
    if (damaged.length === 0) return false;
    throw new FormatError("all checkpoints of the run are damaged", {
      where: this.folder,
      found: damaged.map(({ step, reason }) => `step ${step}: ${reason}`).join("; "),
      hint: "Start a new run, or delete the checkpoints to train this one from the beginning.",
    });
  }

  /** Removes all but the newest `keep` states; says once of each that it is kept for its foreign files. */
  async removeOld(keep: number, onNotice: (text: string) => void = () => {}): Promise<void> {
    for (const step of (await this.steps()).slice(0, -keep)) {
      const old = this.path(step);
      const foreign = await removeOwnFolder(old);
      if (foreign.length === 0 || this.#left.has(old)) continue;
      this.#left.add(old);
      onNotice(`${old} is kept: not written by this program: ${someOf(foreign)}`);
    }
  }
}
