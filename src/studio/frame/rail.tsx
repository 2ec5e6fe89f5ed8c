/** The screens by name, and what concerns the whole page: colors, keys. */

import { theme } from "../state/preferences.ts";
import type { Screen } from "../state/route.ts";
import { routeHash } from "../state/route.ts";
import { Icon } from "./icons.tsx";
import { shownDialog } from "./keys.tsx";
import { screens } from "./screens.tsx";

const NEXT = { auto: "light", light: "dark", dark: "auto" } as const;
const THEME_ICON = { auto: "half", light: "sun", dark: "moon" } as const;

function ThemeButton() {
  return (
    <button
      type="button"
      title={`Colors: ${theme.value}. Click for ${NEXT[theme.value]}.`}
      onClick={() => {
        theme.value = NEXT[theme.value];
      }}
    >
      <Icon name={THEME_ICON[theme.value]} />
      <span>
        <span class="hidden-text">Colors: </span>
        {theme.value}
      </span>
    </button>
  );
}

export function Rail({ current }: { readonly current: Screen }) {
  return (
    <nav class="rail" aria-label="Screens">
      <ul>
        {screens.map(({ screen, name, icon, about }) => (
          <li key={screen}>
            <a
              href={routeHash({ screen, item: null })}
              aria-current={screen === current ? "page" : undefined}
              title={about}
            >
              <Icon name={icon} />
              {name}
            </a>
          </li>
        ))}
      </ul>
      <div class="push wide-only">
        <button
          type="button"
          title="Keys (?)"
          onClick={() => {
            shownDialog.value = "keys";
          }}
        >
          <Icon name="keys" />
          Keys
        </button>
        <ThemeButton />
      </div>
    </nav>
  );
}
