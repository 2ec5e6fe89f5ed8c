/**
 * Renders Jinja templates as transformers does: jinja2 in its immutable sandbox with `trim_blocks`, `lstrip_blocks`,
 * loop controls, the tag `generation`, `raise_exception`, `strftime_now` and a `tojson` of its own. What cannot be
 * rendered so is refused. Every character of the result is known to be the template's or the data's.
 */
import { finish, type Slices } from "../../tokenizer/slices.ts";
import { compileTemplate } from "./compile.ts";
import { Converter } from "./convert.ts";
import { TemplateError } from "./errors.ts";
import { Frame } from "./frame.ts";
import { GLOBALS } from "./globals.ts";
import { parse } from "./parser.ts";
import { DEFAULT_LIMITS, type Limits, Runtime } from "./runtime.ts";
import { join, type Str } from "./text.ts";
import type { Value } from "./values.ts";

export interface RenderSettings {
  readonly limits?: Partial<Limits>;
  /** The time that `strftime_now` gives; default: the present. */
  readonly now?: Date;
}

/** Longest template. */
const LONGEST = 1 << 20;

export class JinjaTemplate {
  readonly #compiled: ReturnType<typeof compileTemplate>;

  /** @throws TemplateError if the source is not a template, or one that is not supported */
  constructor(source: string) {
    if (source.length > LONGEST) {
      throw new TemplateError("limit", `it has more than ${LONGEST} characters`);
    }
    this.#compiled = compileTemplate(parse(source));
  }

  /**
   * The rendered text, with the origin of its characters.
   * @param data variables by name: ordinary values, JSON values, or `Given`; undefined ones are left out
   * @throws TemplateError with the line, for what Python raises at, what is not supported and what exceeds the limits
   */
  render(data: Readonly<Record<string, unknown>>, settings: RenderSettings = {}): Str {
    return finish(this.renderSlices(data, settings));
  }

  /**
   * The same with pauses: while data is converted, and in loops outside macros, from round to round. What one expression
   * or one call of a macro does, it does without a pause. @throws TemplateError
   */
  *renderSlices(data: Readonly<Record<string, unknown>>, settings: RenderSettings = {}): Slices<Str> {
    const converter = new Converter();
    const context = new Map<string, Value>(GLOBALS);
    for (const [name, value] of Object.entries(data)) {
      if (value !== undefined) context.set(name, yield* converter.convert(value));
    }
    const limits = { ...DEFAULT_LIMITS, ...settings.limits };
    const rt = new Runtime(limits, converter.size, settings.now ?? new Date());
    const out: Str[] = [];
    try {
      yield* this.#compiled.render(new Frame(rt, context, null, this.#compiled.size(), out));
    } catch (error) {
      if (error instanceof TemplateError) error.line ??= rt.line;
      else if (error instanceof RangeError && /call stack/.test(error.message)) {
        throw new TemplateError("limit", "it is nested too deeply", rt.line);
      }
      throw error;
    }
    return join(out);
  }
}
