/** Names of repositories on the hub. */

export interface HubName {
  /** `org/name`. */
  readonly repo: string;
  /** Branch, tag or commit; `main` if the name has none. */
  readonly revision: string;
}

/** Splits `org/name[@revision]`; null if the text is no such name. */
export function parseHubName(text: string): HubName | null {
  const match = /^([A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?$/.exec(text);
  if (!match || /--|\.\.|\.git$|\.gguf$/i.test(match[1])) return null;
  const revision = match[2] ?? "main";
  return revision.split("/").some((part) => /^\.*$/.test(part)) ? null : { repo: match[1], revision };
}
