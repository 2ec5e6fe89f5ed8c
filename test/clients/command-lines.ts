/** Coding agents' command lines: each runs a command that the model asks for, in its own folder, and reads its output. */
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { assert, type Check, MODEL } from "./harness.ts";
import type { Script } from "./scripted-model.ts";

interface Agent {
  readonly client: string;
  readonly protocol: Check["protocol"];
  /** The tool that runs commands, and what it is called with besides the command. */
  readonly tool: string;
  readonly field: string;
  readonly more?: string;
  /** Writes settings into the folders; the command that runs `prompt`. */
  readonly prepare: (
    place: { url: string; work: string; home: string },
    prompt: string,
  ) => {
    readonly command: readonly string[];
    readonly env?: Readonly<Record<string, string>>;
  };
}

const MINUTES = 4;
const DONE = "The command has run.";
const packages = join(import.meta.dirname, "node_modules");
const script = (path: string) => [process.execPath, join(packages, path)];

const agents: readonly Agent[] = [
  {
    ...{ client: "@openai/codex", protocol: "responses", tool: "exec_command", field: "cmd" },
    prepare: ({ url, home }, prompt) => {
      writeFileSync(
        join(home, "config.toml"),
        [
          `model = "${MODEL}"`,
          'model_provider = "local"',
          "[model_providers.local]",
          'name = "local"',
          `base_url = "${url}/v1"`,
          'wire_api = "responses"',
        ].join("\n"),
      );
      const flags = ["exec", "--skip-git-repo-check", "--sandbox", "danger-full-access"];
      return {
        command: [...script("@openai/codex/bin/codex.js"), ...flags, prompt],
        env: { CODEX_HOME: home },
      };
    },
  },
  {
    ...{
      client: "opencode-ai",
      protocol: "chat",
      tool: "bash",
      field: "command",
      more: ', "description": "Does it"',
    },
    prepare: ({ url, work }, prompt) => {
      const model = { name: MODEL, limit: { context: 131_072, output: 4096 } };
      const provider = {
        ...{ npm: "@ai-sdk/openai-compatible", name: "local", models: { [MODEL]: model } },
        options: { baseURL: `${url}/v1`, apiKey: "any" },
      };
      const config = {
        ...{ autoupdate: false, share: "disabled", model: `local/${MODEL}`, small_model: `local/${MODEL}` },
        ...{ provider: { local: provider }, permission: { bash: "allow" } },
      };
      writeFileSync(join(work, "opencode.json"), JSON.stringify(config));
      const platform = `opencode-${process.platform}-${process.arch}`;
      return {
        command: [join(packages, platform, "bin", "opencode"), "run", prompt],
        env: { OPENCODE_DISABLE_MODELS_FETCH: "1", OPENCODE_DISABLE_AUTOUPDATE: "1" },
      };
    },
  },
  {
    ...{ client: "@qwen-code/qwen-code", protocol: "chat", tool: "run_shell_command", field: "command" },
    more: ', "is_background": false',
    prepare: ({ url }, prompt) => ({
      command: [...script("@qwen-code/qwen-code/cli.js"), "--auth-type", "openai", "--yolo", "-p", prompt],
      env: { OPENAI_API_KEY: "any", OPENAI_BASE_URL: `${url}/v1`, OPENAI_MODEL: MODEL },
    }),
  },
  {
    ...{ client: "@continuedev/cli", protocol: "chat", tool: "Bash", field: "command" },
    prepare: ({ url, home }, prompt) => {
      const file = join(home, "config.yaml");
      writeFileSync(
        file,
        [
          "name: local",
          "version: 1.0.0",
          "schema: v1",
          "models:",
          `  - { name: ${MODEL}, provider: openai, model: ${MODEL}, apiBase: "${url}/v1", apiKey: any, roles: [chat],`,
          "      useResponsesApi: false, capabilities: [tool_use] }",
        ].join("\n"),
      );
      return {
        command: [...script("@continuedev/cli/dist/cn.js"), "-p", "--auto", "--config", file, prompt],
        env: { CONTINUE_TELEMETRY_ENABLED: "0" },
      };
    },
  },
];

/** Runs a command without a terminal; its output. @throws if it fails or takes too long */
async function output(command: readonly string[], cwd: string, env: NodeJS.ProcessEnv): Promise<string> {
  const child = spawn(command[0], command.slice(1), {
    cwd,
    env,
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (part) => (text += part));
  const timer = setTimeout(() => process.kill(-child.pid!, "SIGKILL"), MINUTES * 60_000);
  const status = await new Promise((resolve, reject) => child.on("error", reject).on("close", resolve));
  clearTimeout(timer);
  if (status !== 0) throw new Error(`ended with ${status}:\n${text.slice(-1500)}`);
  return text;
}

export const checks: readonly Check[] = agents.map(
  ({ client, protocol, tool, field, more = "", prepare }) => ({
    ...{
      client,
      protocol,
      what: "headless: runs a command that the model asks for, and shows its last word",
    },
    run: async (serve) => {
      const script: Script = {
        call: {
          name: tool,
          arguments: [`{"${field}":`, ' "echo 6x7=$((6*7)) > made.txt; cat made.txt"', `${more}}`],
        },
        afterCall: ["The command", " has run."],
      };
      const base = mkdtempSync(join(tmpdir(), "deepseek-ts-agent-"));
      const [work, home] = [join(base, "work"), join(base, "home")];
      for (const folder of [work, home]) mkdirSync(folder);
      try {
        const { command, env } = prepare({ url: await serve(script), work, home }, "Multiply six by seven.");
        const said = await output(command, work, { ...process.env, HOME: home, PWD: work, ...env });
        assert.equal(readFileSync(join(work, "made.txt"), "utf8").trim(), "6x7=42");
        assert.ok(said.includes(DONE), said.slice(-1500));
      } finally {
        rmSync(base, { recursive: true, force: true });
      }
    },
  }),
);
