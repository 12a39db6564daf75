// Puts the panels under the pack's nodes and hands them the server's news.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { begin } from "./lib/ask.js";
import { learn } from "./lib/texts.js";
import { addCacheStatsPanel, tookStep } from "./panels/cache_stats.js";
import { addCalibratePanel, tookNews } from "./panels/calibrate.js";
import { addComparePanel, tookComparison } from "./panels/compare.js";
import { addModelPatchPanel, offer, tookMeasured, watch } from "./panels/model_patch.js";

/** @type {Record<string, (node: GraphNode) => void>} */
const PANELS = {
  SenCacheModelPatch: addModelPatchPanel,
  SenCacheStats: addCacheStatsPanel,
  SenCacheCalibrate: addCalibratePanel,
  SenCacheCompare: addComparePanel,
};

app.registerExtension({
  name: "sencache.panels",
  /** ComfyUI waits for this, and makes its first node later. */
  async init() {
    const { texts, presets } = await begin();
    learn(texts);
    offer(presets);
  },
  setup() {
    api.addEventListener("sencache.run", (/** @type {CustomEvent} */ event) => tookStep(event.detail));
    api.addEventListener("sencache.measured", (/** @type {CustomEvent} */ event) => tookMeasured(event.detail));
    api.addEventListener("sencache.calibration", (/** @type {CustomEvent} */ event) => tookNews(event.detail));
    api.addEventListener("executed", (/** @type {CustomEvent} */ event) => tookComparison(event.detail?.output));
    watch();
  },
  /** @param {GraphNode} node */
  nodeCreated(node) {
    const add = PANELS[node.comfyClass ?? ""];
    if (add && typeof node.addDOMWidget === "function") add(node); // without it the nodes work, only unseen
  },
});
