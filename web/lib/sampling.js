// What the graph says of the sampling after a Model Patch, and of the tables that its model may have.

import { alongModel, beforeModel, isOff, originOf, valueOf } from "./graph.js";

export const AUTOMATIC = "automatic";
const FRACTIONS = ["cfg", "denoise", "shift"]; // what else is told is a whole number or a name

/**
 * Say what the nodes along the model say of the sampling; what they do not say, the table answers.
 * @param {GraphNode} patch
 */
export function samplingOf(patch) {
  /** @type {Record<string, any>} */
  const said = {};
  const take = (/** @type {GraphNode} */ node, /** @type {string} */ name, as = name) => {
    const value = valueOf(node, name);
    const known = typeof value === "string" || (FRACTIONS.includes(name) ? Number.isFinite : Number.isInteger)(value);
    if (known && said[as] === undefined) said[as] = value;
  };
  for (const node of [...alongModel(patch), ...schedulers(patch)]) {
    if (said.steps === undefined) {
      for (const name of ["steps", "scheduler", "denoise"]) take(node, name);
      take(node, "start_at_step", "start");
      take(node, "end_at_step", "end");
      take(node, "return_with_leftover_noise", "leftover_noise");
    }
    take(node, "sampler_name", "sampler");
    take(node, "cfg");
    const sigmas = originOf(node, "sigmas");
    if (sigmas) said.sigmas ??= sigmas.comfyClass;
  }
  for (const node of [...alongModel(patch), ...beforeModel(patch)]) {
    if (/^ModelSampling(SD3|AuraFlow)$/.test(node.comfyClass ?? "")) take(node, "shift");
  }
  return said;
}

/**
 * Yield the nodes that give the samplers after a Model Patch their sigmas.
 * @param {GraphNode} patch
 */
function* schedulers(patch) {
  for (const node of alongModel(patch)) {
    for (const name of ["sigmas", "sampler"]) {
      const from = originOf(node, name);
      if (from) yield from;
    }
  }
}

/** @type {(patch: GraphNode) => GraphNode | undefined} the first sampler after a Model Patch */
export const samplerOf = (patch) =>
  [...alongModel(patch)].find((one) => one.outputs?.some(({ type }) => type === "LATENT"));

/**
 * Name the tables that a Model Patch may use, the likeliest first; the first says how they are chosen.
 * @param {GraphNode} patch
 * @param {GraphNode | null} connected the node that gives it a table
 * @returns {string[]}
 */
export function tablesOf(patch, connected) {
  if (connected) return [AUTOMATIC, tableFile(valueOf(connected, "table_name"))].filter(Boolean);
  const chosen = String(valueOf(patch, "table") ?? AUTOMATIC);
  if (chosen !== AUTOMATIC) return [chosen];
  const found = [chosen];
  for (const node of beforeModel(patch)) {
    for (const name of ["unet_name", "ckpt_name", "model_name"]) found.push(tableFile(valueOf(node, name)));
  }
  return found.filter(Boolean).slice(0, 8);
}

/** @type {(patch: GraphNode) => GraphNode | null} the active node that gives it a table */
export function connectedTo(patch) {
  const source = originOf(patch, "sensitivity");
  return source && !isOff(source) ? source : null;
}

/**
 * Name what a Model Patch's model comes from, as set now: its loader.
 * @param {GraphNode} patch
 */
export function loaderOf(patch) {
  const loader = [...beforeModel(patch)].pop();
  const values = (loader?.widgets ?? []).map(({ name }) => valueOf(/** @type {GraphNode} */ (loader), name));
  return JSON.stringify([loader?.comfyClass ?? "", ...values.filter((value) => typeof value === "string")]).slice(0, 500);
}

/** @param {unknown} name */
function tableFile(name) {
  const stem = String(name ?? "").split(/[\\/]/).pop()?.replace(/\.(safetensors|sft|gguf|ckpt|pt|pth)$/, "");
  return stem ? `${stem}.safetensors` : "";
}
