/** What can go wrong with a template. The message names the fault as Python would, the line is the template's. */

/**
 * `syntax`: the template is no Jinja. `raised`: it called `raise_exception`. `runtime`: Python would raise an error too.
 * `limit`: it asks for more work or memory than is allowed. `unsupported`: Python would render it, this engine cannot do
 * so exactly and refuses.
 */
export type TemplateFault = "syntax" | "raised" | "runtime" | "limit" | "unsupported";

export class TemplateError extends Error {
  override name = "TemplateError";
  readonly fault: TemplateFault;
  /** Line of the template, from 1; null if none is known yet. */
  line: number | null;

  constructor(fault: TemplateFault, message: string, line: number | null = null) {
    super(message);
    this.fault = fault;
    this.line = line;
  }
}

/** Something at which Python raises. */
export function fail(message: string): never {
  throw new TemplateError("runtime", message);
}

/** Something that Python renders and this engine does not. */
export function unsupported(what: string): never {
  throw new TemplateError("unsupported", `${what} is not supported`);
}
