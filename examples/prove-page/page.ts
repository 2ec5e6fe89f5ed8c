/** The page: a theorem goes in, what the prover tries and what Lean says of it comes out. */
import type { FromWorker, ToWorker } from "./messages.ts";

const element = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const [prove, stop] = [element<HTMLButtonElement>("prove"), element<HTMLButtonElement>("stop")];
const state = (text: string) => void (element("state").textContent = text);

const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
const send = (message: ToWorker) => worker.postMessage(message);

function busy(searching: boolean): void {
  prove.disabled = searching;
  stop.disabled = !searching;
}

worker.addEventListener("message", ({ data }: { data: FromWorker }) => {
  if ("state" in data) return state(data.state);
  if ("tried" in data) {
    const row = document.createElement("li");
    row.textContent = `${data.verdict}: ${data.tried.trim()}`;
    element("tried").prepend(row);
    return;
  }
  busy(false);
  if ("proved" in data) element("proof").textContent = data.proved;
  state("ready" in data ? "Ready." : "proved" in data ? "Proved: Lean's kernel has accepted it." : data.done);
});
worker.addEventListener("error", ({ message }) => state(message));

element("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  busy(true);
  element("tried").replaceChildren();
  element("proof").textContent = "";
  state("Searching ..");
  send({ statement: element<HTMLTextAreaElement>("statement").value, samples: 64 });
});
stop.addEventListener("click", () => send({ stop: true }));

const at = (folder: string) => new URL(folder, document.baseURI).href;
send({ lean: at("lean/"), model: at("model/") });
