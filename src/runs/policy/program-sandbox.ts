/**
 * Programs that a model wrote, run against tests: JavaScript in QuickJS, an interpreter inside WebAssembly that has no files, no
 * network, no processes and no timers. Steps and memory are counted, so that a program is judged the same way on every machine;
 * what lingers in single steps, as copies of long arrays do, has to be ended with its thread.
 */
import * as build from "@jitl/quickjs-wasmfile-release-sync";
import {
  newQuickJSWASMModuleFromVariant,
  newVariant,
  type QuickJSContext,
  type QuickJSHandle,
  type QuickJSSyncVariant,
  type QuickJSWASMModule,
} from "quickjs-emscripten-core";

type Emscripten = NonNullable<NonNullable<Parameters<typeof newVariant>[1]>["emscriptenModule"]>;

/**
 * Its types describe another form of module than what Node loads. A program that makes it give up has failed, which its own words
 * on stderr, between the lines of a training, would not tell better.
 */
const variant = newVariant(build.default as unknown as QuickJSSyncVariant, {
  emscriptenModule: { printErr: () => {} } as Emscripten,
});

/** What a program and all of its tests may use. */
export interface ProgramLimits {
  /** The interpreter asks every 10,000 jumps and calls whether to go on: so many times. */
  readonly turns: number;
  /** At once, by each test anew. */
  readonly bytes: number;
}

const LIMITS: ProgramLimits = { turns: 5_000, bytes: 64 << 20 };
const STACK_BYTES = 256 << 10;

/**
 * What programs and tests find beside the language. `assert` is the value of this script and not a global: a program cannot put
 * its own in its place, and what it compares with was taken before the program ran.
 */
const PRELUDE = `(() => {
  "use strict";
  const { is, keys, getPrototypeOf } = Object;
  const { isArray } = Array;
  const call = Function.prototype.call.bind(Function.prototype.call);
  const has = Object.prototype.hasOwnProperty;
  const text = String;
  let drawn = 1;
  Math.random = () => (drawn = (drawn * 48271) % 2147483647) / 2147483647;
  const silent = () => undefined;
  globalThis.console = { log: silent, info: silent, warn: silent, error: silent, debug: silent };
  globalThis.module = { exports: {} };
  globalThis.exports = globalThis.module.exports;
  const fail = (why) => { throw new Error(why); };
  const same = (a, b) => {
    if (is(a, b)) return true;
    if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
    if (getPrototypeOf(a) !== getPrototypeOf(b) || isArray(a) !== isArray(b)) return false;
    if (isArray(a) && a.length !== b.length) return false;
    const own = keys(a);
    if (own.length !== keys(b).length) return false;
    for (let i = 0; i < own.length; i++) {
      if (!call(has, b, own[i]) || !same(a[own[i]], b[own[i]])) return false;
    }
    return true;
  };
  const assert = (value, why) => { if (!value) fail(why === undefined ? "not true" : text(why)); };
  assert.equal = (a, b) => { if (!is(a, b)) fail("not equal"); };
  assert.deepEqual = (a, b) => { if (!same(a, b)) fail("not equal"); };
  assert.throws = (run) => {
    let threw = false;
    try { run(); } catch { threw = true; }
    if (!threw) fail("nothing was thrown");
  };
  assert.strictEqual = assert.equal;
  assert.deepStrictEqual = assert.deepEqual;
  return Object.freeze(assert);
})()`;

/** What a program exports is simply there for its tests. */
const withoutExports = (program: string) =>
  program.replace(/^export\s+(?:default\s+)?(?=(?:async\s+)?(?:function|class|const|let|var)\b)/gm, "");

/** What a call gave; null for anything thrown, which is freed. */
function outcome(result: ReturnType<QuickJSContext["evalCode"]>): QuickJSHandle | null {
  if (result.error === undefined) return result.value;
  result.error.dispose();
  return null;
}

export class ProgramSandbox {
  readonly #limits: ProgramLimits;
  #module: QuickJSWASMModule | null = null;

  constructor(limits: ProgramLimits = LIMITS) {
    this.#limits = limits;
  }

  /**
   * Which of the tests the program passes. A test is an expression, or statements, over what the program declares; `assert` throws as
   * Node's does. It passes unless it throws or gives false, promises awaited. Each begins with the program anew. What a
   * program may use is shared by its tests: when that is used up, the others have failed.
   */
  async passed(program: string, tests: readonly string[]): Promise<boolean[]> {
    const source = withoutExports(program);
    let turns = 0;
    const spent = () => turns > this.#limits.turns;
    const found: boolean[] = [];
    for (const test of tests) {
      if (spent()) {
        found.push(false);
        continue;
      }
      this.#module ??= await newQuickJSWASMModuleFromVariant(variant);
      try {
        const passes = this.#passes(this.#module, source, test, () => {
          turns++;
          return spent();
        });
        found.push(passes);
      } catch {
        // The interpreter itself gave up, out of its stack for example, and is in no state to go on.
        this.#module = null;
        found.push(false);
      }
    }
    return found;
  }

  #passes(module: QuickJSWASMModule, program: string, test: string, stop: () => boolean): boolean {
    const runtime = module.newRuntime();
    runtime.setMemoryLimit(this.#limits.bytes);
    runtime.setMaxStackSize(STACK_BYTES);
    let cutOff = false;
    runtime.setInterruptHandler(() => {
      const now = stop();
      cutOff ||= now;
      return now;
    });
    const finishJobs = () => {
      const result = runtime.executePendingJobs();
      if (result.error !== undefined) cutOff = true;
      result.dispose();
    };
    const context = runtime.newContext();
    const assert = context.unwrapResult(context.evalCode(PRELUDE, "prelude.js"));
    const handles: QuickJSHandle[] = [assert];
    const kept = (handle: QuickJSHandle | null) => {
      if (handle !== null) handles.push(handle);
      return handle;
    };
    const run = (code: string, name: string) => kept(outcome(context.evalCode(code, name)));
    const judge = (): boolean => {
      if (run(program, "program.js") === null) return false;
      // Before the test, so that what the program left for later is over.
      finishJobs();
      const body =
        run(`(async (assert) => (${test}\n))`, "test.js") ??
        run(`(async (assert) => {${test}\n})`, "test.js");
      if (body === null) return false;
      const promise = kept(outcome(context.callFunction(body, context.undefined, assert)));
      if (promise === null) return false;
      finishJobs();
      const state = context.getPromiseState(promise);
      if (state.type === "rejected") kept(state.error);
      if (state.type !== "fulfilled") return false;
      const value = kept(state.value)!;
      return !(context.typeof(value) === "boolean" && context.dump(value) === false);
    };
    const passes = judge();
    // Of what was cut off values stay behind, which no runtime can be closed over: it goes with its interpreter.
    if (cutOff) {
      this.#module = null;
      return passes;
    }
    for (const handle of handles) if (handle.alive) handle.dispose();
    context.dispose();
    runtime.dispose();
    return passes;
  }
}
