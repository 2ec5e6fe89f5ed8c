/** Recursive functions of lists and trees: laws that need one induction, a lemma first, or a more general claim. */
import type { WorldRandom } from "../../../data/world/generator.ts";
import { between, chance, equal, linear } from "../draws.ts";
import type { Dials, Draft, Family } from "../family.ts";
import { apply, binary, lean, name, number, type Term } from "../term.ts";
import { line, type ProofLine, script, variables } from "../theorem.ts";

const [xs, ys, t] = [name("xs"), name("ys"), name("t")];
const APPEND =
  "def app : List Nat → List Nat → List Nat\n  | [], ys => ys\n  | x :: xs, ys => x :: app xs ys";
const REVERSE = "def rev : List Nat → List Nat\n  | [] => []\n  | x :: xs => app (rev xs) [x]";
const TREE =
  "inductive Tree where\n  | leaf : Tree\n  | node : Tree → Nat → Tree → Tree\n\n" +
  "def mirror : Tree → Tree\n  | .leaf => .leaf\n  | .node l v r => .node (mirror r) v (mirror l)";

const listInduction = (of: string, nil: string, cons: string, indent = 0): ProofLine[] => [
  line(`induction ${of} with`, `induction on ${of}`, indent),
  line(`| nil => ${nil}`, "the empty list", indent),
  line(`| cons x xs ih => ${cons}`, "one element more", indent),
];

/** A weight of lists: `[]` has weight c, an element x adds a * x + b. */
function weight(random: WorldRandom, dials: Dials) {
  const a = between(random, 0, dials.size);
  const b = between(random, a === 0 ? 1 : 0, dials.size);
  const c = chance(random, 60) ? 0 : between(random, 1, dials.size);
  const step = linear(
    [
      [a, name("x")],
      [1, apply("w", xs)],
    ],
    b,
  );
  const definition = `def w : List Nat → Nat\n  | [] => ${c}\n  | x :: xs => ${lean(step)}`;
  return { a, b, c, definition };
}

const w = (of: Term) => apply("w", of);

/** What a claim says of the rest as a rule for `simp`: in a turned claim it would apply again to what it gives. */
const rule = (claim: Term, goal: Term, ih: string) => (claim === goal ? ih : `← ${ih}`);
const app = (a: Term, b: Term) => apply("app", a, b);

/** Laws of appending, by one induction. */
function appended(random: WorldRandom, dials: Dials): Draft {
  const own = weight(random, dials);
  const zs = name("zs");
  const laws: [string, string[], Term, ProofLine[] | ((claim: Term, goal: Term) => ProofLine[])][] = [
    [
      own.definition,
      ["xs", "ys"],
      own.c === 0
        ? equal(w(app(xs, ys)), binary(w(xs), "+", w(ys)))
        : equal(linear([[1, w(app(xs, ys))]], own.c), binary(w(xs), "+", w(ys))),
      listInduction("xs", "simp [app, w]; try omega", "simp only [app, w]; omega"),
    ],
    [
      "",
      ["xs", "ys", "zs"],
      equal(app(app(xs, ys), zs), app(xs, app(ys, zs))),
      listInduction("xs", "rfl", "simp [app, ih]"),
    ],
    [
      "",
      ["xs"],
      equal(app(xs, name("[]")), xs),
      (claim, goal) => listInduction("xs", "rfl", `simp [app, ${rule(claim, goal, "ih")}]`),
    ],
    [
      "",
      ["xs", "ys"],
      equal(app(xs, ys), binary(xs, "++", ys)),
      listInduction("xs", "rfl", "simp [app, ih]"),
    ],
    [
      "",
      ["xs", "ys"],
      equal(
        apply("List.length", app(xs, ys)),
        binary(apply("List.length", ys), "+", apply("List.length", xs)),
      ),
      listInduction("xs", "simp [app]", "simp [app, ih]; omega"),
    ],
  ];
  const [definition, of, goal, lines] = chance(random, 60) ? laws[0] : random.pick(laws.slice(1));
  const claim = turned(random, goal);
  const steps = typeof lines === "function" ? lines(claim, goal) : lines;
  return {
    preamble: [APPEND, definition].filter((each) => each !== "").join("\n\n"),
    theorem: { binders: [variables(of, "List Nat")], goal: claim },
    truth: true,
    script: script("Induction on the first list.", ...steps),
  };
}

/** The weight in closed form by length and total, or of a list with all elements changed. */
function measured(random: WorldRandom, dials: Dials): Draft {
  const own = weight(random, dials);
  const [p, q] = [between(random, 2, 5), between(random, 0, 3)];
  const mapped = name(`(fun x => ${lean(linear([[p, name("x")]], q))})`);
  const length = apply("List.length", xs);
  if (chance(random, 50)) {
    const total = "def total : List Nat → Nat\n  | [] => 0\n  | x :: xs => x + total xs";
    const goal = equal(
      w(xs),
      linear(
        [
          [own.a, apply("total", xs)],
          [own.b, length],
        ],
        own.c,
      ),
    );
    return {
      preamble: `${total}\n\n${own.definition}`,
      theorem: { binders: [variables(["xs"], "List Nat")], goal: turned(random, goal) },
      truth: true,
      script: script(
        "Induction on the list.",
        ...listInduction("xs", "simp [w, total]", "simp only [w, total, List.length_cons]; omega"),
      ),
    };
  }
  // w (map) = p * w + .. : a * (p * x + q) + b = p * (a * x + b) + (a * q + b - p * b)
  const left = linear(
    [
      [1, w(apply("List.map", mapped, xs))],
      [p * own.b, length],
    ],
    p * own.c,
  );
  const right = linear(
    [
      [p, w(xs)],
      [own.a * q + own.b, length],
    ],
    own.c,
  );
  return {
    preamble: own.definition,
    theorem: { binders: [variables(["xs"], "List Nat")], goal: turned(random, equal(left, right)) },
    truth: true,
    script: script(
      "Induction on the list.",
      ...listInduction("xs", "simp [w]; try omega", "simp only [w, List.map_cons, List.length_cons]; omega"),
    ),
  };
}

/** Claims about reversing, which need a lemma about appending first. */
function reversed(random: WorldRandom, dials: Dials): Draft {
  const own = weight(random, dials);
  const rev = (of: Term) => apply("rev", of);
  if (chance(random, 60)) {
    const c = own.c;
    const lemma = c === 0 ? "w (app xs ys) = w xs + w ys" : `w (app xs ys) + ${c} = w xs + w ys`;
    const nested = chance(random, 30);
    const goal = equal(w(nested ? rev(app(xs, ys)) : rev(xs)), nested ? w(app(ys, xs)) : w(xs));
    const claim = turned(random, goal);
    const lines = [
      line(`have key : ∀ xs ys, ${lemma} := by`, "first the weight of an appended list"),
      line("intro xs ys", undefined, 2),
      ...listInduction("xs", "simp [app, w]; try omega", "simp only [app, w]; omega", 2),
    ];
    const flip: ProofLine[] = [
      line("have back : ∀ xs, w (rev xs) = w xs := by", "then that of a reversed one"),
      line("intro xs", undefined, 2),
      ...listInduction(
        "xs",
        "rfl",
        "simp only [rev, w]; have e := key (rev xs) [x]; simp only [w] at e; omega",
        2,
      ),
    ];
    const end = nested
      ? [
          line("have e1 := back (app xs ys)", "apply both"),
          line("have e2 := key xs ys"),
          line("have e3 := key ys xs"),
          line("omega"),
        ]
      : [line(claim === goal ? "exact back xs" : "exact (back xs).symm", "this is the claim")];
    return {
      preamble: [APPEND, REVERSE, own.definition].join("\n\n"),
      theorem: {
        binders: [variables(nested ? ["xs", "ys"] : ["xs"], "List Nat")],
        goal: claim,
      },
      truth: true,
      script: script("Lemmas about appending and reversing, each by induction.", ...lines, ...flip, ...end),
    };
  }
  const lemma: ProofLine[] = [
    line(
      "have key : ∀ xs ys, List.length (app xs ys) = List.length xs + List.length ys := by",
      "first the length of an appended list",
    ),
    line("intro xs ys", undefined, 2),
    ...listInduction("xs", "simp [app]", "simp [app, ih]; omega", 2),
  ];
  const k = between(random, 0, 4);
  const goal = equal(
    linear([[1, apply("List.length", rev(xs))]], k),
    linear([[1, apply("List.length", xs)]], k),
  );
  return {
    preamble: [APPEND, REVERSE].join("\n\n"),
    theorem: { binders: [variables(["xs"], "List Nat")], goal: turned(random, goal) },
    truth: true,
    script: script(
      "A lemma about appending, then induction.",
      ...lemma,
      ...listInduction("xs", "rfl", "simp [rev, key] at *; omega"),
    ),
  };
}

/** Trees and their mirror images. */
function mirrored(random: WorldRandom, dials: Dials): Draft {
  const [a, b, c] = [
    between(random, 0, dials.size),
    between(random, 0, dials.size),
    between(random, 0, dials.size),
  ];
  const parts: [number, Term][] = [
    [1, apply("s", name("l"))],
    [a, name("v")],
    [1, apply("s", name("r"))],
  ];
  const definition = `def s : Tree → Nat\n  | .leaf => ${c}\n  | .node l v r => ${lean(linear(parts, b))}`;
  const mirror = (of: Term) => apply("mirror", of);
  const twice = chance(random, 25);
  const k = between(random, 1, 4);
  const goal = twice
    ? equal(mirror(mirror(t)), t)
    : chance(random, 50)
      ? equal(apply("s", mirror(t)), apply("s", t))
      : equal(linear([[k, apply("s", mirror(t))]], b), linear([[k, apply("s", t)]], b));
  const claim = turned(random, goal);
  const lines = [
    line("induction t with", "induction on the tree"),
    line("| leaf => rfl", "a leaf"),
    line(
      twice
        ? `| node l v r ihl ihr => simp [mirror, ${rule(claim, goal, "ihl")}, ${rule(claim, goal, "ihr")}]`
        : "| node l v r ihl ihr => simp only [mirror, s] at *; omega",
      "a node with two trees",
    ),
  ];
  return {
    preamble: twice ? TREE : `${TREE}\n\n${definition}`,
    theorem: { binders: [variables(["t"], "Tree")], goal: claim },
    truth: true,
    script: script("Induction on the tree.", ...lines),
  };
}

/** An accumulator: the claim for one start value follows only from the claim for all. */
function folded(random: WorldRandom, dials: Dials): Draft {
  const { a, b } = weight(random, dials);
  const step = linear(
    [
      [1, name("s")],
      [a, name("x")],
    ],
    b,
  );
  const acc = `def go : List Nat → Nat → Nat\n  | [], s => s\n  | x :: xs, s => go xs (${lean(step)})`;
  const plain = `def w : List Nat → Nat\n  | [] => 0\n  | x :: xs => ${lean(
    linear(
      [
        [a, name("x")],
        [1, w(xs)],
      ],
      b,
    ),
  )}`;
  const start = between(random, 0, 9);
  const goal = equal(apply("go", xs, number(start)), linear([[1, w(xs)]], start));
  return {
    preamble: `${acc}\n\n${plain}`,
    theorem: { binders: [variables(["xs"], "List Nat")], goal: turned(random, goal) },
    truth: true,
    script: script(
      "Prove it for every start value by induction, then take this one.",
      line("have key : ∀ xs s, go xs s = w xs + s := by", "the claim for every start value"),
      line("intro xs", undefined, 2),
      ...listInduction("xs", "intro s; simp [go, w]", "intro s; simp only [go, w, ih]; omega", 2),
      line(`have e := key xs ${start}`, "the start value in question"),
      line("omega"),
    ),
  };
}

const turned = (random: WorldRandom, goal: Term): Term =>
  goal.kind === "binary" && goal.op === "=" && chance(random, 30) ? equal(goal.right, goal.left) : goal;

export const list: Family = {
  name: "list",
  about: "recursive functions of lists and trees",
  levels: {
    1: { size: 3, appended: 60, measured: 20, mirrored: 20, reversed: 0 },
    2: { size: 5, appended: 20, measured: 30, mirrored: 15, reversed: 10 },
    3: { size: 7, appended: 0, measured: 15, mirrored: 5, reversed: 50 },
  },
  draw(random, dials) {
    let kind = random.int(100);
    const kinds = { appended, measured, mirrored, reversed };
    for (const each of ["appended", "measured", "mirrored", "reversed"] as const) {
      if (kind < dials[each]) return kinds[each](random, dials);
      kind -= dials[each];
    }
    return folded(random, dials);
  },
};
