/** Turns the statements of a template into functions, those with loops into generators too, which pause. */
import type { Slices } from "../../tokenizer/slices.ts";
import type { CallNode, Expression, ForNode, MacroNode, Node, OutputPart, Statement } from "./ast.ts";
import { childrenOf } from "./ast.ts";
import {
  compileCall,
  compileExpression,
  compileFilter,
  type Evaluate,
  reader,
} from "./compile-expression.ts";
import { fail, TemplateError } from "./errors.ts";
import { Frame, type Scope, Unit } from "./frame.ts";
import { LoopContext, type Recurse } from "./loop.ts";
import { Macro, type MacroDefinition } from "./macro.ts";
import { str } from "./print.ts";
import { assignsLoop, Symbols, undeclared } from "./symbols.ts";
import { join, literal, Str } from "./text.ts";
import { type Callable, Iter, iterate, Namespace, truth, Undefined, type Value } from "./values.ts";

/** How a statement ended. */
const NEXT = 0;
const BREAK = 1;
const CONTINUE = 2;
type End = typeof NEXT | typeof BREAK | typeof CONTINUE;

interface Execute {
  (frame: Frame): End;
  /** The same with pauses, if there is a loop in it. */
  slices?(frame: Frame): Slices<End>;
}

/** A statement that pauses if a part of it does. */
function pausing(
  parts: readonly Execute[],
  run: (frame: Frame) => End,
  slices: (frame: Frame) => Slices<End>,
): Execute {
  return parts.some((part) => part.slices !== undefined) ? Object.assign(run, { slices }) : run;
}

/** Runs a statement, with pauses if it has some. */
function* paused(execute: Execute, frame: Frame): Slices<End> {
  return execute.slices === undefined ? execute(frame) : yield* execute.slices(frame);
}

type Assign = (frame: Frame, value: Value) => void;

/** The function that renders a template, and how many variables it has. @throws TemplateError */
export function compileTemplate(statements: readonly Statement[]): {
  render: (frame: Frame) => Slices<void>;
  size: () => number;
} {
  if (undeclared(statements, ["self"]).has("self"))
    throw new TemplateError("unsupported", "'self' is not supported");
  const unit = new Unit(null);
  const symbols = new Symbols(null).visit(statements);
  const scope = opened({ symbols, unit, inLoop: false, soft: false });
  const enter = entering(scope);
  const body = compileBody(statements, scope);
  return {
    *render(frame) {
      enter(frame);
      yield* paused(body, frame);
    },
    size: () => unit.size,
  };
}

/** Gives the variables of a scope their first values. */
function entering({ symbols, unit }: Scope): (frame: Frame) => void {
  const steps: ((frame: Frame) => void)[] = [];
  for (const [variable, load] of symbols.loads) {
    const slot = unit.slot(variable);
    if (load.from === "context") {
      const { name } = load;
      steps.push((frame) => {
        frame.slots[slot] = frame.context.get(name);
      });
    } else if (load.from === "variable") {
      const { hops, slot: from } = unit.find(load.variable);
      steps.push((frame) => {
        let at = frame;
        for (let n = 0; n < hops; n++) at = at.parent as Frame;
        frame.slots[slot] = at.slots[from];
      });
    } else if (load.from === "nothing") {
      steps.push((frame) => {
        frame.slots[slot] = undefined;
      });
    }
  }
  if (steps.length === 0) return () => {};
  if (steps.length === 1) return steps[0];
  return (frame) => {
    for (const step of steps) step(frame);
  };
}

/** Takes the values of a scope's variables away. */
function leaving({ symbols, unit }: Scope): (frame: Frame) => void {
  const slots = [...symbols.loads.keys()].map((variable) => unit.slot(variable));
  return (frame) => {
    for (const slot of slots) frame.slots[slot] = undefined;
  };
}

/** A scope within, of the same function unless `unit` is another's. */
function within(scope: Scope, symbols: Symbols, changes: Partial<Scope> = {}): Scope {
  return opened({ ...scope, symbols, soft: false, ...changes });
}

/** The scope, its variables in its own function even if one around has some of the same name and level. */
function opened(scope: Scope): Scope {
  for (const variable of scope.symbols.loads.keys()) scope.unit.slot(variable);
  return scope;
}

/** Steps that one run of statements takes, those of bodies within not counted. */
function weightOf(statements: readonly Statement[]): number {
  let weight = 1;
  const count = (node: Node): void => {
    weight++;
    for (const child of childrenOf(node)) count(child);
  };
  for (const statement of statements) {
    weight++;
    switch (statement.kind) {
      case "if":
        for (const { test } of statement.branches) count(test);
        break;
      case "for":
        count(statement.items);
        break;
      case "with":
        statement.values.forEach(count);
        break;
      case "assign block":
      case "filter block":
        if (statement.filter !== null) count(statement.filter);
        break;
      case "call block":
        if (statement.call !== null) count(statement.call);
        break;
      case "macro":
        break;
      default:
        count(statement);
    }
  }
  return weight;
}

function compileBody(statements: readonly Statement[], scope: Scope): Execute {
  const weight = weightOf(statements);
  const all = statements.map((statement) => ({
    run: compileStatement(statement, scope),
    line: statement.line,
  }));
  const body = (frame: Frame): End => {
    const { rt } = frame;
    rt.spend(weight);
    for (const { run, line } of all) {
      rt.line = line;
      const end = run(frame);
      if (end !== NEXT) return end;
    }
    return NEXT;
  };
  return pausing(
    all.map(({ run }) => run),
    body,
    function* (frame) {
      const { rt } = frame;
      rt.spend(weight);
      for (const { run, line } of all) {
        rt.line = line;
        const end = yield* paused(run, frame);
        if (end !== NEXT) return end;
      }
      return NEXT;
    },
  );
}

function compileStatement(statement: Statement, scope: Scope): Execute {
  try {
    return compileOne(statement, scope);
  } catch (error) {
    if (error instanceof TemplateError) error.line ??= statement.line;
    throw error;
  }
}

function compileOne(statement: Statement, scope: Scope): Execute {
  switch (statement.kind) {
    case "output":
      return compileOutput(statement.parts, scope);
    case "if":
      return compileIf(statement, { ...scope, soft: true });
    case "for":
      return compileFor(statement, scope);
    case "assign": {
      const check = checkNamespaces(statement.target, scope);
      const value = compileExpression(statement.value, scope);
      const assign = compileTarget(statement.target, scope);
      return (frame) => {
        check(frame);
        assign(frame, value(frame));
        return NEXT;
      };
    }
    case "assign block": {
      const inner = within(scope, new Symbols(scope.symbols).visit(statement.body));
      const captured = capture(statement.body, inner);
      const check = checkNamespaces(statement.target, scope);
      const assign = compileTarget(statement.target, scope);
      const value =
        statement.filter === null ? captured.text : compileFilter(statement.filter, inner, captured.text);
      return captured.around((frame) => {
        check(frame);
        assign(frame, value(frame));
      });
    }
    case "filter block": {
      const inner = within(scope, new Symbols(scope.symbols).visit([...statement.body, statement.filter]));
      const captured = capture(statement.body, inner);
      const value = compileFilter(statement.filter, inner, captured.text);
      return captured.around((frame) => write(frame, textOnly(value(frame))));
    }
    case "with":
      return compileWith(statement, scope);
    case "macro": {
      const assign = storer(scope, scope.symbols.ref(statement.name));
      const make = compileMacro(statement, scope);
      return (frame) => {
        assign(frame, make(frame));
        return NEXT;
      };
    }
    case "call block":
      return compileCallBlock(statement, scope);
    case "break":
    case "continue": {
      if (!scope.inLoop)
        throw new TemplateError("syntax", `'${statement.kind}' outside loop`, statement.line);
      const end = statement.kind === "break" ? BREAK : CONTINUE;
      return () => end;
    }
  }
}

function write(frame: Frame, text: Str): void {
  if (text.text === "") return;
  frame.rt.write(text);
  frame.rt.spend(3);
  frame.out.push(text);
}

/** What a block gives must be text: nothing makes it so. */
function textOnly(value: Value): Str {
  if (value instanceof Str) return value;
  if (value instanceof Undefined) value.raise();
  return fail("a block returns a value that is not text");
}

function compileOutput(parts: readonly OutputPart[], scope: Scope): Execute {
  const all = parts.map((part): { text: Str; value: null } | { value: Evaluate; line: number } =>
    typeof part === "string"
      ? { text: literal(part), value: null }
      : { value: compileExpression(part.value, scope), line: part.line },
  );
  return (frame) => {
    const { rt } = frame;
    for (const part of all) {
      if (part.value === null) write(frame, part.text);
      else {
        rt.line = part.line;
        write(frame, str(rt, part.value(frame)));
      }
    }
    return NEXT;
  };
}

function compileIf(statement: Extract<Statement, { kind: "if" }>, scope: Scope): Execute {
  const branches = statement.branches.map(({ test, body }) => ({
    test: compileExpression(test, scope),
    body: compileBody(body, scope),
  }));
  const otherwise = compileBody(statement.otherwise, scope);
  const taken = (frame: Frame): Execute => branches.find(({ test }) => truth(test(frame)))?.body ?? otherwise;
  return pausing(
    [...branches.map(({ body }) => body), otherwise],
    (frame) => taken(frame)(frame),
    (frame) => paused(taken(frame), frame),
  );
}

function storer({ unit }: Scope, variable: string): Assign {
  const { hops, slot } = unit.find(variable);
  if (hops !== 0) throw new Error("a variable of another function is assigned to");
  return (frame, value) => {
    frame.slots[slot] = value;
  };
}

function compileTarget(target: Expression, scope: Scope): Assign {
  if (target.kind === "name") return storer(scope, scope.symbols.ref(target.name));
  if (target.kind === "namespace") {
    const read = reader(scope, scope.symbols.ref(target.name));
    return (frame, value) => {
      (read(frame) as Namespace).attributes.set(target.attribute, value);
    };
  }
  if (target.kind !== "tuple") throw new TemplateError("syntax", `can't assign to ${target.kind}`);
  const targets = target.items.map((item) => compileTarget(item, scope));
  return (frame, value) => {
    const values: Value[] = [];
    for (const item of iterate(value)) {
      values.push(item);
      if (values.length > targets.length) fail(`too many values to unpack (expected ${targets.length})`);
    }
    if (values.length < targets.length) {
      fail(`not enough values to unpack (expected ${targets.length}, got ${values.length})`);
    }
    targets.forEach((assign, i) => {
      assign(frame, values[i]);
    });
  };
}

/** Attributes can be assigned to namespaces only, which is looked at before anything is evaluated. */
function checkNamespaces(target: Expression, scope: Scope): (frame: Frame) => void {
  const reads: ((frame: Frame) => Value | undefined)[] = [];
  const look = (part: Expression) => {
    if (part.kind === "namespace") reads.push(reader(scope, scope.symbols.ref(part.name)));
    if (part.kind === "tuple") part.items.forEach(look);
  };
  look(target);
  return (frame) => {
    for (const read of reads) {
      if (!(read(frame) instanceof Namespace)) fail("cannot assign attribute on non-namespace object");
    }
  };
}

/** A body whose text goes to what `around` is given instead of the output. */
function capture(statements: readonly Statement[], scope: Scope) {
  const enter = entering(scope);
  const body = compileBody(statements, scope);
  const leave = leaving(scope);
  // Read at once, so that one slot for all frames will do.
  const texts: Str[] = [];
  return {
    text: (() => texts[texts.length - 1]) as Evaluate,
    around(use: (frame: Frame) => void): Execute {
      const captured = (frame: Frame, end: End, parts: readonly Str[]): End => {
        if (end !== NEXT) return end;
        texts.push(joined(frame, parts));
        try {
          use(frame);
        } finally {
          texts.pop();
        }
        leave(frame);
        return NEXT;
      };
      const begin = (frame: Frame): Str[] => {
        enter(frame);
        const before = frame.out;
        frame.out = [];
        return before;
      };
      const run = (frame: Frame): End => {
        const before = begin(frame);
        const end = body(frame);
        const parts = frame.out;
        frame.out = before;
        return captured(frame, end, parts);
      };
      return pausing([body], run, function* (frame) {
        const before = begin(frame);
        const end = yield* paused(body, frame);
        const parts = frame.out;
        frame.out = before;
        return captured(frame, end, parts);
      });
    },
  };
}

function joined({ rt }: Frame, parts: readonly Str[]): Str {
  let length = 0;
  for (const part of parts) length += part.text.length;
  rt.reserve(length);
  rt.spend(parts.length);
  rt.scan(length);
  return join(parts);
}

function compileWith(statement: Extract<Statement, { kind: "with" }>, scope: Scope): Execute {
  const inner = within(scope, new Symbols(scope.symbols).visit([...statement.targets, ...statement.body]));
  const enter = entering(inner);
  const steps = statement.targets.map((target, i) => ({
    assign: compileTarget(target, inner),
    value: compileExpression(statement.values[i], scope),
  }));
  const body = compileBody(statement.body, inner);
  const leave = leaving(inner);
  const begin = (frame: Frame) => {
    enter(frame);
    for (const { assign, value } of steps) assign(frame, value(frame));
  };
  const run = (frame: Frame): End => {
    begin(frame);
    const end = body(frame);
    leave(frame);
    return end;
  };
  return pausing([body], run, function* (frame) {
    begin(frame);
    const end = yield* paused(body, frame);
    leave(frame);
    return end;
  });
}

/** Makes the function that a macro or a call block is. */
function compileMacro(node: MacroNode | CallNode, outer: Scope): (frame: Frame) => Callable {
  const { parameters, body } = node;
  const names = parameters.names.map(({ name }) => name);
  const symbols = new Symbols(outer.symbols).declareMacro(parameters, body);
  const unit = new Unit(outer.unit);
  const special = undeclared(body, ["caller", "kwargs", "varargs"]);
  const own = (name: string) => special.has(name) && !names.includes(name);
  if (special.has("caller")) {
    const at = names.indexOf("caller");
    if (at >= 0 && at < names.length - parameters.defaults.length) {
      throw new TemplateError(
        "syntax",
        'the special "caller" argument must be omitted or be given a default',
        node.line,
      );
    }
  }
  const specials = ["caller", "kwargs", "varargs"].filter(own);
  for (const name of specials) symbols.parameter(name);
  symbols.declareMacro(parameters, body);
  const definition: MacroDefinition = {
    name: node.kind === "macro" ? node.name : null,
    parameters: names,
    caller: special.has("caller"),
    kwargs: specials.includes("kwargs"),
    varargs: specials.includes("varargs"),
  };
  const scope = opened({ symbols, unit, inLoop: false, soft: false });
  const enter = entering(scope);
  const slots = [...names, ...specials].map((name) => unit.slot(symbols.ref(name)));
  const required = names.length - parameters.defaults.length;
  const defaults = names.map((name, i): Evaluate => {
    if (i < required) {
      const missing = new Undefined(`parameter '${name}' was not provided`);
      return () => missing;
    }
    return compileExpression(parameters.defaults[i - required], scope);
  });
  const run = compileBody(body, scope);
  return (parent) =>
    new Macro(definition, (values) => {
      const frame = new Frame(parent.rt, parent.context, parent, unit.size, []);
      slots.forEach((slot, i) => {
        frame.slots[slot] = values[i];
      });
      enter(frame);
      defaults.forEach((value, i) => {
        if (frame.slots[slots[i]] === undefined) frame.slots[slots[i]] = value(frame);
      });
      run(frame);
      return joined(frame, frame.out);
    });
}

function compileCallBlock(node: CallNode, scope: Scope): Execute {
  const make = compileMacro(node, scope);
  if (node.call === null) {
    return (frame) => {
      write(frame, textOnly(make(frame).call(frame.rt, [], new Map())));
      return NEXT;
    };
  }
  const value = compileCall(node.call, scope, make);
  return (frame) => {
    write(frame, textOnly(value(frame)));
    return NEXT;
  };
}

/** The items for which a loop's test holds, read as the loop goes on. */
function compileTest(node: ForNode, scope: Scope): (frame: Frame, items: Value) => Value {
  if (node.test === null) return (_frame, items) => items;
  const symbols = new Symbols(scope.symbols).declare(node.target).visit([node.test]);
  const unit = new Unit(scope.unit);
  const inner = opened({ symbols, unit, inLoop: false, soft: false });
  const enter = entering(inner);
  const assign = compileTarget(node.target, inner);
  const test = compileExpression(node.test, inner);
  return (parent, items) =>
    new Iter(
      (function* () {
        const frame = new Frame(parent.rt, parent.context, parent, unit.size, []);
        enter(frame);
        for (const item of iterate(items)) {
          frame.rt.spend(4);
          assign(frame, item);
          if (truth(test(frame))) yield item;
        }
      })(),
    );
}

function compileFor(node: ForNode, scope: Scope): Execute {
  for (const child of childrenOf(node)) {
    if (assignsLoop(child)) {
      throw new TemplateError(
        "syntax",
        "Can't assign to special loop variable in for-loop target",
        node.line,
      );
    }
  }
  const extended = node.recursive || undeclared(node.body, ["loop"]).has("loop");
  const unit = node.recursive ? new Unit(scope.unit) : scope.unit;
  const symbols = new Symbols(scope.symbols);
  const loopVariable = extended ? symbols.parameter("loop") : null;
  symbols.declare(node.target).visit(node.body);
  const inner = within(scope, symbols, { unit, inLoop: true });
  const other = within(scope, new Symbols(scope.symbols).visit(node.otherwise), {
    unit,
    // A loop in Python's sense is only what is around it in the same function.
    inLoop: node.recursive ? false : scope.inLoop,
  });
  const filtered = compileTest(node, scope);
  const items = compileExpression(node.items, scope);
  const loopSlot = loopVariable === null ? -1 : unit.slot(loopVariable);
  const assign = compileTarget(node.target, inner);
  const enter = entering(inner);
  const body = compileBody(node.body, inner);
  const leave = leaving(inner);
  const enterOther = entering(other);
  const otherwise = compileBody(node.otherwise, other);
  const leaveOther = leaving(other);

  const begin = (frame: Frame, item: Value) => {
    frame.rt.spend(2);
    assign(frame, item);
    enter(frame);
  };
  const finish = (frame: Frame, empty: boolean): End => {
    leave(frame);
    if (!empty || node.otherwise.length === 0) return NEXT;
    enterOther(frame);
    const end = otherwise(frame);
    leaveOther(frame);
    return end;
  };
  /** The items, after each of which the frame is set up for its round. */
  function* rounds(frame: Frame, sequence: Value, depth: number, recurse: Recurse): Generator<void, void> {
    const source = filtered(frame, sequence);
    if (!extended) {
      for (const item of iterate(source)) yield begin(frame, item);
      return;
    }
    const loop = new LoopContext(frame.rt, source, { depth, recurse });
    for (let item = loop.next(); item !== undefined; item = loop.next()) {
      frame.slots[loopSlot] = loop;
      yield begin(frame, item);
    }
  }
  const run = (frame: Frame, sequence: Value, depth: number, recurse: Recurse): End => {
    // As in Python, only a round that came to its end keeps `else` from running.
    let empty = true;
    for (const _ of rounds(frame, sequence, depth, recurse)) {
      const end = body(frame);
      if (end === NEXT) empty = false;
      if (end === BREAK) break;
    }
    return finish(frame, empty);
  };
  function* slices(frame: Frame): Slices<End> {
    let empty = true;
    for (const _ of rounds(frame, items(frame), 0, null)) {
      const end = yield* paused(body, frame);
      if (end === NEXT) empty = false;
      if (end === BREAK) break;
      if (frame.rt.due()) yield;
    }
    return finish(frame, empty);
  }
  if (!node.recursive) return Object.assign((frame: Frame) => run(frame, items(frame), 0, null), { slices });
  return (parent) => {
    const recurse = (sequence: Value, depth: number): Str =>
      parent.rt.nested(() => {
        const frame = new Frame(parent.rt, parent.context, parent, unit.size, []);
        run(frame, sequence, depth, recurse);
        return joined(frame, frame.out);
      });
    write(parent, recurse(items(parent), 0));
    return NEXT;
  };
}
