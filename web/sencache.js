// Puts the panels under the nodes, and hands them news.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { begin } from "./lib/ask.js";
import { restoreByName } from "./lib/restore.js";
import { followPrompts, noteSeconds } from "./lib/runs.js";
import { learn } from "./lib/texts.js";
import { watch } from "./lib/watch.js";
import { addCacheStatsPanel, broke, ended, refused, started, lookAtRuns, tookRuns, tookStep } from "./panels/cache_stats.js";
import { addCalibratePanel, lookAtCalibrations, tookNews } from "./panels/calibrate.js";
import { addComparePanel, missedComparison, tookComparison } from "./panels/compare.js";
import { addModelPatchPanel, failed, lookAtPatches, tookMeasured, tookModel } from "./panels/patches.js";

/** @type {Record<string, (node: GraphNode) => void>} */
const PANELS = {
  SenCacheModelPatch: addModelPatchPanel,
  SenCacheStats: addCacheStatsPanel,
  SenCacheStatsRay: addCacheStatsPanel,
  SenCacheCalibrate: addCalibratePanel,
  SenCacheCompare: addComparePanel,
};

/** @type {Record<string, (detail: any) => void>} by the event that the server sends */
const HEARD = {
  "sencache.run": (detail) => {
    noteSeconds(detail);
    tookStep(detail);
  },
  "sencache.measured": tookMeasured,
  "sencache.model": tookModel,
  "sencache.calibration": tookNews,
  executed: (detail) => {
    tookComparison(detail);
    tookRuns(detail);
  },
  execution_start: started,
  execution_success: ended,
  execution_interrupted: (detail) => {
    broke(detail, "no_run");
    missedComparison(detail);
  },
  execution_error: (detail) => {
    failed(detail);
    missedComparison(detail);
    broke(detail, "failed");
  },
};

// At once: a page that is loaded in the middle of a run hears of it before any extension is set up.
for (const [name, take] of Object.entries(HEARD)) {
  api.addEventListener(name, (/** @type {CustomEvent} */ event) => take(event.detail));
}

app.registerExtension({
  name: "sencache.panels",
  /** ComfyUI waits for this, and makes its first node later. */
  async init() {
    learn((await begin()).texts);
  },
  setup() {
    followPrompts(refused);
    for (const look of [lookAtPatches, lookAtRuns, lookAtCalibrations]) watch(look);
  },
  /** @param {GraphNode} node */
  nodeCreated(node) {
    const add = PANELS[node.comfyClass ?? ""];
    if (!add) return;
    restoreByName(node);
    if (typeof node.addDOMWidget === "function") add(node); // without it the nodes work, only unseen
  },
});
