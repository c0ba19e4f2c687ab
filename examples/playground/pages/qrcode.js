/** Draws QR codes. */
import { encode } from './qr.js';

/** Draws the code of a text into an svg element. */
export function drawQrCode(svg, text) {
  const { data, size } = encode(text, { ecc: 'L', border: 2 });
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  let squares = '';
  data.forEach((row, y) => {
    row.forEach((dark, x) => {
      if (dark) squares += `M${x} ${y}h1v1h-1z`;
    });
  });
  path.setAttribute('d', squares);
  svg.setAttribute('viewBox', `0 0 ${size} ${size}`);
  svg.replaceChildren(path);
}
