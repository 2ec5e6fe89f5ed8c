/** Completion for bash, zsh and fish, made from the commands and options themselves. */
import type { Argument, Command, Option } from "commander";

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

/** What can stand at a place: some words, files, folders. */
interface Value {
  readonly words: readonly string[];
  readonly paths: "files" | "folders" | null;
}

const suggestions = new WeakMap<Option, Value>();

/** Says what completion offers for an option which takes more than that. */
export function suggesting(option: Option, words: readonly string[], paths: Value["paths"] = null): Option {
  suggestions.set(option, { words, paths });
  return option;
}

interface Flag {
  readonly names: readonly string[];
  readonly description: string;
  /** Null for an option without one. */
  readonly value: Value | null;
  readonly repeated: boolean;
}

interface Words {
  readonly name: string;
  readonly summary: string;
  readonly flags: readonly Flag[];
  readonly values: readonly Value[];
}

const FILES = /^(file|path|model|out)$/;
const FOLDERS = /^folder$/;

function pathsOf(name: string): Value["paths"] {
  return FILES.test(name) ? "files" : FOLDERS.test(name) ? "folders" : null;
}

/** The first part of a description, cut to what fits beside a word. */
function brief(description: string): string {
  const [part] = description.split(/ \(|[:;] /);
  return part.length <= 60 ? part : `${part.slice(0, 57)}..`;
}

function flagOf(option: Option): Flag {
  const placeholder = /[<[]([^>\].]+)/.exec(option.flags)?.[1];
  const value = suggestions.get(option) ?? {
    words: option.argChoices ?? [],
    paths: option.argChoices ? null : pathsOf(placeholder ?? ""),
  };
  return {
    names: [option.long, option.short].filter((name): name is string => name != null),
    description: brief(option.description),
    value: placeholder === undefined ? null : value,
    repeated: option.variadic || Array.isArray(option.defaultValue),
  };
}

const argumentValue = (argument: Argument): Value => ({
  words: argument.argChoices ?? [],
  paths: argument.argChoices ? null : pathsOf(argument.name()),
});

/** The commands of a program with all that can follow them. */
function wordsOf(program: Command): Words[] {
  return program.commands.map((command) => ({
    name: command.name(),
    summary: command.summary(),
    flags: [
      ...command.options.filter((option) => !option.hidden).map(flagOf),
      { names: ["--help", "-h"], description: "display help for command", value: null, repeated: false },
    ],
    values: command.registeredArguments.map(argumentValue),
  }));
}

const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;

function bash(name: string, commands: readonly Words[]): string {
  const offer = ({ words, paths }: Value) => {
    const parts = words.length > 0 ? [`_deepseek_ts_words ${quoted(words.join(" "))}`] : [];
    if (paths) parts.push(`_deepseek_ts_${paths}`);
    return parts.length > 0 ? parts.join("; ") : ":";
  };
  const values = commands.flatMap(({ name, flags }) =>
    flags.flatMap(({ names, value }) =>
      value
        ? [`    ${names.map((flag) => quoted(`${name} ${flag}`)).join("|")}) ${offer(value)}; return ;;`]
        : [],
    ),
  );
  const flags = commands.map(
    ({ name, flags }) =>
      `      ${name}) _deepseek_ts_words ${quoted(flags.flatMap(({ names }) => names.filter((n) => n.startsWith("--"))).join(" "))} ;;`,
  );
  const places = commands.map(({ name, values }) => {
    // The kinds of a command's arguments are the same or one: words and paths of any.
    const all = {
      words: values.flatMap(({ words }) => words),
      paths: values.find(({ paths }) => paths)?.paths ?? null,
    };
    return `    ${name}) ${offer(all)} ;;`;
  });
  return `# bash completion of ${name}; in ~/.bashrc: source <(${name} completion bash)
_deepseek_ts_words() {
  local IFS=$' \\n'
  COMPREPLY+=($(compgen -W "$1" -- "$cur"))
}
_deepseek_ts_files() {
  local IFS=$'\\n'
  if type compopt >/dev/null 2>&1; then compopt -o filenames; fi
  COMPREPLY+=($(compgen -f -- "$cur"))
}
_deepseek_ts_folders() {
  local IFS=$'\\n'
  if type compopt >/dev/null 2>&1; then compopt -o filenames; fi
  COMPREPLY+=($(compgen -d -- "$cur"))
}
_deepseek_ts() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} command= i
  COMPREPLY=()
  # bash cuts --option=value into three words.
  if [[ $cur == = ]]; then
    cur=
  elif [[ $prev == = ]]; then
    prev=\${COMP_WORDS[COMP_CWORD - 2]}
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    if [[ \${COMP_WORDS[i]} != -* ]]; then
      command=\${COMP_WORDS[i]}
      break
    fi
  done
  if [[ -z $command ]]; then
    _deepseek_ts_words ${quoted([...commands.map(({ name }) => name), "--help", "--version"].join(" "))}
    return
  fi
  case "$command $prev" in
${values.join("\n")}
  esac
  if [[ $cur == -* ]]; then
    case $command in
${flags.join("\n")}
    esac
    return
  fi
  case $command in
${places.join("\n")}
  esac
}
complete -F _deepseek_ts ${name}
`;
}

function zsh(name: string, commands: readonly Words[]): string {
  const text = (description: string) => description.replaceAll(/[[\]:\\]/g, "\\$&");
  const action = ({ words, paths }: Value) => {
    const list = words.length > 0 ? `(${words.join(" ")})` : "";
    const files = paths === "files" ? "_files" : paths === "folders" ? "_files -/" : "";
    if (list && files) return `{ _alternative "words:word:${list}" "files:file:${files}" }`;
    return list || files || " ";
  };
  const specs = ({ flags, values }: Words) => [
    ...flags.flatMap(({ names, description, value, repeated }) =>
      names.map((flag) =>
        quoted(
          `${repeated ? "*" : `(${names.join(" ")})`}${flag}[${text(description)}]${value ? `:value:${action(value)}` : ""}`,
        ),
      ),
    ),
    ...values.map((value, i) => quoted(`${i + 1}:argument:${action(value)}`)),
  ];
  return `#compdef ${name}
# zsh completion of ${name}; in ~/.zshrc, after compinit: source <(${name} completion zsh)
_deepseek_ts() {
  local curcontext="$curcontext" state line
  typeset -A opt_args
  _arguments -C '(- *)--help[display help]' '(- *)--version[output the version number]' '1: :->command' '*:: :->rest'
  case $state in
    command)
      local -a commands
      commands=(
${commands.map(({ name, summary }) => `        ${quoted(`${name}:${text(summary)}`)}`).join("\n")}
      )
      _describe command commands
      ;;
    rest)
      case $words[1] in
${commands.map((command) => `        ${command.name})\n          _arguments ${specs(command).join(" \\\n            ")}\n          ;;`).join("\n")}
      esac
      ;;
  esac
}
if (( $+functions[compdef] )); then compdef _deepseek_ts ${name}; fi
`;
}

function fish(name: string, commands: readonly Words[]): string {
  const text = (words: string) => `'${words.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const lines = [
    `# fish completion of ${name}; ${name} completion fish > ~/.config/fish/completions/${name}.fish`,
    `complete -c ${name} -f`,
    `complete -c ${name} -n __fish_use_subcommand -s V -l version -d ${text("output the version number")}`,
    `complete -c ${name} -n __fish_use_subcommand -s h -l help -d ${text("display help")}`,
  ];
  const folders = "(__fish_complete_directories)";
  for (const command of commands) {
    const inside = `complete -c ${name} -n ${text(`__fish_seen_subcommand_from ${command.name}`)}`;
    lines.push(`complete -c ${name} -n __fish_use_subcommand -a ${command.name} -d ${text(command.summary)}`);
    for (const { names, description, value } of command.flags) {
      const flags = names.map((flag) =>
        flag.startsWith("--") ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`,
      );
      const words = [...(value?.words ?? []), ...(value?.paths === "folders" ? [folders] : [])];
      const takes = value === null ? "" : value.paths === "files" ? " -r -F" : " -x";
      const offers = words.length > 0 ? ` -a ${text(words.join(" "))}` : "";
      lines.push(`${inside} ${flags.join(" ")}${takes}${offers} -d ${text(description)}`);
    }
    const words = command.values.flatMap(({ words, paths }) => [
      ...words,
      ...(paths === "folders" ? [folders] : []),
    ]);
    const files = command.values.some(({ paths }) => paths === "files");
    if (words.length > 0 || files) {
      lines.push(`${inside}${files ? " -F" : ""}${words.length > 0 ? ` -a ${text(words.join(" "))}` : ""}`);
    }
  }
  return `${lines.join("\n")}\n`;
}

/** The script that teaches `shell` the program's commands, options and what can follow them. */
export function completionScript(shell: Shell, program: Command): string {
  return { bash, zsh, fish }[shell](program.name(), wordsOf(program));
}
