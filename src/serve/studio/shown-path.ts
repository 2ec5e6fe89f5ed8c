/** Places below the roots as people read them. */
import type { RootPath } from "./protocol.ts";

/** `ROOT/PATH`, as the page shows it. */
export const shownPath = ({ root, path }: RootPath): string => (path === "" ? root : `${root}/${path}`);
