// The last runs of a workflow, and the way back to each of them.

import { capture, placeAt, root, setValues, within } from "../lib/graph.js";
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
    this.element = make("details", {}, [make("summary", { textContent: text("history") }), this.list]);
    show(this.element, false);
  }

  get key() {
    return `${root().id}/${this.node.graph?.id}/${this.node.id}`;
  }

  /** @returns {Past[]} the runs of this workflow's node, the newest first */
  get runs() {
    const found = stored(STORE)[this.key];
    return Array.isArray(found) ? found : [];
  }

  /**
   * Add the runs of a prompt, unless they are there: where nothing has changed, the host shows them again.
   * @param {Wire.RunTold[]} ran
   * @param {Wire.RunAbout | undefined} about
   */
  add(ran, about) {
    const mine = this.runs;
    const prompt = ran[0]?.prompt ?? null;
    if (about && !mine.some((one) => one.prompt === prompt)) {
      const sum = (/** @type {(one: Wire.RunTold) => number} */ of) => ran.reduce((total, one) => total + of(one), 0);
      const run = {
        prompt, at: Date.now(), ...about, nfe: sum((one) => one.nfe), total: sum((one) => one.evaluations),
        seconds: sum((one) => one.seconds), visibility: ran[ran.length - 1]?.visibility ?? null,
      };
      remember(STORE, this.key, [run, ...mine].slice(0, MOST_RUNS), MOST_WORKFLOWS);
    }
    this.show();
  }

  show() {
    const mine = this.runs;
    show(this.element, mine.length > 1);
    this.list.replaceChildren(...mine.map((one) => this.row(one)));
  }

  /** @param {Past} past */
  row(past) {
    const picture = make("img", { alt: "" });
    if (past.thumbnail?.startsWith("data:image/jpeg;base64,")) picture.src = past.thumbnail;
    const said = [text("counts_short", { nfe: past.nfe, total: past.total }), duration(past.seconds)];
    if (past.visibility && past.nfe < past.total) said.push(visible(past.visibility));
    const when = new Date(past.at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    const words = make("span", {}, [said.join(" · "), make("div", { className: "quiet", textContent: `${when}  ${settingsOf(past)}` })]);
    return make("button", { type: "button", title: text("back_tip"), onclick: () => restore(past) }, [picture, words]);
  }
}

/** @param {Past} past */
function settingsOf({ settings }) {
  const found = [];
  for (const [name, label] of [["speed_up", "×"], ["steps", text("steps_short")], ["sampler_name", ""], ["seed", text("seed_short")]]) {
    const all = Object.values(settings).map(({ inputs }) => inputs);
    const holder = all.find((values) => name !== undefined && values[name] !== undefined);
    const value = name !== undefined ? holder?.[name] : undefined;
    if (value === undefined) continue;
    found.push(name === "speed_up" ? (Number(value) > 0 ? `${value}${label}` : `ε ${holder?.["epsilon"]}`) : `${label} ${value}`.trim());
  }
  return found.join(", ");
}

/** @param {Past} past whose settings are put back */
function restore({ settings }) {
  for (const [id, { class_type, inputs }] of Object.entries(settings)) {
    const [node, hosts] = placeAt(id);
    if (node?.comfyClass === class_type) within(hosts, () => setValues(/** @type {GraphNode} */ (node), inputs));
  }
  capture();
}
