// The panel under SenCache Calibrate: cost, progress, curves so far, the table put to use.

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { ask } from "../lib/ask.js";
import { alongModel, capture, everyNode, isOff, nodeAt, originOf, root, setValues, upstream, valueOf } from "../lib/graph.js";
import { heldOf, isShown } from "../lib/runs.js";
import { remember, stored } from "../lib/storage.js";
import { duration, looksClass, text, told, visible } from "../lib/texts.js";
import { button, chain, make, mount, show } from "../lib/view.js";
import { takesTables } from "./taking.js";

const MEASURED = "sencache.measured"; // in the browser's storage: the settings measured last, by node
const [WIDTH, HEIGHT] = [300, 80];
const PRESETS = {
  quick: { steps: 24, samples: 1, sensitivities: "some steps" },
  paper: { steps: 50, samples: 8, sensitivities: "every step" },
};

/** @type {Map<string, Wire.CalibrationEvent>} the last news of each calibration, by node and workflow */
const news = new Map();
/** @type {WeakMap<GraphNode, CalibratePanel>} */
const panels = new WeakMap();

/** @param {Wire.CalibrationEvent} told_ what the server says of a calibration */
export function tookNews(told_) {
  const key = `${told_.node}/${told_.workflow}`;
  const { curves } = news.get(key) ?? {};
  news.set(key, { ...told_, curves: told_.curves ?? curves });
  const node = isShown(told_) ? nodeAt(told_.node ?? "") : null;
  if (!node) return;
  noteBeginning(node, told_);
  panels.get(node)?.show(/** @type {Wire.CalibrationEvent} */ (news.get(key)));
}

/** @type {Map<string, number>} what a prompt's calibration measures, as it was set when it began */
const begun = new Map();

/** @param {GraphNode} node */
const keyOf = (node) => `${root().id}/${node.graph?.id}/${node.id}`;

/**
 * Note the settings that a calibration began with; they count as measured once it has finished.
 * @param {GraphNode} node
 * @param {Wire.CalibrationEvent} told_
 */
function noteBeginning(node, { prompt, node: id, state }) {
  const key = `${prompt}/${id}`;
  if (state === "running") return void (begun.has(key) || begun.set(key, behind(node)));
  const measured = begun.get(key);
  begun.delete(key);
  if (state === "finished" && measured !== undefined) remember(MEASURED, keyOf(node), measured);
}

class CalibratePanel {
  /** @param {GraphNode} node */
  constructor(node) {
    this.node = node;
    this.bar = make("i");
    this.line = make("div", { className: "strong", textContent: text("calibrate_wait") });
    this.progress = make("div", { className: "bar", attributes: { role: "progressbar" } }, [this.bar]);
    this.curves = make("div", { title: text("curves") });
    this.words = make("div", { attributes: { "aria-live": "polite" } });
    this.gains = make("div");
    this.buttons = make("div", { className: "row" });
    this.cost = make("div");
    this.priced = "";
    /** @type {Wire.CalibrationEvent | undefined} */
    this.last = undefined;
    const choices = Object.entries(PRESETS).map(([name, values]) =>
      button(name, () => {
        setValues(node, values);
        capture();
      }),
    );
    show(this.progress, false);
    const taken = takesTables(node, (said) => (this.words.textContent = said));
    const row = make("div", { className: "row" }, [...choices, taken]);
    const parts = [row, this.cost, this.line, this.progress, this.curves, this.gains, this.words, this.buttons];
    mount(node, make("div", {}, parts), 60);
    panels.set(node, this);
    chain(node, "onConfigure", () => setTimeout(() => void this.recall()));
    this.look();
  }

  /** Show this node's last calibration, and ask for what this page has not heard. */
  async recall() {
    if (!heldOf(news, this.node)) {
      const answer = await ask("news", { workflow: String(root().id), client: String(api.clientId) });
      for (const one of answer?.calibrations ?? []) news.set(`${one.node}/${one.workflow}`, one);
    }
    const last = heldOf(news, this.node);
    if (last) this.show(last);
  }

  /** @param {Wire.CalibrationEvent} data */
  show(data) {
    this.last = data;
    const share = data.total ? (100 * data.done) / data.total : 0;
    show(this.progress, data.state === "running");
    this.bar.style.width = `${share}%`;
    this.progress.setAttribute("aria-valuenow", String(Math.round(share)));
    this.line.textContent = headline(data);
    this.words.textContent = explained(data);
    if (data.curves) this.curves.innerHTML = drawn(data.curves);
    const finished = data.state === "finished" && data.table;
    const gains = data.gains ?? [];
    this.gains.replaceChildren(...(finished ? gains.map(gained) : []));
    const use = () => void select(this.node, data.table).then((said) => (this.words.textContent = said));
    this.buttons.replaceChildren(...(finished ? [make("button", { textContent: text("select"), onclick: use })] : []));
    this.priced = "";
    this.look();
  }

  /** Say what the next run costs, as long as it would measure. */
  look() {
    const measured = stored(MEASURED)[keyOf(this.node)];
    const again = measured === undefined ? null : measured !== behind(this.node);
    const state = JSON.stringify([again, costQuestion(this.node), this.last?.seconds_each]);
    if (state === this.priced) return;
    this.priced = state;
    if (again === false) {
      this.cost.className = "";
      return this.cost.replaceChildren(text("measured_already"));
    }
    void this.price(again === true);
  }

  /** @param {boolean} again */
  async price(again) {
    const asked = this.priced;
    const answer = await ask("cost", costQuestion(this.node));
    if (!answer?.code || !answer.values || asked !== this.priced) return;
    const each = this.last?.seconds_each;
    const takes = each ? text("takes_about", { t: duration(each * (answer.evaluations ?? 0)) }) : "";
    this.cost.className = again ? `said ${looksClass("details_change")}` : "";
    this.cost.textContent = [again ? text("measures_again") : "", told({ code: answer.code, values: answer.values }), takes].filter(Boolean).join(" ");
  }
}

/** @param {GraphNode} node */
export function addCalibratePanel(node) {
  return new CalibratePanel(node);
}

/**
 * @param {GraphNode} node asks what its settings cost, beside one of the artist's own videos
 * @returns {Wire.CostQuestion}
 */
function costQuestion(node) {
  const source = originOf(node, "model");
  const sampler = source && [...alongModel(source)].find((one) => one !== node && valueOf(one, "sampler_name"));
  const [steps, samples, sensitivities] = ["steps", "samples", "sensitivities"].map((name) => valueOf(node, name));
  return { steps, samples, sensitivities, video_steps: (sampler && valueOf(sampler, "steps")) ?? null };
}

/**
 * Name everything that a node's result depends on, as it is set now.
 * @param {GraphNode} node
 */
function behind(node) {
  const told_ = [...upstream(node)].map((one) => [
    one.comfyClass, isOff(one), ...(one.widgets ?? []).map(({ name, serialize }) => (serialize === false ? 0 : valueOf(one, name) ?? 0)),
  ]);
  let hash = 5381;
  for (const letter of JSON.stringify(told_)) hash = (hash * 33 + letter.charCodeAt(0)) | 0;
  return hash;
}

/** @param {Wire.Offer} offer */
function gained(offer) {
  const looks = offer.visibility ? visible(offer.visibility) : "";
  const line = text("gained", { x: offer.target, nfe: offer.nfe });
  return make("div", {}, [make("i", { className: `looks ${looksClass(offer.visibility)}` }), looks ? `${line} · ${looks}` : line]);
}

/** Look at the graph: prompts and settings may be others. */
export function lookAtCalibrations() {
  for (const node of everyNode()) panels.get(node)?.look();
}

/** @param {Wire.CalibrationEvent} data */
function headline({ state, table, samples, samples_done: n, seconds_left }) {
  if (state === "finished") return text("finished", { name: table });
  if (state === "stopped") return n ? text("kept", { n, samples }) : text("kept_none");
  const now = text("measuring", { now: Math.min(samples, n + 1), samples });
  return seconds_left == null ? now : `${now} · ${text("left", { t: duration(seconds_left) })}`;
}

/** @param {Wire.CalibrationEvent} data */
function explained({ resumed, replaced, state }) {
  const said = [resumed && text("resumed", { n: resumed }), replaced && text("replaced"), state === "running" && text("cancel")];
  return said.filter(Boolean).join(" ");
}

/** @param {Record<string, number[]>} curves both sensitivities over model time, each to its own height */
function drawn({ timestep, latent_sensitivity, time_sensitivity }) {
  const span = timestep[0] - timestep[timestep.length - 1] || 1;
  const line = (/** @type {number[]} */ values, /** @type {string} */ look) => {
    const top = Math.max(...values) || 1;
    const points = values.map((value, index) => {
      const x = ((timestep[0] - timestep[index]) / span) * (WIDTH - 4) + 2;
      return `${x.toFixed(1)},${(HEIGHT - 3 - (value / top) * (HEIGHT - 6)).toFixed(1)}`;
    });
    return `<polyline points="${points.join(" ")}" ${look}/>`;
  };
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="${text("curves")}">
    ${line(latent_sensitivity ?? [], "")}${line(time_sensitivity ?? [], 'style="stroke:currentColor;stroke-dasharray:5 3"')}</svg>`;
}

/**
 * Choose a table in the Model Patch nodes of the measured model, or in all where there is no such node.
 * @param {GraphNode} node
 * @param {string} table
 */
async function select(node, table) {
  await app.refreshComboInNodes?.();
  const all = [...everyNode()].filter((one) => one.comfyClass === "SenCacheModelPatch");
  const source = originOf(node, "model");
  const own = all.filter((one) => source && originOf(one, "model") === source);
  const chosen = own.length ? own : all;
  for (const patch of chosen) setValues(patch, { table, embedded_table: "" });
  capture();
  return chosen.length ? text("selected", { name: table, n: chosen.length }) : text("no_patch");
}
