/** The screens: name, what it is for, key of its icon, and its program, loaded when it is opened. */
import type { FunctionComponent } from "preact";
import { useEffect, useState } from "preact/hooks";
import { ChatScreen } from "../chat/chat-screen.tsx";
import type { Screen } from "../state/route.ts";
import type { IconName } from "./icons.tsx";

export interface ScreenEntry {
  readonly screen: Screen;
  readonly name: string;
  readonly icon: IconName;
  /** In a sentence. */
  readonly about: string;
  /** Why it needs a server; absent for what a page does alone. */
  readonly server?: string;
  readonly load: () => Promise<FunctionComponent>;
}

export const screens: readonly ScreenEntry[] = [
  {
    screen: "chat",
    name: "Chat",
    icon: "chat",
    about: "Ask a model, with pictures where it sees; every answer can be edited and branched.",
    // Part of the first file: it is what the page opens with.
    load: async () => ChatScreen,
  },
  {
    screen: "draw",
    name: "Draw",
    icon: "draw",
    about: "Pictures by Janus and JanusFlow, seen while they grow, kept with their settings.",
    load: async () => (await import("../draw/draw-screen.tsx")).DrawScreen,
  },
  {
    screen: "train",
    server: "Training reads folders and writes runs that outlive the page: it needs the studio's server.",
    name: "Train",
    icon: "train",
    about: "Runs of this machine, live and finished: curves, load of the experts, samples; stop and resume.",
    load: async () => (await import("../train/train-screen.tsx")).TrainScreen,
  },
  {
    screen: "prove",
    server: "Proofs are checked by Lean, which needs the studio's server.",
    name: "Prove",
    icon: "prove",
    about: "Lean reads what you write, shows the goals at the cursor, and a model searches for the proofs.",
    load: async () => (await import("../prove/prove-screen.tsx")).ProveScreen,
  },
  {
    screen: "models",
    name: "Models",
    icon: "models",
    about: "What is on this machine, how large it is, what it needs: open, close, download, delete.",
    load: async () => (await import("../models/models-screen.tsx")).ModelsScreen,
  },
];

const loaded = new Map<Screen, FunctionComponent>();

/** A screen's program; the reason where it could not be loaded. */
export function useScreen(entry: ScreenEntry): FunctionComponent | string | null {
  const [, again] = useState(0);
  const [failed, setFailed] = useState<string | null>(null);
  useEffect(() => {
    let current = true;
    setFailed(null);
    if (!loaded.has(entry.screen))
      entry
        .load()
        .then((component) => loaded.set(entry.screen, component))
        .catch(() => current && setFailed(`${entry.name} could not be loaded: the server does not answer.`))
        .finally(() => current && again((count) => count + 1));
    return () => {
      current = false;
    };
  }, [entry]);
  return loaded.get(entry.screen) ?? failed;
}
