import { expect, it } from "vitest";
import { checkArguments } from "./arguments.ts";

it("refuses arguments that are no UTF-8, and takes the replacement character where it was meant", () => {
  const raw = (text: string, encoding: BufferEncoding) => () => Buffer.from(text, encoding);
  expect(() => checkArguments(["node", "caf\ufffd"], raw("node\0caf\xe9\0", "latin1"))).toThrow(
    /not UTF-8.*caf/,
  );
  expect(() => checkArguments(["node", "caf\ufffd"], raw("node\0caf\ufffd\0", "utf8"))).not.toThrow();
  expect(() => checkArguments(["node", "café"], raw("node\0caf\xe9\0", "latin1"))).not.toThrow();
  expect(() => checkArguments(["node", "\ufffd"], () => null)).not.toThrow();
});
