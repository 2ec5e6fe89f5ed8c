/** Pillow's conversion of four inks (`cmyk2rgb` in its Convert.c): no color profile, rounded products. */

/** @param cmyk four bytes for each pixel, 255 is full ink @returns three bytes for each */
export function cmykToRgb(cmyk: Uint8Array): Uint8Array {
  const rgb = new Uint8Array((cmyk.length / 4) * 3);
  for (let from = 0, to = 0; from < cmyk.length; from += 4) {
    const light = 255 - cmyk[from + 3];
    for (let channel = 0; channel < 3; channel++) {
      // (ink light) / 255, rounded.
      const product = cmyk[from + channel] * light + 128;
      rgb[to++] = light - (((product >> 8) + product) >> 8);
    }
  }
  return rgb;
}
