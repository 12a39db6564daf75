// Folds the advanced widgets away in the classic canvas; Nodes 2.0 does that itself.

import { app } from "../../../scripts/app.js";
import { text } from "../lib/texts.js";
import { make, modern, show } from "../lib/view.js";

/** @returns {boolean} whether the workflow is shown as an app, without its nodes */
function isApp() {
  const workflow = app.extensionManager?.workflow?.activeWorkflow;
  return (workflow?.activeMode ?? workflow?.initialMode) === "app";
}

/**
 * Fold a node's advanced widgets.
 * @param {GraphNode} node
 * @returns {{toggle: HTMLElement, follow: () => void}} the button that unfolds them, and what keeps up with
 *   the rendering and the links
 */
export function foldAdvanced(node) {
  const folded = (node.widgets ?? []).filter((widget) => widget.options?.advanced);
  const linked = (/** @type {string} */ name) => node.inputs?.find((slot) => slot.name === name)?.link != null;
  let open = false;
  let state = "";
  const toggle = make("button", { type: "button" });
  toggle.onclick = () => {
    open = !open;
    follow();
  };
  function follow() {
    const hides = !modern() && !open;
    const shut = folded.filter(({ name }) => name !== "embedded_table" && !linked(name));
    const needed = !modern() && !isApp();
    const now = `${modern()} ${hides} ${shut.length} ${needed}`;
    if (now === state) return;
    const first = state === "";
    state = now;
    for (const widget of folded) if (widget.name !== "embedded_table") widget.hidden = hides && shut.includes(widget);
    toggle.textContent = text(hides ? "unfold" : "fold");
    show(toggle, needed);
    if (!first) node.setSize([node.size[0], node.computeSize()[1]]);
    node.setDirtyCanvas(true, true);
  }
  follow();
  return { toggle, follow };
}
