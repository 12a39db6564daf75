// The panels' building blocks: elements, the strip of evaluations, and a place in a node.

import { reason, text } from "./texts.js";

const STYLE = `
.sencache { contain: content; box-sizing: border-box; width: 100%; padding: 6px 8px; border-radius: 6px;
  font: 12px/1.45 sans-serif; background: var(--comfy-input-bg, #222); color: var(--input-text, #ddd);
  overflow: hidden; user-select: text;
  & > div > * + *, .strip + div { margin-top: 5px; }
  .row { display: flex; gap: 6px; align-items: center; flex-wrap: wrap; }
  .row > input { flex: 1; min-width: 60px; accent-color: #3b8ce0; }
  button { font: inherit; padding: 2px 8px; border-radius: 4px; cursor: pointer; color: inherit;
    background: var(--comfy-menu-bg, #353535); border: 1px solid var(--border-color, #666); }
  button:hover { border-color: currentColor; }
  :focus-visible { outline: 2px solid #3b8ce0; outline-offset: 1px; }
  &.off { opacity: 0.6; }
  .strip { display: flex; align-items: flex-end; height: 20px; gap: 1px; }
  .strip > i { flex: 1 1 0; min-width: 1px; max-width: 16px; height: 45%; border-radius: 1px;
    background: var(--input-text, #ddd); opacity: 0.4; }
  .strip > .c { height: 100%; background: #3b8ce0; opacity: 1; }
  .strip > .e { background: none; border: 1px dotted; opacity: 0.3; height: 100%; box-sizing: border-box; }
  .bar { height: 6px; border-radius: 3px; background: var(--border-color, #555); overflow: hidden; }
  .bar > i { display: block; height: 100%; background: #3b8ce0; }
  svg { display: block; width: 100%; height: 80px; }
  polyline { fill: none; stroke: #3b8ce0; stroke-width: 2; vector-effect: non-scaling-stroke; }
  .strong { font-weight: 600; }
}`;

/**
 * Make an element.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, any>} [set]
 * @param {(Node | string)[]} [children]
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, set = {}, children = []) {
  const element = document.createElement(tag);
  const { attributes = {}, ...own } = set;
  Object.assign(element, own);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** @type {(name: string, onclick: () => void) => HTMLElement} */
export const button = (name, onclick) =>
  make("button", { textContent: text(name), title: text(`${name}_tip`), onclick });

/**
 * @typedef {{reuse: boolean, reason: string, score: number | null, missed?: number | null,
 *   expected?: number | null}} Cell
 */

/**
 * Fill a strip: tall blue cells are computed, low ones reused, dotted ones still to come.
 * @param {HTMLElement} strip
 * @param {Cell[]} cells
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
 * @param {Cell} cell
 */
function hover(index, cell) {
  const action = text(cell.reuse ? "reused" : "computed");
  const said = text("cell", { n: index + 1, action, reason: reason(cell.reason) });
  const more = cell.score == null ? [] : [text("score", { s: cell.score.toFixed(4) })];
  const { missed, expected } = cell;
  if (missed != null) more.push(text("forecast", { missed: missed.toFixed(4), expected: expected?.toFixed(4) }));
  return more.length ? `${said} (${more.join("; ")})` : said;
}

const LEAST_WIDTH = 310;
const AROUND = 34; // the panel's padding and ComfyUI's margin around it, in pixels

/**
 * Put a panel under a node's widgets, in the classic canvas and in Nodes 2.0 alike.
 * @param {GraphNode} node
 * @param {HTMLElement} content
 * @param {number} least height in pixels
 */
export function mount(node, content, least) {
  if (!document.getElementById("sencache-style")) {
    document.head.append(make("style", { id: "sencache-style", textContent: STYLE }));
  }
  const panel = make("div", { className: "sencache" }, [content]);
  let height = least;
  const widget = node.addDOMWidget("sencache", "SENCACHE_PANEL", panel, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => height,
    getMaxHeight: () => height,
    getValue: () => "",
    setValue() {},
  });
  widget.serialize = false;
  const compute = node.computeSize;
  node.computeSize = function (...given) {
    const size = compute.apply(this, given);
    size[0] = Math.max(size[0], LEAST_WIDTH);
    return size;
  };
  for (const event of ["pointerdown", "mousedown", "dblclick", "wheel", "keydown"]) {
    panel.addEventListener(event, keepFromCanvas, { passive: true });
  }
  const observer = new ResizeObserver(() => {
    const wanted = Math.ceil(content.scrollHeight) + AROUND;
    if (!content.isConnected || content.offsetWidth === 0 || Math.abs(wanted - height) < 2) return;
    height = Math.max(least, wanted);
    const [wide, high] = node.computeSize();
    const [width, tall] = node.size;
    if (width < wide || tall < high) node.setSize([Math.max(width, wide), Math.max(tall, high)]);
    node.setDirtyCanvas(true, true);
  });
  observer.observe(content);
  chain(node, "onRemoved", () => observer.disconnect());
  return panel;
}

/** @param {any} event ComfyUI's own keys, such as Ctrl+Enter, go on to it */
function keepFromCanvas(event) {
  if (event.target.closest("input, button") && !event.ctrlKey && !event.metaKey) event.stopPropagation();
}

/**
 * Call a function after a node's own method of that name.
 * @param {any} owner
 * @param {string} name
 * @param {(...values: any[]) => void} then
 */
export function chain(owner, name, then) {
  const before = owner[name];
  owner[name] = function (/** @type {any[]} */ ...values) {
    const returned = before?.apply(this, values);
    then.apply(this, values);
    return returned;
  };
}
