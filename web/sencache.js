// Puts the panels under the pack's nodes and hands them the server's news.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { addCacheStatsPanel, tookStep } from "./panels/cache_stats.js";
import { addCalibratePanel, tookNews } from "./panels/calibrate.js";
import { addModelPatchPanel, watch } from "./panels/model_patch.js";

/** @type {Record<string, (node: GraphNode) => void>} */
const PANELS = {
  SenCacheModelPatch: addModelPatchPanel,
  SenCacheStats: addCacheStatsPanel,
  SenCacheCalibrate: addCalibratePanel,
};

app.registerExtension({
  name: "sencache.panels",
  setup() {
    api.addEventListener("sencache.run", (/** @type {CustomEvent} */ event) => tookStep(event.detail));
    api.addEventListener("sencache.calibration", (/** @type {CustomEvent} */ event) => tookNews(event.detail));
    watch();
  },
  /** @param {GraphNode} node */
  nodeCreated(node) {
    const add = PANELS[node.comfyClass ?? ""];
    if (add && typeof node.addDOMWidget === "function") add(node); // without it the nodes work, only unseen
  },
});
