/** A host in the thread that asks it: for programs that need no answers while a step is computed, and for tests. */
import type { LoadedModel } from "../../pretrained/load.ts";
import type { EngineChannel } from "./engine-client.ts";
import type { HostSettings } from "./protocol.ts";
import { type HostSurroundings, runHost } from "./run-host.ts";
import { packed } from "./wire.ts";

/**
 * The channel to a host that opens its model with `open` once a listener is attached. Messages arrive in later turns, as from
 * a thread. @param open resolves to the model, which belongs to the host from then on
 */
export function localChannel(
  settings: HostSettings,
  open: (notice: (text: string) => void) => Promise<LoadedModel>,
  surroundings: HostSurroundings = {},
): EngineChannel {
  let receive: ((message: unknown) => void) | null = null;
  let ended = false;
  let end: (reason: string) => void = () => {};
  const later = (body: () => void) => void Promise.resolve().then(() => ended || body());
  return {
    post: (message) => later(() => receive?.(packed(message))),
    listen(onMessage, onEnd) {
      end = onEnd;
      const port = {
        send: (message: Parameters<typeof onMessage>[0]) => later(() => onMessage(message)),
        listen: (onPosted: (message: unknown) => void) => {
          receive = onPosted;
        },
        close: () => {
          receive = null;
        },
      };
      void runHost(port, settings, open, surroundings);
    },
    async terminate() {
      // What runs goes on unheard: only `EngineClient.shutdown` ends it and frees the model.
      ended = true;
      end("its host was left");
    },
  };
}
