/**
 * The script of the worker in which Lean runs in a page, and of the threads that Lean starts from there, which have the same
 * address. src/prove/lean/page/open.ts starts it, src/prove/lean/wasm/page-folder.ts puts it beside what it loads.
 *
 * Each gets one message first, `{ lean }`: `files` (all that Lean reads, in one shared buffer), `channel` (the name under
 * which a thread tells the page of its end, since the worker sits in a wait and hears nothing), and the worker itself also the
 * compiled module and the mailbox of requests, laid out as in src/prove/lean/wasm/mailbox.ts.
 */
(() => {
  // Without `versions` this does not count as Node.
  self.process = { env: {} };
  const glue = self.location.href.replace(/worker(\.[^/]*)$/, "lean$1");
  const NEWLINE = 10;
  const COUNTERS = 8;
  /** Longest line that is passed on, as in a thread of Node (src/prove/lean/wasm/lean-thread.ts). */
  const LONGEST = 64 * 1024 * 1024;
  /** What this build of Lean says about itself. */
  const CHATTER = /^\[DEBUG|^ {2}(- |mainModule\?)/;

  /** Takes the first message, before the generated code sees it. */
  function whenGiven(start) {
    const listen = (event) => {
      if (event.data?.lean === undefined) return;
      event.stopImmediatePropagation();
      self.removeEventListener("message", listen);
      const { channel, files } = event.data.lean;
      self.process.env.LEAN_CHANNEL = channel;
      const { bytes, places } = files;
      const folders = new Set();
      for (const path of places.keys()) {
        for (let at = path.lastIndexOf("/"); at > 0; at = path.lastIndexOf("/", at - 1)) {
          folders.add(path.slice(0, at));
        }
      }
      self.leanFiles = { bytes, places, folders };
      start(event.data.lean);
    };
    self.addEventListener("message", listen);
  }

  if (self.name.startsWith("em-pthread")) {
    whenGiven(({ channel }) => {
      const tell = (words) => new BroadcastChannel(channel).postMessage(String(words));
      self.addEventListener("error", ({ message }) => tell(message));
      self.addEventListener("unhandledrejection", ({ reason }) => tell(reason));
    });
    importScripts(glue);
    return;
  }

  /** Bytes of requests one by one, with a null after each newline, which ends a read. */
  function byteInput(mailbox) {
    const counters = new Int32Array(mailbox, 0, 2);
    const ring = new Uint8Array(mailbox, COUNTERS);
    let ended = false;
    return () => {
      if (ended) {
        ended = false;
        return null;
      }
      const read = counters[1];
      while (Atomics.load(counters, 0) === read) Atomics.wait(counters, 0, read);
      const byte = ring[(read >>> 0) % ring.length];
      Atomics.store(counters, 1, (read + 1) | 0);
      ended = byte === NEWLINE;
      return byte;
    };
  }

  /** Bytes of an output put together to lines. */
  function lineOutput(stream) {
    let bytes = new Uint8Array(1 << 12);
    let length = 0;
    return (byte) => {
      if (byte === null) return;
      if (byte !== NEWLINE) {
        if (length === LONGEST) return;
        if (length === bytes.length) {
          const larger = new Uint8Array(2 * length);
          larger.set(bytes);
          bytes = larger;
        }
        bytes[length++] = byte & 255;
        return;
      }
      const line = new TextDecoder().decode(bytes.slice(0, length));
      length = 0;
      if (!CHATTER.test(line)) self.postMessage({ stream, line });
    };
  }

  whenGiven(({ files, channel, module, mailbox }) => {
    const Thread = self.Worker;
    self.Worker = class extends Thread {
      constructor(address, options) {
        super(address, options);
        this.postMessage({ lean: { files, channel } });
      }
    };
    const lean = {
      thisProgram: "lean",
      arguments: ["-j1", "--run", "/srv/Main.lean"],
      stdin: byteInput(mailbox),
      stdout: lineOutput(1),
      stderr: lineOutput(2),
      instantiateWasm(imports, receive) {
        WebAssembly.instantiate(module, imports).then((instance) => receive(instance, module));
        return {};
      },
      onAbort: (words) => self.postMessage({ ended: `aborted: ${words}` }),
      onExit: (code) => self.postMessage({ ended: `ended with status ${code}` }),
      preRun: [
        () => {
          const { FS, ENV } = lean;
          for (const folder of ["/bin", "/lib", "/srv"]) FS.mkdir(folder);
          ENV.LEAN_PATH = "/lib:/srv";
          ENV.LEAN_SYSROOT = "/";
          FS.chdir("/");
        },
      ],
    };
    self.Module = lean;
    importScripts(glue);
  });
})();
