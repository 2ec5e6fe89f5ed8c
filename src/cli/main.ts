#!/usr/bin/env node
/** What `deepseek-ts` starts: the command line in a process of its own, which ends with its reader and leaves nothing half done. */
import { watchUnsettled } from "../files/temporary.ts";
import { endOnSignalWhile } from "./interrupt.ts";
import { endWithReader } from "./report-error.ts";

endOnSignalWhile(watchUnsettled);
endWithReader(process.stdout);
endWithReader(process.stderr);
const { runCommandLine } = await import("./command-line.ts");
await runCommandLine();
