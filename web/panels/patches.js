// All Model Patch panels of the page: where they stand, and the news that concern them.

import { alongModel, everyNode, everyPlace, nodeAt, placeAt, within } from "../lib/graph.js";
import { isShown } from "../lib/runs.js";
import { noteModel } from "./asker.js";
import { ModelPatchPanel } from "./model_patch.js";

const PATCH = "SenCacheModelPatch";
const TITLE = "SenCache Model Patch"; // every refusal of the node begins with it

/** @type {WeakMap<GraphNode, ModelPatchPanel[]>} by the node that shows them */
const panels = new WeakMap();

/** @param {GraphNode} node */
export function addModelPatchPanel(node) {
  panels.set(node, [new ModelPatchPanel(node)]);
}

/** Show the speed of a Model Patch in a subgraph on the subgraph's node too. */
function addOuterPanels() {
  for (const [node, hosts] of everyPlace()) {
    for (const host of node.comfyClass === PATCH ? hosts : []) {
      const there = panels.get(host) ?? [];
      if (there.some((panel) => panel.node === node) || typeof host.addDOMWidget !== "function") continue;
      panels.set(host, [...there, new ModelPatchPanel(node, hosts, host)]);
    }
  }
}

/** @returns {Generator<[GraphNode, ModelPatchPanel]>} each Model Patch with one of its panels */
function* everyPanel() {
  const inside = new Set(everyNode());
  for (const node of inside) {
    const here = panels.get(node) ?? [];
    const gone = here.filter((panel) => !inside.has(panel.node)); // taken out of the subgraph
    for (const panel of gone) panel.remove();
    if (gone.length) panels.set(node, here.filter((panel) => !gone.includes(panel)));
    for (const panel of here) if (!gone.includes(panel)) yield [panel.node, panel];
  }
}

/** A table is new, whoever's. */
export function tookMeasured() {
  for (const [, panel] of everyPanel()) panel.refresh();
}

/** @param {Wire.ModelEvent} news whose model a Model Patch has */
export function tookModel(news) {
  const [node, hosts] = isShown(news) ? placeAt(news.node ?? "") : [null, []];
  if (!node) return;
  within(hosts, () => noteModel(node, news));
  for (const [patch, panel] of everyPanel()) {
    if (patch !== node) continue;
    panel.failure = "";
    panel.changed();
  }
}

/** @param {{prompt_id: string, node_id: string, exception_message?: string}} error of the host's */
export function failed({ prompt_id, node_id, exception_message }) {
  const said = String(exception_message ?? "").trim();
  if (!said.startsWith(TITLE) || !isShown({ prompt: prompt_id })) return;
  const at = nodeAt(String(node_id));
  for (const [node, panel] of everyPanel()) {
    if (at && (at === node || [...alongModel(node)].includes(at))) panel.fail(said);
  }
}

/** Look at the graph: subgraphs may be new, and settings others. */
export function lookAtPatches() {
  addOuterPanels();
  for (const [, panel] of everyPanel()) panel.look();
}
