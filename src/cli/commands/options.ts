/** What several commands share: option values with their checks, and the device. */
import { type Command, InvalidArgumentError } from "commander";
import { strictText, withoutMark } from "../../files/utf8.ts";
import type { Device } from "../../tensor/tensor.ts";

/** The fields that have a value: options that are not given leave settings out. */
export const given = <T extends object>(values: T): Partial<T> =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Partial<T>;

/** A number in decimal notation that satisfies `valid`. */
export function numberThat(expected: string, valid: (n: number) => boolean): (text: string) => number {
  return (text) => {
    const value = text.trim() === "" ? Number.NaN : Number(text);
    if (!Number.isFinite(value) || !valid(value)) throw new InvalidArgumentError(`Expected ${expected}.`);
    return value;
  };
}

export const positiveInteger = numberThat("an integer, 1 or more", (n) => Number.isSafeInteger(n) && n >= 1);
export const naturalNumber = numberThat("an integer, 0 or more", (n) => Number.isSafeInteger(n) && n >= 0);
export const positiveNumber = numberThat("a number above 0", (n) => n > 0);
/** A limit that a timer keeps: timers wait for 24 days at most. */
export const secondsLimit = numberThat("seconds above 0, 1,000,000 at most", (n) => n > 0 && n <= 1e6);
export const notNegative = numberThat("a number, 0 or more", (n) => n >= 0);
export const fraction = numberThat("a number from 0 to 1", (n) => n >= 0 && n <= 1);

/** Reads an option that may be given several times. */
export const collect = (value: string, before: readonly string[] = []): string[] => [...before, value];

/** Ends with a usage error: message, hint to the help, exit status 2. */
export function usageError(command: Command, message: string): never {
  command.error(`error: ${message}\nSee: deepseek-ts ${command.name()} --help`, { exitCode: 2 });
}

/** Those of the options that were typed, as they are typed. @param names as commander names them */
export function givenOptions(command: Command, names: readonly string[]): string[] {
  return command.options
    .filter((option) => names.includes(option.attributeName()))
    .filter((option) => command.getOptionValueSource(option.attributeName()) === "cli")
    .map(({ long, short }) => long ?? short ?? "");
}

/** Adds `--threads`. */
export function withThreads(command: Command): Command {
  return command.option("--threads <n>", "number of threads (default: one per core)", positiveInteger);
}

/** The CPU device for `--threads`. */
export async function openDevice(options: { readonly threads?: number }): Promise<Device> {
  // Large, and not needed by commands that only share the checks.
  const { createCpuDevice } = await import("../../tensor/cpu/backend.ts");
  return await createCpuDevice({ threads: options.threads });
}

/** All of standard input as text, without a byte-order mark. @throws FormatError for invalid UTF-8 */
export async function readStdin(): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const chunk of process.stdin) parts.push(chunk as Uint8Array);
  return withoutMark(strictText("standard input", Buffer.concat(parts)));
}

/** A rule of a repeatable option such as `PATTERN=TYPE`. */
export interface NamedRule<T> {
  readonly pattern: RegExp;
  readonly value: T;
}

/** Reads such rules, each value being one of `values` by name; `placeholder` is what the help calls it. */
export function namedRules<T>(
  placeholder: string,
  values: Readonly<Record<string, T>>,
): (text: string, all: readonly NamedRule<T>[]) => NamedRule<T>[] {
  return (text, all) => {
    const at = text.lastIndexOf("=");
    const name = text.slice(at + 1);
    if (at < 1 || !Object.hasOwn(values, name)) {
      throw new InvalidArgumentError(
        `Expected PATTERN=${placeholder} with ${Object.keys(values).join(", ")}.`,
      );
    }
    try {
      return [...all, { pattern: new RegExp(text.slice(0, at)), value: values[name] }];
    } catch (error) {
      throw new InvalidArgumentError((error as Error).message);
    }
  };
}
