/** Conversations with images, as training reads them. `Image` is what stands for a picture: its pixels, or where it lies. */

export type ConversationRole = "system" | "user" | "assistant";

export type ConversationPart<Image> =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "image"; readonly image: Image };

export interface ConversationMessage<Image> {
  readonly role: ConversationRole;
  /** Text, or texts and images in their order. */
  readonly content: string | readonly ConversationPart<Image>[];
}

export interface ImageConversation<Image> {
  readonly messages: readonly ConversationMessage<Image>[];
  /** Whether it is a picture with its caption as the answer, which a model may learn to draw instead. */
  readonly captioned?: boolean;
}

/** Where a picture of a conversation lies: a file, or the line itself. */
export type ImageSource =
  | {
      /** Relative to the data folder, with `/`, or absolute if that is allowed. */
      readonly path: string;
    }
  | {
      /** `data:image/..;base64,..` */
      readonly dataUrl: string;
    };

/** The images of a conversation, in their order. */
export function imagesOf<Image>({ messages }: ImageConversation<Image>): Image[] {
  return messages.flatMap(({ content }) =>
    typeof content === "string" ? [] : content.flatMap((part) => (part.type === "image" ? [part.image] : [])),
  );
}

/** The conversation with what `load` makes of each image, one after the other. */
export async function loadImages<Image, Loaded>(
  { messages, captioned }: ImageConversation<Image>,
  load: (image: Image) => Promise<Loaded>,
): Promise<ImageConversation<Loaded>> {
  const loaded: ConversationMessage<Loaded>[] = [];
  for (const { role, content } of messages) {
    if (typeof content === "string") {
      loaded.push({ role, content });
      continue;
    }
    const parts: ConversationPart<Loaded>[] = [];
    for (const part of content) {
      parts.push(part.type === "image" ? { type: "image", image: await load(part.image) } : part);
    }
    loaded.push({ role, content: parts });
  }
  return { messages: loaded, ...(captioned && { captioned }) };
}

/** The picture and the caption of a captioned conversation. */
export function captionOf<Image>(conversation: ImageConversation<Image>): { image: Image; caption: string } {
  const [image] = imagesOf(conversation);
  const { content } = conversation.messages[conversation.messages.length - 1];
  const texts =
    typeof content === "string" ? [content] : content.flatMap((part) => ("text" in part ? part.text : []));
  return { image, caption: texts.join("") };
}
