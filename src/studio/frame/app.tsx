/** The frame around every screen. */
import { useEffect } from "preact/hooks";
import { announcement } from "../state/notices.ts";
import { goTo, route } from "../state/route.ts";
import { useStudio } from "../state/studio.ts";
import { KeysTable, shownDialog } from "./keys.tsx";
import { Notices } from "./notices.tsx";
import { Palette } from "./palette.tsx";
import { Rail } from "./rail.tsx";
import { type ScreenEntry, screens, useScreen } from "./screens.tsx";
import { Strips } from "./strips.tsx";
import { TopLine } from "./top-line.tsx";

/** What stands on a screen whose work a page cannot do alone. */
function NeedsServer({ entry }: { readonly entry: ScreenEntry }) {
  return (
    <div class="page screen">
      <h1>{entry.name}</h1>
      <div class="card stack">
        <p>{entry.server}</p>
        <p class="small soft">
          Start it on this machine with <code>npx deepseek-ts studio</code>; its page has all screens. Chat,
          pictures and models work here.
        </p>
      </div>
    </div>
  );
}

function Work({ entry }: { readonly entry: ScreenEntry }) {
  const Component = useScreen(entry);
  useEffect(() => {
    document.title = `${entry.name} · deepseek.ts studio`;
  }, [entry]);
  if (Component === null)
    return (
      <div class="page" aria-busy="true">
        <h1>{entry.name}</h1>
      </div>
    );
  if (typeof Component === "string")
    return (
      <div class="page">
        <h1>{entry.name}</h1>
        <p class="fault">{Component}</p>
      </div>
    );
  return <Component />;
}

export function App() {
  const { page } = useStudio().backend;
  const entry = screens.find(({ screen }) => screen === route.value.screen) ?? screens[0];
  useEffect(() => {
    if (entry.screen !== route.value.screen) goTo(entry.screen, null, true);
  }, [entry]);
  return (
    <>
      <div class="frame">
        <a
          class="skip"
          href="#work"
          onClick={(event) => {
            event.preventDefault();
            document.getElementById("work")?.focus();
          }}
        >
          Skip to the work
        </a>
        <Rail current={entry.screen} />
        <TopLine />
        <Strips />
        <main class="work" id="work" tabIndex={-1}>
          {page !== null && entry.server !== undefined ? (
            <NeedsServer key={entry.screen} entry={entry} />
          ) : (
            <Work key={entry.screen} entry={entry} />
          )}
        </main>
      </div>
      <Notices />
      {shownDialog.value === "palette" && <Palette />}
      {shownDialog.value === "keys" && <KeysTable />}
      <p class="hidden-text" role="status">
        {announcement.value}
      </p>
    </>
  );
}
