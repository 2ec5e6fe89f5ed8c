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
}
