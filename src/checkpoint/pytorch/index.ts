/** Files that `torch.save` wrote, read without running anything in them. */
export { openPytorch } from "./reader.ts";
