/** A picture from the store. Its address lives as long as something shows it. */
import { useEffect, useState } from "preact/hooks";
import { useChat } from "./chat.ts";
import type { StoredPicture } from "./store.ts";

interface Shown {
  readonly picture: StoredPicture;
  readonly url: string;
}

const shown = new Map<string, { readonly entry: Promise<Shown | null>; users: number }>();

/** Null while it is read, false where it is not kept. */
export function useStoredPicture(hash: string): Shown | null | false {
  const { store } = useChat();
  const [state, setState] = useState<Shown | null | false>(null);
  useEffect(() => {
    let used = shown.get(hash);
    if (!used) {
      const entry = store
        .picture(hash)
        .then((picture) => picture && { picture, url: URL.createObjectURL(picture.blob) });
      shown.set(hash, (used = { entry, users: 0 }));
    }
    used.users++;
    let current = true;
    used.entry.then((found) => current && setState(found ?? false));
    return () => {
      current = false;
      used.users--;
      if (used.users > 0) return;
      shown.delete(hash);
      used.entry.then((found) => found && URL.revokeObjectURL(found.url));
    };
  }, [hash, store]);
  return state;
}

export function StoredImage({ hash, alt }: { readonly hash: string; readonly alt?: string }) {
  const found = useStoredPicture(hash);
  if (found === false) return <p class="small soft">A picture that this browser no longer keeps.</p>;
  if (found === null) return <span class="picture-place" />;
  const { picture, url } = found;
  return <img src={url} width={picture.width} height={picture.height} alt={alt ?? picture.name} />;
}
