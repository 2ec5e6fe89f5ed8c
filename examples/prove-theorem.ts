/**
 * Proves theorems with the small prover of the package, checked by real Lean: one by one, with the states on the way, and the `sorry`s
 * of a file, shown as a patch. The first run prepares Lean (half a minute).
 */
import { fileURLToPath } from "node:url";
import { createProver, openLean } from "deepseek-ts/prove";

await using lean = await openLean({ kind: "wasm", size: 1, onNotice: console.log });
await using prover = await createProver({ lean, parallel: 4 });

const statement = "theorem and_swap_or (p q r : Prop) (h : p ∧ q) : q ∨ r := by\n";
let proved = "";
for await (const event of prover.prove({ statement }, { search: "rmaxts", samples: 64, seed: 1 })) {
  if (event.type === "root") console.log(event.state);
  else if (event.type === "node") console.log(`a new state: ${event.path.at(-1)?.replaceAll("\n", " | ")}`);
  else if (event.type === "sample") console.log(`sample ${event.seq}: ${event.verdict}`);
  else if (event.type === "proved") {
    proved = event.code;
    console.log(`\n${event.code}\n\naxioms: ${event.axioms.join(", ") || "none"}`);
  } else console.log(`open; the furthest text:\n${event.best}`);
}

// What was proved is no claim of the model: Lean says the same again, of exactly this statement.
const { verdict } = await lean.verify({ statement: `${statement}  sorry` }, proved);
if (verdict !== "proved") throw new Error(`the theorem is not proved: ${verdict}`);

const file = fileURLToPath(new URL("prove/basics.lean", import.meta.url));
const filled = await prover.fill(file, { samples: 128, only: ["add_swap", "has_solution"] });
for (const { unit, end } of filled.units) console.log(`${unit.title}: ${end.outcome}`);
console.log(filled.patch());
if (filled.solved === 0) throw new Error("nothing was proved");
// `await filled.apply()` would write it.
