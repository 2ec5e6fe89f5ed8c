/** Threads of Lean and of the kernels share memory, which browsers allow only to pages with these two headers. */
const headers = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};

export default {
  base: "./",
  appType: "mpa",
  worker: { format: "es" },
  server: { headers },
  preview: { headers },
};
