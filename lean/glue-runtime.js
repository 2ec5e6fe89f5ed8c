/**
 * What is put into lean.js, the JavaScript that Emscripten generated for the wasm build of Lean; src/prove/lean/wasm/glue.ts
 * says where. It runs inside that file, on the thread that starts Lean and on all of Lean's own, and uses its names.
 */
/* global wasmImports, wasmTable, functionsInTableMap:writable, updateTableMap, isInternalSym, GOT */
/* global SYSCALLS, UTF8ToString, growMemViews, HEAPU8, HEAPU32, HEAP64 */

/** Makes all exports importable by prototype: generated code copies 200,000 names on every thread. */
function mergeMainExports(exports) {
  for (const name of Object.keys(wasmImports)) {
    if (wasmImports[name]?.stub && exports[name]) wasmImports[name] = exports[name];
  }
  Object.setPrototypeOf(wasmImports, exports);
  wasmImports.main ??= exports.__main_argc_argv;
}

/**
 * Gives every exported function its place in the function table, growing it once. The order must be the same on every
 * thread, since function pointers travel between them.
 */
function fillFunctionTable(exports) {
  if (!functionsInTableMap) {
    functionsInTableMap = new WeakMap();
    updateTableMap(0, wasmTable.length);
  }
  const base = wasmTable.length;
  const added = [];
  for (const name in exports) {
    const value = exports[name];
    if (typeof value !== "function" || isInternalSym(name) || functionsInTableMap.has(value)) continue;
    functionsInTableMap.set(value, base + added.length);
    added.push(value);
  }
  wasmTable.grow(added.length);
  for (let i = 0; i < added.length; i++) wasmTable.set(base + i, added[i]);
  for (const name of Object.keys(GOT)) {
    const value = exports[name];
    if (value === undefined || isInternalSym(name) || GOT[name].value !== -1) continue;
    if (typeof value === "function") GOT[name].value = functionsInTableMap.get(value);
    else if (typeof value.value === "number") GOT[name].value = value;
  }
}

/**
 * The files that Lean reads, without Emscripten's file system. In Node those below /lib, from the folder LEAN_LIBRARY; in
 * a page those that page-worker.js was given: all in one buffer that the threads share. Null: not one of these; a missing one has
 * no handle and no state.
 */
const ownFiles = (() => {
  if (!globalThis.process?.versions?.node) {
    const when = new Date(0);
    const modes = { file: 0o100444, folder: 0o40555 };
    const state = (mode, size) => ({
      ...{ dev: 1, ino: 1, mode, size, blocks: Math.ceil(size / 512) },
      ...{ atime: when, mtime: when, ctime: when },
    });
    return {
      find: (path) => (/^\/(?:lib|srv)\//.test(path) && globalThis.leanFiles ? path : null),
      state(path) {
        const { places, folders } = globalThis.leanFiles;
        if (places.has(path)) return state(modes.file, places.get(path).length);
        return folders.has(path) ? state(modes.folder, 0) : undefined;
      },
      open: (path) => globalThis.leanFiles.places.get(path),
      size: ({ length }) => length,
      read({ offset, length }, target, start, wanted, at) {
        const count = Math.max(0, Math.min(wanted, length - at));
        target.set(globalThis.leanFiles.bytes.subarray(offset + at, offset + at + count), start);
        return count;
      },
      close() {},
    };
  }
  const fs = require("node:fs");
  const root = process.env.LEAN_LIBRARY;
  const unlessMissing = (get) => {
    try {
      return get();
    } catch (error) {
      if (error.code === "ENOENT" || error.code === "ENOTDIR") return;
      throw error;
    }
  };
  const reads = process.env.LEAN_READS;
  return {
    find: (path) => (root && path.startsWith("/lib/") ? root + path.slice(4) : null),
    state: (path) => unlessMissing(() => fs.statSync(path)),
    open(path) {
      const handle = unlessMissing(() => fs.openSync(path, "r"));
      if (reads && handle !== undefined) fs.appendFileSync(reads, `${path}\n`);
      return handle;
    },
    size: (handle) => fs.fstatSync(handle).size,
    read: (handle, target, start, wanted, at) => fs.readSync(handle, target, start, wanted, at),
    close: (handle) => fs.closeSync(handle),
  };
})();

/**
 * System calls on these files, answered on the thread that asks. Generated code sends each of them to the starting
 * thread, which sits in a wait. Undefined: not ours, go on as generated.
 */
const libraryCalls = (() => {
  const NO_ENTRY = -44;
  // Far from the descriptors that Emscripten gives.
  let next = 1_000_000;
  const open = new Map();
  const writeStat = (target, state) => {
    if (state === undefined) return NO_ENTRY;
    const { dev, mode, size, blocks, atime, mtime, ctime, ino } = state;
    return SYSCALLS.writeStat(target, {
      ...{ dev, mode, size, blocks, atime, mtime, ctime, ino },
      ...{ nlink: 1, uid: 0, gid: 0, rdev: 0 },
    });
  };
  const statOf = (pointer, target) => {
    const path = ownFiles.find(UTF8ToString(pointer));
    if (path !== null) return writeStat(target, ownFiles.state(path));
  };
  return {
    ___syscall_stat64: statOf,
    ___syscall_newfstatat: (_folder, pointer, target) => statOf(pointer, target),
    ___syscall_openat(_folder, pointer, flags) {
      if (flags & 3) return;
      const path = ownFiles.find(UTF8ToString(pointer));
      if (path === null) return;
      const handle = ownFiles.open(path);
      if (handle === undefined) return NO_ENTRY;
      open.set(next, { path, handle, at: 0 });
      return next++;
    },
    ___syscall_fstat64(descriptor, target) {
      const file = open.get(descriptor);
      if (file) return writeStat(target, ownFiles.state(file.path));
    },
    ___syscall_fcntl64(descriptor) {
      if (open.has(descriptor)) return 0;
    },
    _fd_read(descriptor, vectors, count, result) {
      const file = open.get(descriptor);
      if (!file) return;
      growMemViews();
      let total = 0;
      for (let i = 0; i < count; i++, vectors += 8) {
        const [start, length] = [HEAPU32[vectors >> 2], HEAPU32[(vectors + 4) >> 2]];
        const read = ownFiles.read(file.handle, HEAPU8, start, length, file.at);
        file.at += read;
        total += read;
        if (read < length) break;
      }
      HEAPU32[result >> 2] = total;
      return 0;
    },
    _fd_seek(descriptor, offset, whence, result) {
      const file = open.get(descriptor);
      if (!file) return;
      const from = [0, file.at, whence === 2 ? ownFiles.size(file.handle) : 0][whence];
      file.at = from + Number(offset);
      growMemViews();
      HEAP64[result >> 3] = BigInt(file.at);
      return 0;
    },
    _fd_close(descriptor) {
      const file = open.get(descriptor);
      if (!file) return;
      ownFiles.close(file.handle);
      open.delete(descriptor);
      return 0;
    },
  };
})();

/**
 * Tells of a memory that cannot grow: what comes of it, a C++ exception or the end of the program, does not say so. Over a channel,
 * since the thread that started this one sits in a wait.
 */
function outOfMemory(bytes) {
  const { LEAN_CHANNEL: channel } = process.env;
  if (channel) new BroadcastChannel(channel).postMessage(`out of memory: Lean needs ${bytes} bytes`);
}

/** Says what a C++ exception says: one that leaves a thread ends the process with a bare number. */
function showException(pointer) {
  if (!process.env.LEAN_VERBOSE) return;
  growMemViews();
  // A std::string of libc++ after the pointer to the methods: 11 bytes inline, or address and length.
  const text = pointer + 4;
  const tag = HEAPU8[text + 11];
  const start = tag & 128 ? HEAPU32[text >> 2] : text;
  const length = tag & 128 ? HEAPU32[(text + 4) >> 2] : tag;
  if (length < 100_000) {
    const words = Buffer.from(HEAPU8.slice(start, start + length)).toString();
    require("node:fs").writeSync(2, `[exception] ${words}\n`);
  }
}
