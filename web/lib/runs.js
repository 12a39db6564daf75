// Knows which open workflow a prompt was queued from, and what its runs cost on this machine.

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { nodeAt, root } from "./graph.js";
import { workload, workloads } from "./sampling.js";
import { remember, stored } from "./storage.js";

const SECONDS = "sencache.seconds"; // in the browser's storage
const MOST_OWNED = 200;

/** @type {Map<string, {from: unknown, works: Record<string, string>}>} where prompts were queued, and their work */
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
    const owner = { from: shown(), works: workloads() };
    try {
      const answer = await queue.apply(this, given);
      if (answer?.prompt_id) owners.set(answer.prompt_id, owner);
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
  if (owner && owner.from !== shown()) return false;
  return !workflow || workflow === String(root().id);
}

/** @param {Wire.RunEvent} news of a run: remember what a computed step took, of the work that was queued */
export function noteSeconds({ prompt, node, summary }) {
  const work = (owners.get(prompt ?? "")?.works ?? workloads())[node?.split(".")[0] ?? ""];
  if (work && summary?.complete && summary.seconds_computed != null) remember(SECONDS, work, summary.seconds_computed);
}

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
