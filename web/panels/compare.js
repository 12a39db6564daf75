// The panel under SenCache Compare: two videos in step, and their difference.

import { api } from "../../../scripts/api.js";
import { everyNode } from "../lib/graph.js";
import { heldOf, isShown } from "../lib/runs.js";
import { text, told } from "../lib/texts.js";
import { chain, make, mount } from "../lib/view.js";

const STYLE = `.sencache .compare {
  canvas { display: block; margin-inline: auto; }
  .wipe { cursor: ew-resize; touch-action: none; }
  input { width: 100%; margin: 0; accent-color: #3b8ce0; }
  .names { justify-content: space-between; opacity: 0.8; }
  .count { min-width: 4em; text-align: end; }
  [aria-pressed=true] { background: var(--input-text, #ddd); color: var(--comfy-input-bg, #222); }
  [hidden] { display: none; }
}`;
const WIDTH = 460; // of a new node
const HIGHEST = 440; // of a picture
const GAP = 8; // between the videos, in pixels of theirs
const MOST_KEPT = 32;
const AHEAD = 16; // frames that are fetched before they are shown
const DRAGS = /** @type {const} */ (["pointerdown", "pointermove", "mousedown"]);

/**
 * @typedef {Wire.ComparisonTold & {prompt?: string}} Shown
 * @typedef {{mode: string, wipe: number, index: number, playing: boolean}} View `wipe` is the reference's share
 */

/** @type {Map<string, Shown>} the latest comparisons, by node and workflow */
const kept = new Map();

/** @type {WeakMap<GraphNode, {show: () => void, miss: () => void}>} */
const panels = new WeakMap();

/** @param {{prompt_id: string}} event of the host's: a prompt has failed, or was stopped */
export function missedComparison({ prompt_id }) {
  if (!isShown({ prompt: prompt_id })) return;
  for (const node of everyNode()) if (heldOf(kept, node)?.prompt !== prompt_id) panels.get(node)?.miss();
}

/** @param {any} event of the host's: a node was executed */
export function tookComparison(event) {
  const shown = event?.output?.sencache_compare?.[0];
  if (!shown) return;
  const key = `${shown.node}/${shown.workflow}`;
  kept.delete(key);
  kept.set(key, { ...shown, prompt: event.prompt_id });
  if (kept.size > MOST_KEPT) kept.delete(String(kept.keys().next().value));
  for (const node of everyNode()) panels.get(node)?.show();
}

/** @param {GraphNode} node */
export function addComparePanel(node) {
  const content = make("div", { className: "compare" }, [text("compare_wait")]);
  mount(node, content, 60).prepend(make("style", { textContent: STYLE }));
  node.setSize([Math.max(node.size[0], WIDTH), node.size[1]]);
  // As the user left it, for the next comparison.
  const view = { mode: "side", wipe: 0.5, index: 0, playing: !matchMedia("(prefers-reduced-motion)").matches };
  /** @type {Shown | undefined} */
  let current;
  /** @type {Player | undefined} */
  let player;
  const show = () => {
    const held = heldOf(kept, node);
    if (!held || held === current) return;
    current = held;
    player?.stop();
    player = held.files.length ? new Player(held, view) : undefined;
    const [first, ...rest] = held.notes.map(told);
    const numbers = make("div", { className: "strong" }, [first]);
    stale.hidden = true;
    content.replaceChildren(...(player?.parts ?? []), stale, numbers, make("div", {}, [rest.join(" ")]));
  };
  const stale = make("div", { className: "said bad", textContent: text("compare_stale") });
  const miss = () => void (stale.hidden = false);
  panels.set(node, { show, miss });
  chain(node, "onConfigure", () => setTimeout(show));
  chain(node, "onRemoved", () => player?.stop());
}

/** A comparison that is played: one canvas shows the same frame of both. */
class Player {
  canvas = make("canvas", { attributes: { role: "img" } });
  names = make("div", { className: "row names" });
  count = make("span", { className: "count" });
  toggle = make("button", { onclick: () => this.play(!this.view.playing) });
  wipe = range(1, 0.005, text("compare_divider"), (wipe) => this.show({ wipe }));
  timer = 0;

  /**
   * @param {Shown} shown
   * @param {View} view followed and changed
   */
  constructor(shown, view) {
    this.shown = shown;
    this.view = view;
    const last = shown.files.length - 1;
    this.slider = range(last, 1, text("compare_frame"), (index) => (this.show({ index }), this.play(false)));
    const modes = { side: text("compare_side"), wipe: text("compare_wipe"), difference: text("compare_difference") };
    this.modes = Object.entries(modes).map(([value, textContent]) =>
      make("button", { value, textContent, onclick: () => this.show({ mode: value }) }));
    /** @type {HTMLImageElement[]} */
    this.images = [];
    for (const event of DRAGS) this.canvas.addEventListener(event, (one) => this.drag(one));
    this.show({ index: Math.min(view.index, last) });
    this.play(view.playing);
    const controls = last ? [make("div", { className: "row" }, [this.toggle, this.slider, this.count])] : [];
    this.parts = [make("div", { className: "row" }, this.modes), this.names, this.canvas, this.wipe, ...controls];
  }

  /** @param {number} index of a frame, fetched on first sight */
  image(index) {
    return (this.images[index] ??= this.fetch(this.shown.files[index] ?? ""));
  }

  /** @param {string} filename */
  fetch(filename) {
    const query = new URLSearchParams({ filename, subfolder: this.shown.subfolder, type: "temp" });
    const onerror = () => (this.stop(), this.canvas.replaceWith(text("compare_gone")));
    return make("img", { src: api.apiURL(`/view?${query}`), onload: () => this.show(), onerror });
  }

  /** @param {boolean} playing */
  play(playing) {
    this.stop();
    this.show({ playing });
    const { fps, files } = this.shown;
    const began = performance.now() - (this.view.index * 1000) / fps;
    const tick = (/** @type {number} */ now) => {
      this.timer = requestAnimationFrame(tick);
      const index = Math.floor((Math.max(0, now - began) * fps) / 1000) % files.length;
      if (index !== this.view.index && this.image(index).complete) this.show({ index });
    };
    if (playing && files.length > 1) tick(began);
  }

  stop() {
    cancelAnimationFrame(this.timer);
  }

  /** @param {MouseEvent} event that the divider follows */
  drag(event) {
    if (this.view.mode !== "wipe" || !(event.buttons & 1)) return;
    event.stopPropagation();
    if (event instanceof PointerEvent) this.canvas.setPointerCapture(event.pointerId);
    const { left, width } = this.canvas.getBoundingClientRect();
    this.show({ wipe: Math.min(1, Math.max(0, (event.clientX - left) / width)) });
  }

  /** @param {Partial<View>} [changed] of what is seen */
  show(changed) {
    const { canvas, shown, view } = this;
    const { mode, index } = Object.assign(view, changed);
    for (const one of this.modes) one.setAttribute("aria-pressed", String(one.value === mode));
    const videos = [text("compare_reference"), text("compare_faster")];
    const names = mode === "difference" ? [text("compare_amplified", { gain: shown.gain })] : videos;
    this.names.replaceChildren(...names.map((name) => make("span", {}, [name])));
    canvas.setAttribute("aria-label", names.join(" | "));
    this.wipe.hidden = mode !== "wipe";
    this.wipe.value = String(view.wipe);
    this.slider.value = String(index);
    this.count.textContent = `${shown.numbers[index]} / ${shown.count}`;
    this.toggle.textContent = text(view.playing ? "compare_pause" : "compare_play");
    const count = shown.files.length;
    for (let ahead = Math.min(AHEAD, count - 1); ahead > 0; ahead--) this.image((index + ahead) % count);
    paint(canvas, this.image(index), shown, view);
  }
}

/** @type {(canvas: HTMLCanvasElement, image: HTMLImageElement, shown: Shown, view: View) => void} */
function paint(canvas, image, { width, height, numbers }, { mode, wipe, index }) {
  const wide = mode === "side" ? 2 * width + GAP : width;
  canvas.className = mode;
  if (canvas.width !== wide || canvas.height !== height) Object.assign(canvas, { width: wide, height });
  canvas.style.width = `min(100%, ${Math.round((HIGHEST * wide) / height)}px)`;
  const pen = canvas.getContext("2d");
  if (!pen || !image.naturalWidth) return;
  const place = image.naturalWidth / 3; // a file holds the reference, the faster one and the difference
  const paste = (/** @type {number} */ which, from = 0, left = 0) =>
    pen.drawImage(image, which * place + from, 0, width - from, height, left + from, 0, width - from, height);
  paste(mode === "difference" ? 2 : 0);
  if (mode === "side") paste(1, 0, width + GAP);
  if (mode === "wipe") {
    const at = Math.round(wipe * width);
    const thick = Math.max(1, Math.round(width / 300));
    paste(1, at);
    pen.fillStyle = "#fff";
    pen.fillRect(at - thick / 2, 0, thick, height);
  }
  canvas.dataset.frame = String(numbers[index]);
}

/** @type {(max: number, step: number, name: string, take: (value: number) => void) => HTMLInputElement} */
function range(max, step, name, take) {
  const attributes = { type: "range", min: 0, max, step, title: name, "aria-label": name };
  const input = make("input", { attributes });
  input.oninput = () => take(input.valueAsNumber);
  return input;
}
