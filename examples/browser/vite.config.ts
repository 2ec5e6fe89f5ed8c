/** Threads of kernels share memory, which browsers allow only to pages with these two headers. */
const headers = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};

export default {
  base: "./",
  appType: "mpa",
  // In modules, what decodes pictures is loaded with the first of them.
  worker: { format: "es" },
  server: { headers },
  preview: { headers },
};
