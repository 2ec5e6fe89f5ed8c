/** What was typed and not sent yet, over reloads. */

export interface Draft {
  readonly text: string;
  /** Names of pictures in the store. */
  readonly pictures: readonly string[];
}

/** Of a conversation that has no message yet. */
export const NEW = "new";

const keyOf = (conversation: string) => `studio.draft.${conversation}`;

export function readDraft(conversation: string): Draft {
  try {
    const draft = JSON.parse(localStorage.getItem(keyOf(conversation)) ?? "null");
    if (typeof draft?.text === "string" && Array.isArray(draft.pictures)) return draft;
  } catch {
    // Not ours, or no storage.
  }
  return { text: "", pictures: [] };
}

export function keepDraft(conversation: string, draft: Draft): void {
  try {
    if (draft.text === "" && draft.pictures.length === 0) localStorage.removeItem(keyOf(conversation));
    else localStorage.setItem(keyOf(conversation), JSON.stringify(draft));
  } catch {
    // Without storage it lasts until the page is closed.
  }
}

/** Puts a picture before the next new conversation. */
export function askAbout(picture: string): void {
  keepDraft(NEW, { ...readDraft(NEW), pictures: [picture] });
}
