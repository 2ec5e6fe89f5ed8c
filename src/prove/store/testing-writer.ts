/** Completes attempts as fast as it can and says each one, until it is killed: `node testing-writer.ts STORE`. */
import { writeSync } from "node:fs";
import { ProofStore } from "./store.ts";

using store = await ProofStore.open(process.argv[2]);
const { id } = store.beginSearch("killed", { model: "m", lean: "4.28", search: "sample", samples: 8 }, 0);
for (let seq = store.attempts(id).length; ; seq++) {
  const text = `proof ${seq}`;
  store.completeAttempt(
    id,
    { tree: 0, seq, event: { text } },
    {
      ...{ side: "statement", text, textSha256: text, tokens: 1, axioms: [] },
      ...{ model: "m", lean: "4.28", search: "sample", cost: seq },
    },
  );
  writeSync(1, `${seq}\n`);
}
