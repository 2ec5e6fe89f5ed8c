/** Where the drawer of an answer's inside stands. Its program is loaded when it is first opened. */
import type { FunctionComponent } from "preact";
import { useEffect, useState } from "preact/hooks";
import { closeInside } from "../state/inside.ts";

let loaded: FunctionComponent | null = null;

export function InsidePlace() {
  const [, again] = useState(0);
  const [fault, setFault] = useState<string | null>(null);
  useEffect(() => {
    let current = true;
    if (loaded === null)
      import("../inside/drawer.tsx").then(
        ({ InsideDrawer }) => {
          loaded = InsideDrawer;
          if (current) again(1);
        },
        () => current && setFault("The drawer could not be loaded: the server does not answer."),
      );
    return () => {
      current = false;
    };
  }, []);
  const Drawer = loaded;
  if (Drawer !== null) return <Drawer />;
  if (fault === null) return null;
  return (
    <aside class="list" aria-label="Inside">
      <p class="fault">{fault}</p>
      <button type="button" class="outlined" onClick={closeInside}>
        Close
      </button>
    </aside>
  );
}
