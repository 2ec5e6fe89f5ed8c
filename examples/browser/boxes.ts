/** Boxes over a picture on the page. */
import type { PixelBox } from "deepseek-ts/vision";

/** Lays a box over a picture of so many pixels, in parts of its sides: the picture is shown in any size. */
export function layBox(
  stage: HTMLElement,
  label: string,
  [x1, y1, x2, y2]: PixelBox,
  { width, height }: { readonly width: number; readonly height: number },
): void {
  const box = stage.appendChild(document.createElement("div"));
  box.className = "box";
  box.appendChild(document.createElement("span")).textContent = label.trim();
  const percent = (part: number, whole: number) => `${(100 * part) / whole}%`;
  box.style.left = percent(Math.min(x1, x2), width);
  box.style.top = percent(Math.min(y1, y2), height);
  box.style.width = percent(Math.abs(x2 - x1), width);
  box.style.height = percent(Math.abs(y2 - y1), height);
}

export function clearBoxes(stage: HTMLElement): void {
  for (const box of stage.querySelectorAll(".box")) box.remove();
}
