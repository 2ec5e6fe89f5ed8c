/** The page: a model's folder by its address, a picture by choice or drop, an answer that streams, boxes over the picture. */
import { clearBoxes, layBox } from "./boxes.ts";
import type { FromWorker, ToWorker } from "./messages.ts";

const element = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const input = (id: string) => element<HTMLInputElement>(id);
const [picture, stage, drop] = [element<HTMLImageElement>("picture"), element("stage"), element("drop")];
const button = (form: string) => element(form).querySelector("button")!;

const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
const send = (message: ToWorker) => worker.postMessage(message);
let file: File | null = null;
let open = false;
let answering = false;

function show(): void {
  button("open").disabled = answering;
  button("ask").disabled = !open || file === null || answering;
  element<HTMLButtonElement>("stop").disabled = !answering;
}
const state = (text: string) => void (element("state").textContent = text);
worker.addEventListener("message", ({ data }: { data: FromWorker }) => {
  if ("state" in data) return state(data.state);
  if ("text" in data) return element("answer").append(data.text);
  if ("boxes" in data && "label" in data) {
    element("answer").append(data.label);
    for (const box of data.boxes) layBox(stage, data.label, box, data);
    return;
  }
  if ("opened" in data) {
    open = true;
    input("find").disabled = !data.boxes;
    input("find").checked &&= data.boxes;
  } else answering = false;
  state("opened" in data ? `${data.opened} is open.` : "error" in data ? data.error : data.done);
  show();
});
worker.addEventListener("error", ({ message }) => state(message));

function choose(chosen: File | undefined): void {
  if (chosen === undefined || answering) return;
  file = chosen;
  URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(chosen);
  clearBoxes(stage);
  element("answer").textContent = "";
  show();
}
input("file").addEventListener("change", () => choose(input("file").files?.[0]));
for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
  drop.addEventListener(type, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", type === "dragenter" || type === "dragover");
    if (type === "drop") choose((event as DragEvent).dataTransfer?.files[0]);
  });
}

element("open").addEventListener("submit", (event) => {
  event.preventDefault();
  open = false;
  state("Loading");
  show();
  send({ open: input("model").value });
});
element("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  answering = true;
  clearBoxes(stage);
  element("answer").textContent = "";
  state("Reading the picture");
  show();
  send({ image: file!, text: input("question").value, find: input("find").checked });
});
element("stop").addEventListener("click", () => send({ stop: true }));
const given = new URLSearchParams(location.search).get("model");
if (given !== null) {
  input("model").value = new URL(given, location.href).href;
  element<HTMLFormElement>("open").requestSubmit();
}
