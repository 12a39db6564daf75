// The last runs of a workflow, and the way back to each of them.

import { capture, everyPlace, idAt, placeAt, root, setValues, within } from "../lib/graph.js";
import { isShown } from "../lib/runs.js";
import { duration, text, visible } from "../lib/texts.js";
import { remember, stored } from "../lib/storage.js";
import { make, show } from "../lib/view.js";

const STORE = "sencache.history"; // in the browser's storage
const MOST_RUNS = 8;
const MOST_WORKFLOWS = 12;

/**
 * @typedef {Wire.RunAbout & {prompt: string | null, at: number, nfe: number, total: number, seconds: number,
 *   visibility: string | null}} Past
 */

export class History {
  /** @param {GraphNode} node a Cache Stats */
  constructor(node) {
    this.node = node;
    this.list = make("div", { className: "history" });
    this.said = make("div", { attributes: { "aria-live": "polite" } });
    this.element = make("details", {}, [make("summary", { textContent: text("history") }), this.list]);
    show(this.element, false);
  }

  /** @returns {Past[]} the runs of this workflow's node, the newest first; in a subgraph, of all its copies */
  get runs() {
    const places = [...everyPlace()].filter(([node]) => node === this.node);
    const found = places.flatMap((place) => pastOf(root().id, idAt(place)));
    return found.sort((one, other) => other.at - one.at).slice(0, MOST_RUNS);
  }

  show() {
    const mine = this.runs;
    show(this.element, mine.length > 1);
    this.list.replaceChildren(this.said, ...mine.map((one) => this.row(one)));
  }

  /** @param {Past} past whose settings are put back */
  back(past) {
    this.said.textContent = restore(past) ? "" : text("back_partly");
  }

  /** @param {Past} past */
  row(past) {
    const picture = make("img", { alt: "" });
    if (past.thumbnail?.startsWith("data:image/jpeg;base64,")) picture.src = past.thumbnail;
    const said = [text("counts_short", { nfe: past.nfe, total: past.total }), duration(past.seconds)];
    if (past.visibility && past.nfe < past.total) said.push(visible(past.visibility));
    const when = new Date(past.at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    const words = make("span", {}, [said.join(" · "), make("div", { className: "quiet", textContent: `${when}  ${settingsOf(past)}` })]);
    return make("button", { type: "button", title: text("back_tip"), onclick: () => this.back(past) }, [picture, words]);
  }
}

/** @param {Past} past */
function settingsOf({ settings }) {
  const found = [];
  const labels = { speed_up: "", steps: text("steps_short"), sampler_name: "", seed: text("seed_short") };
  for (const [name, label] of Object.entries(labels)) {
    const holder = Object.values(settings).find(({ inputs }) => inputs[name] !== undefined)?.inputs;
    const value = holder?.[name];
    if (value === undefined) continue;
    const speed = Number(value) > 0 ? `${value}×` : `ε ${holder?.["epsilon"]}`;
    found.push(name === "speed_up" ? speed : `${label} ${value}`.trim());
  }
  return found.join(", ");
}

/** @type {(past: Past) => boolean} put its settings back; whether all could be: nodes go, and others give values */
function restore({ settings }) {
  let whole = true;
  for (const [id, { class_type, inputs }] of Object.entries(settings)) {
    const [node, hosts] = placeAt(id);
    const there = node?.comfyClass === class_type ? node : null;
    whole = there !== null && within(hosts, () => setValues(there, inputs)).length === 0 && whole;
  }
  capture();
  return whole;
}

/** @type {(workflow: string | undefined, node: string) => Past[]} */
function pastOf(workflow, node) {
  const found = stored(STORE)[`${workflow}/${node}`];
  return Array.isArray(found) ? found : [];
}

/** @param {any} event of the host's: a node was executed, in any workflow; a prompt without a run is no news */
export function tookPast({ prompt_id, output }) {
  /** @type {Wire.RunAbout | undefined} */
  const about = output?.sencache_run?.[0];
  /** @type {Wire.RunTold[]} */
  const ran = output?.sencache ?? [];
  const workflow = about?.workflow ?? (isShown({ prompt: prompt_id }) ? root().id : undefined);
  if (!about?.node || !workflow || !ran.some((one) => one.prompt === prompt_id)) return;
  const mine = pastOf(workflow, about.node);
  if (mine.some((one) => one.prompt === prompt_id)) return;
  const sum = (/** @type {(one: Wire.RunTold) => number} */ of) => ran.reduce((total, one) => total + of(one), 0);
  const run = {
    ...about, prompt: prompt_id, at: Date.now(), nfe: sum((one) => one.nfe), total: sum((one) => one.evaluations),
    seconds: sum((one) => one.seconds), visibility: ran[ran.length - 1]?.visibility ?? null,
  };
  remember(STORE, `${workflow}/${about.node}`, [run, ...mine].slice(0, MOST_RUNS), MOST_WORKFLOWS);
}
