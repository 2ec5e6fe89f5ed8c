/**
 * Pictures while they are drawn: in the terminal, where it can show them, or as a file that grows. What is shown last of a
 * picture is the finished one, which stays.
 */
import { nodeFileSink } from "../files/file-sink.ts";
import { writeWhole } from "../files/sink.ts";
import { discard, unsettled } from "../files/temporary.ts";
import type { RgbImage } from "../vision/image/image.ts";
import { encodePng } from "../vision/image/png-writer.ts";
import { hasSoftware } from "./png-software.ts";
import { type ImageProtocol, imageProtocol, imageProtocols, imageText } from "./terminal-image.ts";

/** Rows of text that a picture takes. */
const ROWS = 14;

export type PreviewChoice = "auto" | "off" | "file" | ImageProtocol;

export const previewChoices: readonly PreviewChoice[] = ["auto", "off", "file", ...imageProtocols];

/** Where a person watches. */
export interface Screen {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly rows?: number;
}

export interface Preview {
  /** Whether pictures that are not finished are shown. */
  readonly grows: boolean;
  /** Shows a picture as it is now. @param path of the finished one */
  show(picture: RgbImage, label: string, path: string): Promise<void>;
  /** Shows it finished, and leaves it. */
  finish(picture: RgbImage, path: string): Promise<void>;
  /** Takes away what is not finished. */
  close(): Promise<void>;
}

const nothing: Preview = {
  grows: false,
  show: async () => {},
  finish: async () => {},
  close: async () => {},
};

/** A block of rows in the terminal, drawn over while a picture grows. */
class TerminalPreview implements Preview {
  readonly grows = true;
  readonly #screen: Screen;
  readonly #protocol: ImageProtocol;
  readonly #rows: number;
  #block = false;
  /** Names the picture to kitty, which draws a new one of the same name in place of the old. */
  #id = 1 + (process.pid % 1000) * 1000;

  constructor(screen: Screen, protocol: ImageProtocol) {
    this.#screen = screen;
    this.#protocol = protocol;
    this.#rows = Math.max(2, Math.min(ROWS, (screen.rows ?? 24) - 4));
  }

  async show(picture: RgbImage, label: string): Promise<void> {
    const text = await imageText(picture, this.#protocol, this.#rows, this.#id);
    const rows = this.#rows;
    const over = this.#block ? `\x1b[${rows + 1}A\r\x1b[0J` : "";
    // The rows exist before the cursor is kept: at the bottom of the screen they scroll it.
    this.#screen.write(`${over}${label}\n${"\n".repeat(rows)}\x1b[${rows}A\x1b7${text}\x1b8\x1b[${rows}B\r`);
    this.#block = true;
  }

  async finish(picture: RgbImage): Promise<void> {
    // Its path follows on standard output.
    await this.show(picture, "drawn:");
    this.#block = false;
    this.#id++;
  }

  async close(): Promise<void> {}
}

/** What the growing files say of themselves, so that one that was left behind is replaced. */
const PREVIEW_SOFTWARE = "deepseek-ts draw preview";

/** Where a picture grows that will be at `path`. */
export const previewPath = (path: string): string => path.replace(/\.png$/, ".preview.png");

/** Whether a file is a picture that was growing. @throws the system's error */
export const isPreview = (path: string): Promise<boolean> => hasSoftware(path, PREVIEW_SOFTWARE);

/** A file beside the finished one, replaced while the picture grows and gone when it is there. */
class FilePreview implements Preview {
  readonly grows = true;
  readonly #told: (path: string) => void;
  readonly #written = new Set<string>();

  /** @param told is called with the first file: others have names like it */
  constructor(told: (path: string) => void) {
    this.#told = told;
  }

  async show(picture: RgbImage, _: string, path: string): Promise<void> {
    const growing = previewPath(path);
    const bytes = await encodePng(picture, { software: PREVIEW_SOFTWARE });
    await writeWhole(await nodeFileSink(growing, { force: true, isOurs: isPreview }), bytes);
    if (this.#written.has(growing)) return;
    if (this.#written.size === 0) this.#told(growing);
    this.#written.add(growing);
    unsettled(growing);
  }

  async finish(_: RgbImage, path: string): Promise<void> {
    await this.#remove(previewPath(path));
  }

  async close(): Promise<void> {
    for (const path of this.#written) await this.#remove(path);
  }

  async #remove(path: string): Promise<void> {
    if (this.#written.delete(path)) await discard(path);
  }
}

/**
 * What shows pictures. `auto` is the terminal's own way where a person watches, else a growing file, and nothing where nobody does.
 * @param told is called with the first growing file
 */
export function openPreview(
  choice: PreviewChoice,
  screen: Screen,
  environment: Readonly<Record<string, string | undefined>>,
  told: (path: string) => void,
): Preview {
  if (choice === "off" || (choice === "auto" && !screen.isTTY)) return nothing;
  if (choice === "file") return new FilePreview(told);
  const protocol = choice === "auto" ? imageProtocol(environment) : choice;
  return protocol === null ? new FilePreview(told) : new TerminalPreview(screen, protocol);
}
