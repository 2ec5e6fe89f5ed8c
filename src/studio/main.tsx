/** Begins the page. */
import { render } from "preact";
import { serverBackend } from "./backend/server-backend.ts";
import { currentToken, takeToken } from "./backend/token.ts";
import { App } from "./frame/app.tsx";
import { listenToKeys } from "./frame/keys.tsx";
import { applyTheme } from "./state/preferences.ts";
import { followAddress } from "./state/route.ts";
import { Studio, StudioProvider } from "./state/studio.ts";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/frame.css";

takeToken();
applyTheme();
followAddress();
listenToKeys();
const studio = new Studio(serverBackend(currentToken), __VERSION__);
studio.watch();
render(
  <StudioProvider value={studio}>
    <App />
  </StudioProvider>,
  document.getElementById("studio")!,
);
