// The strip of a run: one cell per evaluation.

import { make } from "./view.js";
import { reason, text } from "./texts.js";

/**
 * Fill a strip: tall blue cells are computed, low ones reused, dotted ones still to come.
 * @param {HTMLElement} strip
 * @param {Wire.Cell[]} cells
 * @param {number} [expected]
 */
export function fillStrip(strip, cells, expected = 0) {
  const count = Math.max(cells.length, expected);
  while (strip.children.length > count) strip.lastElementChild?.remove();
  while (strip.children.length < count) strip.append(make("i"));
  for (const [index, element] of [...strip.children].entries()) {
    const cell = cells[index];
    const name = !cell ? "e" : cell.reuse ? "r" : "c";
    const title = cell ? hover(index, cell) : "";
    if (element.className !== name) element.className = name;
    if (element.getAttribute("title") !== title) element.setAttribute("title", title);
  }
  const nfe = cells.filter((cell) => !cell.reuse).length;
  strip.setAttribute("role", "img");
  strip.setAttribute("aria-label", text("strip", { nfe, total: cells.length }));
}

/**
 * @param {number} index
 * @param {Wire.Cell} cell
 */
function hover(index, cell) {
  const action = text(cell.reuse ? "reused" : "computed");
  const said = text("cell", { n: index + 1, action, reason: reason(cell.reason) });
  const more = cell.score == null ? [] : [text("score", { s: cell.score.toFixed(4) })];
  const { missed, expected } = cell;
  if (missed != null) more.push(text("forecast", { missed: missed.toFixed(4), expected: expected?.toFixed(4) }));
  return more.length ? `${said} (${more.join("; ")})` : said;
}
