/** Jinja templates as transformers renders them. */
export { Given } from "./convert.ts";
export { TemplateError, type TemplateFault } from "./errors.ts";
export { DEFAULT_LIMITS, type Limits } from "./runtime.ts";
export { JinjaTemplate, type RenderSettings } from "./template.ts";
export { DATA, data, join, literal, type Origin, Str, TEMPLATE } from "./text.ts";
export type { Watch } from "./values.ts";
