// The panels' building blocks: elements, and a place in a node.

import { addStyle } from "./style.js";
import { text } from "./texts.js";

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

/** @type {(name: string, onclick: () => void) => HTMLButtonElement} */
export const button = (name, onclick) =>
  make("button", { textContent: text(name), title: text(`${name}_tip`), onclick });

/**
 * Show or hide an element.
 * @param {HTMLElement} element
 * @param {boolean} visible
 */
export const show = (element, visible) => void (element.style.display = visible ? "" : "none");

/** @returns {boolean} whether Nodes 2.0 draws the nodes */
export const modern = () => Boolean(window.LiteGraph?.vueNodesMode);

const LEAST_WIDTH = 310;
const ROW = 24; // what a widget takes in a node, in pixels
const AROUND = 26; // the panel's padding and ComfyUI's margin around it, in pixels

/**
 * Put a panel into a node, in the classic canvas and in Nodes 2.0 alike.
 * @param {GraphNode} node
 * @param {HTMLElement} content
 * @param {number} least height in pixels
 * @param {string[]} [above] the widgets that stand first, below the panel; without them the panel stands last
 */
export function mount(node, content, least, above) {
  addStyle();
  const panel = make("div", { className: "sencache" }, [content]);
  let height = least;
  const widget = node.addDOMWidget("sencache", "SENCACHE_PANEL", panel, {
    serialize: false,
    hideOnZoom: false,
    hideInPanel: true, // ComfyUI's side panel would take it out of the node
    getMinHeight: () => height,
    getMaxHeight: () => height,
    getValue: () => "",
    setValue() {},
  });
  widget.serialize = false;
  widget.label = "SenCache"; // its heading where it was chosen for App mode
  if (above) raise(node, widget, above);
  const compute = node.computeSize;
  node.computeSize = function (...given) {
    const size = compute.apply(this, given);
    size[0] = Math.max(size[0], LEAST_WIDTH);
    size[1] -= ROW * foldedRows(node); // the canvas counts what Nodes 2.0 has folded
    return size;
  };
  for (const event of ["pointerdown", "mousedown", "dblclick", "wheel", "keydown"]) {
    panel.addEventListener(event, keepFromCanvas, { passive: true });
  }
  const observer = new ResizeObserver(() => {
    const wanted = Math.max(least, Math.ceil(content.scrollHeight) + AROUND);
    if (!content.isConnected || content.offsetWidth === 0 || Math.abs(wanted - height) < 2) return;
    const fitted = Math.abs(node.size[1] - node.computeSize()[1]) < 4; // nobody made it larger
    height = wanted;
    const [wide, high] = node.computeSize();
    const [width, tall] = node.size;
    if (width < wide || tall < high || fitted) node.setSize([Math.max(width, wide), fitted ? high : Math.max(tall, high)]);
    node.setDirtyCanvas(true, true);
  });
  observer.observe(content);
  node.setSize([node.size[0], node.computeSize()[1]]); // as it is folded; a saved size comes later
  chain(node, "onRemoved", () => observer.disconnect());
  return panel;
}

/** @param {GraphNode} node */
function foldedRows(node) {
  if (!modern() || node.showAdvanced) return 0;
  return (node.widgets ?? []).filter((widget) => widget.options?.advanced && !widget.hidden).length;
}

/**
 * Put a panel, and some widgets below it, before the others. ComfyUI would save the values by their place
 * among all widgets; they are saved in the order of the inputs, as ever.
 * @param {GraphNode} node
 * @param {Widget} panel
 * @param {string[]} names
 */
function raise(node, panel, names) {
  const widgets = node.widgets ?? [];
  const chosen = names.flatMap((name) => widgets.find((one) => one.name === name) ?? []);
  const others = widgets.filter((one) => one !== panel && !chosen.includes(one));
  widgets.splice(0, widgets.length, panel, ...chosen, ...others);
  chain(node, "onSerialize", (saved) => {
    if (!saved.widgets_values) return;
    const ordered = (node.inputs ?? []).flatMap((slot) => widgets.find((one) => one.name === slot.widget?.name) ?? []);
    const rest = widgets.filter((one) => one.serialize !== false && !ordered.includes(one));
    saved.widgets_values = [...ordered, ...rest].map((one) => one.value ?? null);
  });
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
