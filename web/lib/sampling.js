// What the graph says of the sampling after a Model Patch, and of the tables that its model may have.

import { alongModel, beforeModel, everyPlace, idAt, isOff, origin, originOf, valueOf, within } from "./graph.js";

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

/** @type {(node: GraphNode) => unknown} whether a model or a guider goes in, and a latent comes out */
const isSampler = ({ comfyClass, inputs, outputs }) =>
  comfyClass !== "SenCacheStats" && outputs?.some(({ type }) => type === "LATENT") &&
  inputs?.some(({ type }) => type === "MODEL" || type === "GUIDER");

/** @type {(patch: GraphNode) => GraphNode[]} the samplers after a Model Patch, the nearest first */
export const samplersOf = (patch) => [...alongModel(patch)].filter(isSampler);

/** @type {(patch: GraphNode) => GraphNode | undefined} the sampler that the plan is of */
export const samplerOf = (patch) => samplersOf(patch)[0];

const BESIDE = ["MODEL", "CLIP", "VAE", "CONDITIONING", "GUIDER", "NOISE", "SIGMAS", "SAMPLER"];
const NO_SIZE = /seed|control_after_generate|filename|prompt|^text$/;

/**
 * Name the work of one step of a sampler: its model, its guidance, its latent's size.
 * @param {GraphNode} sampler
 */
export function workload(sampler) {
  const guider = originOf(sampler, "guider") ?? sampler;
  const loaders = [...beforeModel(guider)].map((one) => [
    one.comfyClass, valueOf(one, "unet_name") ?? valueOf(one, "ckpt_name") ?? "",
  ]);
  const cfg = valueOf(guider, "cfg");
  return JSON.stringify([loaders, sizesBehind(sampler), cfg === undefined ? guider.comfyClass : cfg !== 1]);
}

/** @returns {Record<string, string>} the workloads of all samplers as set now, by id */
export function workloads() {
  const samplers = [...everyPlace()].filter(([node]) => isSampler(node));
  return Object.fromEntries(samplers.map((place) => [idAt(place), within(place[1], () => workload(place[0]))]));
}

/** @param {any} value another pack's may be anything */
const plain = (value) => (typeof value === "string" ? value.slice(0, 60) : /number|boolean/.test(typeof value) ? value : 0);

/**
 * List the settings of the nodes that a sampler's latent comes from.
 * @param {GraphNode} sampler
 */
function sizesBehind(sampler) {
  const seen = new Set([sampler]);
  const found = [];
  for (const node of seen) {
    const passes = isSampler(node);
    if (!passes) {
      const values = (node.widgets ?? []).filter((one) => one.serialize !== false && !NO_SIZE.test(one.name));
      found.push([node.comfyClass, isOff(node), ...values.map(({ name }) => plain(valueOf(node, name)))]);
    }
    for (const [index, { type }] of (node.inputs ?? []).entries()) {
      if (passes ? type !== "LATENT" : BESIDE.includes(type ?? "")) continue;
      const from = origin(node, index);
      if (from) seen.add(from);
    }
  }
  return found;
}

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
