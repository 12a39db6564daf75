// Knows which open workflow a prompt was queued from, and what its runs cost on this machine.

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { nodeAt, root } from "./graph.js";
import { workload } from "./sampling.js";
import { remember, stored } from "./storage.js";

const SECONDS = "sencache.seconds"; // in the browser's storage
const MOST_OWNED = 200;

/** @type {Map<string, unknown>} the open workflow by prompt: two copies have the same id */
const owners = new Map();

/** @returns {unknown} the workflow that is shown, null where the frontend does not tell */
const shown = () => app.extensionManager?.workflow?.activeWorkflow ?? null;

/**
 * Remember from where each prompt is queued.
 * @param {(errors: any) => void} onRefused called where the server refuses one
 */
export function followPrompts(onRefused) {
  const queue = api.queuePrompt;
  api.queuePrompt = async function (/** @type {any[]} */ ...given) {
    const from = shown();
    try {
      const answer = await queue.apply(this, given);
      if (answer?.prompt_id) owners.set(answer.prompt_id, from);
      if (owners.size > MOST_OWNED) owners.delete(String(owners.keys().next().value));
      return answer;
    } catch (error) {
      onRefused(error);
      throw error;
    }
  };
}

/**
 * Tell whether news is of the workflow that is shown.
 * @param {{workflow?: string | null, prompt?: string}} news
 */
export function isShown({ workflow, prompt }) {
  const owner = owners.get(prompt ?? "");
  if (owner !== undefined && owner !== shown()) return false;
  return !workflow || workflow === String(root().id);
}

/**
 * Remember what a computed step took.
 * @param {GraphNode} sampler
 * @param {number} seconds
 */
export const noteSeconds = (sampler, seconds) => remember(SECONDS, workload(sampler), seconds);

/** @type {(sampler: GraphNode | undefined) => number | undefined} what a computed step takes, if it is known */
export const secondsOf = (sampler) => (sampler ? stored(SECONDS)[workload(sampler)] : undefined);

/**
 * Return the newest of what a map holds of a node; its keys begin with the server's id ("12:3/...").
 * @template {{workflow?: string | null, prompt?: string}} T
 * @param {Map<string, T>} map
 * @param {GraphNode} node
 * @returns {T | undefined}
 */
export function heldOf(map, node) {
  const mine = [...map].filter(([key, news]) => isShown(news) && nodeAt(key.split("/")[0] ?? "") === node);
  return mine.pop()?.[1];
}
