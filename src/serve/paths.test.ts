import { expect, it } from "vitest";
import { pathNormalizer } from "./paths.ts";

const normalized = pathNormalizer(["/", "/v1/models", "/v1/models/:id{.+}", "/v1/completions", "/tokenize"]);

it.each([
  ["/", "/"],
  ["//", "/"],
  ["/v1/completions", "/v1/completions"],
  ["/v1/completions/", "/v1/completions"],
  ["//v1//completions//", "/v1/completions"],
  ["/completions", "/v1/completions"],
  ["/beta/completions", "/v1/completions"],
  ["/beta/v1/completions", "/v1/completions"],
  ["/v1/v1/completions", "/v1/completions"],
  ["/models", "/v1/models"],
  ["/models/org/name", "/v1/models/org/name"],
  ["/v1/tokenize", "/tokenize"],
  ["/beta/tokenize/", "/tokenize"],
  ["/v1", "/"],
  ["/beta/", "/"],
  ["/v1x/completions", "/v1x/completions"],
  ["/other", "/other"],
  ["/completionsx", "/completionsx"],
])("%s is %s", (given, meant) => expect(normalized(given)).toBe(meant));
