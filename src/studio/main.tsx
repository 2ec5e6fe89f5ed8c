/** Begins the page. */
import { render } from "preact";
import { pageHub } from "./backend/page-mark.ts";
import { serverBackend } from "./backend/server-backend.ts";
import { currentToken, takeToken } from "./backend/token.ts";
import { Chat, ChatProvider } from "./chat/chat.ts";
import { openStore } from "./chat/store.ts";
import { App } from "./frame/app.tsx";
import { listenToKeys } from "./frame/keys.tsx";
import { applyTheme } from "./state/preferences.ts";
import { followAddress } from "./state/route.ts";
import { Studio, StudioProvider } from "./state/studio.ts";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/frame.css";
import "./styles/markdown.css";
import "./styles/chat.css";

await takeToken();
applyTheme();
followAddress();
listenToKeys();
const hub = pageHub();
const backend =
  hub === null
    ? serverBackend(currentToken)
    : (await import("./backend/worker-backend.ts")).workerBackend(__VERSION__, hub);
const studio = new Studio(backend, __VERSION__);
studio.watch();
const chat = new Chat(studio, await openStore());
chat.begin();
render(
  <StudioProvider value={studio}>
    <ChatProvider value={chat}>
      <App />
    </ChatProvider>
  </StudioProvider>,
  document.getElementById("studio")!,
);
