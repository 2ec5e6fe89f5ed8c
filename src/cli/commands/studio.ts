/** `deepseek-ts studio`: a page in the browser from which everything can be done and watched. */
import { spawn } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import { parseHubName } from "../../pretrained/hub-name.ts";
import type { JobView } from "../../serve/studio/protocol.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { formatBytes, plural } from "../../text/units.ts";
import { flowing } from "../help.ts";
import { listenForInterrupt } from "../interrupt.ts";
import { version } from "../version.ts";
import { numberThat, usageError, withThreads } from "./options.ts";

interface StudioFlags {
  readonly port: number;
  /** Commander's name for `--no-open`. */
  readonly open: boolean;
  readonly root?: readonly string[];
  readonly allowHost?: readonly string[];
  /** Commander's name for `--no-token`. */
  readonly token: boolean;
  readonly threads?: number;
  readonly export?: string;
}

const examples = `
Examples:
  deepseek-ts studio                                               opens the page; models of the hub's cache and of ./runs
  deepseek-ts studio runs/demo-1                                   with this model opened
  deepseek-ts studio deepseek-ai/Janus-Pro-1B --port 7000          one from the cache of the hub
  deepseek-ts studio --root ./models ./notes                       the page may read and write below these folders alone
  deepseek-ts studio --no-open                                     prints the address, for a browser on another machine by ssh -L
  deepseek-ts studio --export site                                 writes the page as files: models run in the browser, without a server

The page is served on 127.0.0.1 alone. Its address carries a token, new at each start, without which nothing is answered: do not
pass it on. What runs goes on when the page is closed; Ctrl-C stops everything: training saves first, and can be resumed.`;

const port = numberThat("a port, 0 to 65535", (n) => Number.isInteger(n) && n >= 0 && n <= 65535);

function hostName(text: string, all: readonly string[] = []): string[] {
  if (/^[^\s/:@*]+$/.test(text)) return [...all, text];
  throw new InvalidArgumentError("Expected a host name such as studio.example, without port.");
}

/** Where training writes, unless other folders are named. */
const DEFAULT_ROOT = "runs";

/** The command that opens an address in the browser, by platform. */
const OPENERS: Readonly<Partial<Record<NodeJS.Platform, readonly [string, ...string[]]>>> = {
  darwin: ["open"],
  win32: ["rundll32", "url.dll,FileProtocolHandler"],
};

/** Opens an address in the browser; where there is none, nothing happens: the address was printed. */
function openInBrowser(address: string): void {
  const [program, ...rest] = OPENERS[process.platform] ?? ["xdg-open"];
  const child = spawn(program, [...rest, address], { stdio: "ignore", detached: true });
  child.on("error", () => {});
  child.unref();
}

/** The roots, and the names of the models to open: those in folders get a root of their own where none has them. */
export function rootsAndModels(
  models: readonly string[],
  roots: readonly string[],
): { readonly roots: readonly string[]; readonly paths: readonly (string | null)[] } {
  const all = [...roots];
  const paths = models.map((model) => {
    if (!existsSync(model)) {
      if (parseHubName(model) !== null) return null;
      throw new ConfigError("neither an existing file or folder nor a name on the Hugging Face hub", {
        where: model,
        expected: "a model folder, a training run, a .gguf file, or org/name",
      });
    }
    const path = resolve(model);
    const isBelow = all.some((root) => path === resolve(root) || path.startsWith(join(resolve(root), "/")));
    // Of a file nothing but its folder can be a root.
    if (!isBelow) all.push(statSync(path).isDirectory() ? path : dirname(path));
    return path;
  });
  return { roots: all, paths };
}

/** What was running when it was stopped, one line each. */
export function stoppedText(jobs: readonly JobView[]): string {
  if (jobs.length === 0) return "stopped; nothing was running\n";
  const lines = jobs.map(({ kind, title, progress }) => {
    const far =
      progress === null
        ? ""
        : `, ${progress.done}${progress.total === null ? "" : ` of ${progress.total}`} ${progress.unit}`;
    return `  ${kind}: ${title}${far}\n`;
  });
  return `stopping ${plural(jobs.length, "job")}:\n${lines.join("")}`;
}

/**
 * Everything behind the page is large, and not needed for the help of this command. Outside of the function that calls it: the
 * compiler leaves `.ts` in an `import()` beside a `using`.
 */
const theServer = () => import("../../serve/studio/server.ts");

async function studio(models: readonly string[], flags: StudioFlags): Promise<void> {
  const { stdout, stderr } = process;
  const log = (line: string) => void stderr.write(`${line}\n`);
  const { startStudio, STUDIO_PAGE } = await theServer();
  const { roots, paths } = rootsAndModels(models, flags.root ?? [DEFAULT_ROOT]);
  let stop = () => {};
  const stopped = new Promise<void>((resolve) => {
    stop = resolve;
  });
  using interrupt = listenForInterrupt(() => stop(), { outlivesReader: false });
  const running = await startStudio({
    ...{ port: flags.port, roots, version, log, threads: flags.threads },
    allowHosts: flags.allowHost,
    withoutToken: !flags.token,
    onListening({ url, token, code }) {
      const address = token === null ? url : `${url}#token=${token}`;
      stdout.write(`${address}\n`);
      if (!existsSync(join(STUDIO_PAGE, "index.html"))) {
        log("The page is not built in this installation; build it with: npm run build:studio");
      } else if (flags.open) openInBrowser(code === null ? url : `${url}#code=${code}`);
    },
  });
  for (const [i, model] of models.entries()) {
    const path = paths[i];
    await running.openModel(path === null ? model : running.nameOf(path)).catch((error: Error) => {
      log(`error: ${basename(model)} cannot be opened: ${error.message}`);
    });
  }
  await stopped;
  stderr.write(stoppedText(await running.running()));
  await running.close();
  process.exitCode = interrupt.exitCode;
}

/** Writes the page for the web server of others, and says what that one must do. */
async function exportTo(folder: string): Promise<void> {
  const { STUDIO_PAGE } = await theServer();
  const { exportPage, ISOLATION } = await import("../../serve/studio/export-page.ts");
  const { hubSettings } = await import("../../pretrained/hub-settings.ts");
  const { endpoint } = await hubSettings();
  const { files, bytes } = await exportPage(STUDIO_PAGE, folder, endpoint);
  process.stdout.write(
    `wrote the page to ${folder}: ${plural(files, "file")}, ${formatBytes(bytes)}\n` +
      `Serve it over https or from localhost, every file with these two headers:\n${Object.entries(ISOLATION)
        .map(([name, value]) => `  ${name}: ${value}\n`)
        .join("")}` +
      `For example: npx serve ${folder}   (it reads them from serve.json; Netlify and Cloudflare Pages read _headers)\n`,
  );
}

export function studioCommand(): Command {
  const command = new Command("studio")
    .summary("chat, draw, train and prove from a page in the browser")
    .description(
      "Starts a server on this machine and opens its page in the browser: chat with pictures, draw, train, prove, manage models, and " +
        "see inside while it happens.",
    )
    .argument(
      "[model...]",
      "models to open: a folder, a training run, a .gguf file, or org/name in the cache of the hub",
    )
    .option("--port <n>", "port to listen on; 0 picks a free one", port, 7333)
    .option("--no-open", "print the address and open no browser")
    .option(
      "--root <folder...>",
      `folders that the page may list, read and write below (default: ${DEFAULT_ROOT})`,
    )
    .option(
      "--allow-host <name>",
      "also answer requests for this host name, such as that of a proxy; may be repeated",
      hostName,
    )
    .option(
      "--export <folder>",
      "write the page as static files and start no server: models run in the browser; an earlier export is replaced",
    )
    .option("--no-token", "ask for no token: every program and user of this machine may use the studio");
  return withThreads(command)
    .addHelpText("after", flowing(examples))
    .action(async (models: string[], flags: StudioFlags) => {
      if (!flags.token && flags.allowHost !== undefined) {
        usageError(command, "--no-token is for this machine alone: remove --allow-host");
      }
      if (flags.export !== undefined) {
        if (models.length > 0) usageError(command, "--export writes the page alone: name no models");
        await exportTo(flags.export);
        return;
      }
      await studio(models, flags);
    });
}
