// Folds the advanced widgets away in the classic canvas; Nodes 2.0 does that itself.

import { text } from "../lib/texts.js";
import { make } from "../lib/view.js";

/**
 * Fold a node's advanced widgets.
 * @param {GraphNode} node
 * @returns {HTMLElement[]} what unfolds them, nothing where the host's own button is there
 */
export function foldAdvanced(node) {
  const folded = (node.widgets ?? []).filter((widget) => widget.options?.advanced);
  if (!folded.length || window.LiteGraph?.vueNodesMode) return [];
  for (const widget of folded) widget.advanced = true; // the canvas looks here
  const toggle = make("button", { type: "button" });
  const label = () => (toggle.textContent = text(node.showAdvanced ? "fold" : "unfold"));
  toggle.onclick = () => {
    node.showAdvanced = !node.showAdvanced;
    label();
    node.setSize([node.size[0], node.computeSize()[1]]);
    node.setDirtyCanvas(true, true);
  };
  label();
  return [toggle];
}
