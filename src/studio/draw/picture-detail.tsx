/** A picture of the gallery, opened: full size, its settings, what can be done with it. */
import { messageOf } from "../backend/backend.ts";
import { useChat } from "../chat/chat.ts";
import { askAbout } from "../chat/drafts.ts";
import { saveFile } from "../chat/save-file.ts";
import type { Drawing } from "../chat/store.ts";
import { StoredImage, useStoredPicture } from "../chat/stored-image.tsx";
import { Icon } from "../frame/icons.tsx";
import { notify } from "../state/notices.ts";
import { goTo, routeHash } from "../state/route.ts";
import { useStudio } from "../state/studio.ts";
import type { Drawings } from "./drawings.ts";
import type { PictureTexts } from "./png-settings.ts";

export const SettingsTable = ({ texts }: { readonly texts: PictureTexts }) => (
  <dl class="facts settings-table">
    {Object.entries(texts)
      .filter(([name]) => name !== "Software")
      .map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value.slice(0, 2000)}</dd>
        </div>
      ))}
  </dl>
);

interface DetailProps {
  readonly drawing: Drawing;
  readonly all: Drawings;
  readonly onUse: (texts: PictureTexts) => void;
}

export function PictureDetail({ drawing, all, onUse }: DetailProps) {
  const chat = useChat();
  const studio = useStudio();
  const found = useStoredPicture(drawing.hash);
  const texts = { prompt: drawing.prompt, ...(drawing.settings as PictureTexts) };
  const here = studio.entry(drawing.model) !== null;
  const copy = async () => {
    if (!found) return;
    try {
      await navigator.clipboard.write([new ClipboardItem({ "image/png": found.picture.blob })]);
      notify("The picture is copied.");
    } catch (error) {
      notify(`The browser did not allow copying: ${messageOf(error)}`);
    }
  };
  return (
    <div class="page screen">
      <div class="page-head">
        <a class="quiet" href={routeHash({ screen: "draw", item: null })}>
          <Icon name="left" />
          Draw
        </a>
        <h1 class="cut">{drawing.prompt}</h1>
      </div>
      <div class="detail-picture">
        <div class="full-picture">
          <StoredImage hash={drawing.hash} alt={drawing.prompt} />
        </div>
        <section class="card stack" aria-label="Settings">
          <SettingsTable texts={texts} />
          {!here && <p class="small soft">The model that drew it is no longer here.</p>}
          <div class="row">
            <button
              type="button"
              class="solid"
              onClick={() => {
                askAbout(drawing.hash);
                chat.open(null).then(() => goTo("chat"));
              }}
            >
              <Icon name="chat" />
              Ask about it
            </button>
            <button
              type="button"
              class="outlined"
              onClick={() => {
                onUse(texts);
                goTo("draw");
              }}
            >
              Use these settings
            </button>
            <button
              type="button"
              class="outlined"
              onClick={() => found && saveFile(found.picture.blob, found.picture.name)}
            >
              <Icon name="save" />
              Save
            </button>
            <button type="button" class="outlined" onClick={copy}>
              <Icon name="copy" />
              Copy
            </button>
            <button
              type="button"
              class="quiet"
              onClick={() => {
                all.remove(drawing);
                goTo("draw");
              }}
            >
              <Icon name="trash" />
              Delete
            </button>
          </div>
        </section>
      </div>
    </div>
  );
}
