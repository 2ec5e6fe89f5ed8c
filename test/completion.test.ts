/** Completion in the shells themselves: what each offers after the beginning of a command line. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const main = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));
const work = mkdtempSync(join(tmpdir(), "completion-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

const has = (shell: string) => spawnSync(shell, ["-c", "exit 0"]).status === 0;
const script = (shell: string) => join(work, `script.${shell}`);

beforeAll(() => {
  mkdirSync(join(work, "my texts"));
  writeFileSync(join(work, "my file.json"), "{}");
  for (const shell of ["bash", "zsh", "fish"]) {
    writeFileSync(script(shell), execFileSync(process.execPath, [main, "completion", shell]));
  }
});

const commands = [
  "ask",
  "bench",
  "chat",
  "check-parity",
  "complete",
  "completion",
  "convert",
  "demo",
  "download",
  "draw",
  "fill",
  "ground",
];
/** A line's words, the last one to be completed, and what completes it. */
const cases: readonly (readonly [words: readonly string[], offered: readonly string[]])[] = [
  [["tr"], ["train"]],
  [["train", "--pre"], ["--preset"]],
  [
    ["train", "--preset", "v"],
    ["v2-small", "v3-small"],
  ],
  [
    ["quantize", "--dtype", ""],
    ["q4", "q8"],
  ],
  [
    ["completion", ""],
    ["bash", "fish", "zsh"],
  ],
  [
    ["serve", "model", "--max-b"],
    ["--max-batch", "--max-body"],
  ],
  [["complete", "--seed", "1", "--temp"], ["--temperature"]],
];

describe.skipIf(!has("bash"))("bash", () => {
  const program = `
    source "$1"; shift
    compopt() { echo "$2" >&2; }
    COMP_WORDS=(deepseek-ts "$@"); COMP_CWORD=$#; COMPREPLY=()
    _deepseek_ts
    printf '%s\\n' "\${COMPREPLY[@]}"`;
  const complete = (...words: string[]) => {
    const { stdout, stderr } = spawnSync(
      "bash",
      ["--norc", "-c", program, "bash", script("bash"), ...words],
      {
        cwd: work,
        encoding: "utf8",
      },
    );
    return {
      offered: stdout
        .split("\n")
        .filter((line) => line !== "")
        .sort(),
      err: stderr,
    };
  };

  it.each(cases)("%j offers %j", (words, offered) => {
    expect(complete(...words)).toEqual({ offered, err: "" });
  });

  it("offers all commands, and the value behind an equals sign", () => {
    expect(complete("").offered).toEqual(expect.arrayContaining(commands));
    expect(complete("train", "--preset", "=", "llm").offered).toEqual(["llm-small"]);
    expect(complete("train", "--preset", "=").offered).toHaveLength(5);
  });

  it("offers files or folders, names with spaces whole, and lets the shell quote them", () => {
    expect(complete("train", "my")).toEqual({ offered: ["my texts"], err: "filenames\n" });
    expect(complete("train", "--config", "my")).toEqual({
      offered: ["my file.json", "my texts"],
      err: "filenames\n",
    });
    expect(complete("train", "--seed", "")).toEqual({ offered: [], err: "" });
  });
});

describe.skipIf(!has("fish"))("fish", () => {
  const complete = (...words: string[]) => {
    const line = `deepseek-ts ${words.join(" ")}`;
    const { stdout, stderr } = spawnSync(
      "fish",
      ["--no-config", "-c", `source ${script("fish")}; complete -C ${JSON.stringify(line)}`],
      { cwd: work, encoding: "utf8" },
    );
    const offered = stdout.split("\n").map((row) => row.split("\t")[0]);
    return { offered: offered.filter((word) => word !== "").sort(), err: stderr };
  };

  it.each(cases)("%j offers %j", (words, offered) => {
    expect(complete(...words)).toEqual({ offered, err: "" });
  });

  it("offers all commands, files and folders", () => {
    expect(complete("").offered).toEqual(expect.arrayContaining(commands));
    expect(complete("train", "--config", "my").offered).toHaveLength(2);
    expect(complete("train", "my").offered).toHaveLength(1);
  });
});

describe.skipIf(!has("zsh"))("zsh", () => {
  // A shell in its own terminal, in which a key writes down the line as it stands.
  const program = `
    zmodload zsh/zpty
    script=$1 out=$2; shift 2
    zpty shell zsh -f -i
    zpty -w shell "autoload -Uz compinit; compinit -u -D; source $script; note() { print -r -- \\"\\$BUFFER\\" >> $out }; zle -N note; bindkey '^X' note; bindkey '^I' complete-word; : > $out"
    until [[ -e $out ]]; do zpty -r -t shell text; sleep 0.02; done
    for line in "$@"; do zpty -w -n shell $'\\C-u'"$line"$'\\t\\C-x'; done
    until (( $(wc -l < $out) >= $# )); do zpty -r -t shell text; sleep 0.02; done
    zpty -d shell`;

  it("completes commands, options, choices and folders in the line", () => {
    const out = join(work, "lines");
    const lines = [
      "tr",
      "train --pres",
      "train --preset v3",
      "quantize --dt",
      "completion z",
      "train my",
      "train --config my\\ f",
    ];
    const typed = lines.map((line) => `deepseek-ts ${line}`);
    const { status, stderr } = spawnSync("zsh", ["-f", "-c", program, "zsh", script("zsh"), out, ...typed], {
      cwd: work,
      encoding: "utf8",
      timeout: 60_000,
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const found = readFileSync(out, "utf8").trimEnd().split("\n");
    expect(found.map((line) => line.replace("deepseek-ts ", "").trimEnd())).toEqual([
      ...["train", "train --preset", "train --preset v3-small", "quantize --dtype", "completion zsh"],
      ...["train my\\ texts/", "train --config my\\ file.json"],
    ]);
  });
});
