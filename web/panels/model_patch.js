// The panel in SenCache Model Patch: the speed, and what a run will do before it is paid for.

import { ask, refusal } from "../lib/ask.js";
import {
  alongModel, capture, everyNode, everyPlace, isOff, nodeAt, placeAt, setValues, valueOf, within,
} from "../lib/graph.js";
import { isShown, noteSeconds, secondsOf } from "../lib/runs.js";
import { connectedTo, loaderOf, samplerOf, samplingOf, tablesOf } from "../lib/sampling.js";
import { store, stored } from "../lib/storage.js";
import { fillStrip } from "../lib/strip.js";
import { duration, looksClass, text, told, visible } from "../lib/texts.js";
import { button, chain, make, mount, show } from "../lib/view.js";
import { EmbeddedTable } from "./embedded.js";
import { foldAdvanced } from "./fold.js";
import { Knob } from "./knob.js";

const PAUSE = 20; // ms without a change before the server is asked
const REST = 500; // ms after which a moved slider counts as let go
const LOOK = 400; // ms between looks at the graph: undo, paste and other nodes tell nobody
const AGE = 5000; // ms after which an answer is asked for again: files come and go without a word
const MUTED = 2;
const PATCH = "SenCacheModelPatch";
const MODELS = "sencache.models"; // in the browser's storage: what ties tables to a model, by its loader
const TITLE = "SenCache Model Patch"; // every refusal of the node begins with it
const USUAL = { epsilon: 0.03, n: 30 };
const PAGE = Math.random().toString(36).slice(2); // tells this page's panels from another page's

let made = 0; // panels, of this page

/** @type {WeakMap<GraphNode, ModelPatchPanel[]>} by the node that shows them */
const panels = new WeakMap();

class ModelPatchPanel {
  /**
   * @param {GraphNode} node
   * @param {GraphNode[]} [hosts] the nodes of the subgraphs that it is in
   * @param {GraphNode} [shownOn] the one of them that shows this panel, its speed alone; the node itself if none
   */
  constructor(node, hosts = [], shownOn) {
    this.node = node;
    this.hosts = hosts;
    this.asker = `${PAGE}/${made++}`; // the newest question of each counts
    this.asked = "";
    this.askedAt = 0;
    /** @type {any} the server's answer: undefined before the first, null for none */
    this.plan = undefined;
    this.shown = ""; // the question and its answer
    this.failure = ""; // why the last run was refused, until something changes
    this.failedFor = "";
    /** @type {AbortController | null} */
    this.request = null;
    this.timer = 0;
    this.dragged = 0; // while the slider is moved: one step for Undo
    this.mode = 0; // muted or bypassed, or one of the subgraphs around it
    this.knob = new Knob((speed, letGo) => this.chooseSpeed(speed, letGo));
    this.line = make("div", { className: "said", attributes: { "aria-live": "polite" } });
    this.strip = make("div", { className: "strip" });
    this.notes = make("div");
    this.about = make("div", { className: "quiet" });
    this.release = button("use_speed", () => this.chooseSpeed(this.target() || 2, true));
    this.title = make("div", { className: "quiet" });
    /** @type {EmbeddedTable | null} */
    this.embedded = null;
    /** @type {ReturnType<typeof foldAdvanced> | null} */
    this.fold = null;
    this.shownOn = shownOn;
    if (shownOn) {
      this.panel = mount(shownOn, make("div", {}, [this.title, this.knob.element, this.line]), 60);
    } else {
      this.embedded = new EmbeddedTable(node, (values) => this.set(values));
      this.fold = foldAdvanced(node);
      const buttons = make("div", { className: "row" }, [this.release, this.embedded.element, this.fold.toggle]);
      const parts = [this.knob.element, this.line, this.strip, this.knob.table, this.notes, this.about, buttons];
      for (const widget of node.widgets ?? []) chain(widget, "callback", () => this.changed());
      this.panel = mount(node, make("div", {}, parts), 130, ["speed_up", "exact"]);
      this.forgetOthersTable();
    }
    this.look();
  }

  /** Left out of an API prompt, 0.33 gives `embedded_table` what a node of this id held before: another's. */
  forgetOthersTable() {
    const embedded = this.node.widgets?.find((widget) => widget.name === "embedded_table");
    let known = false;
    chain(this.node, "onConfigure", () => (known = true));
    chain(this.node, "onAdded", () => {
      if (embedded && !known) embedded.value = "";
    });
  }

  /**
   * Read one of the node's widgets, or what stands for it on the subgraph's node.
   * @param {string} name
   */
  value(name) {
    return within(this.hosts, () => valueOf(this.node, name));
  }

  /** @returns {number} the speed that is asked for; 0 where the allowed error decides */
  target() {
    return Number(this.value("speed_up") ?? 0);
  }

  /**
   * Ask for a speed. What keeps every step computed gives way: who moves the slider wants to be faster.
   * @param {number} speed
   * @param {boolean} letGo
   */
  chooseSpeed(speed, letGo) {
    /** @type {Record<string, unknown>} */
    const values = { speed_up: speed };
    for (const [name, usual] of Object.entries(USUAL)) if (this.value(name) === 0) values[name] = usual;
    clearTimeout(this.dragged);
    this.dragged = window.setTimeout(() => {
      this.dragged = 0;
      capture();
    }, letGo ? 0 : REST);
    this.set(values);
  }

  /** @param {Record<string, unknown>} values */
  set(values) {
    const refused = within(this.hosts, () => setValues(this.node, values));
    if (!this.dragged) capture();
    this.changed();
    if (refused.includes("speed_up")) this.say(text("rounded"), "bad");
  }

  changed() {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.look(), PAUSE);
  }

  look() {
    this.fold?.follow();
    const question = within(this.hosts, () => JSON.stringify(this.question()));
    const mode = [this.node, ...this.hosts].find(isOff)?.mode ?? 0;
    if (mode !== this.mode) {
      this.mode = mode;
      this.show();
    }
    if (this.failure && this.failedFor !== question) {
      this.failure = "";
      this.show();
    }
    if (question === this.asked && Date.now() - this.askedAt < AGE) return;
    this.asked = question;
    this.askedAt = Date.now();
    void this.askFor(question);
  }

  question() {
    const hidden = ["embedded_table", "sencache"];
    const names = (this.node.widgets ?? []).map(({ name }) => name).filter((name) => !hidden.includes(name));
    const settings = Object.fromEntries(names.map((name) => [name, valueOf(this.node, name) ?? null]));
    const connected = connectedTo(this.node);
    const embedded = connected ? "" : String(valueOf(this.node, "embedded_table") ?? "");
    const { asker } = this;
    const [sampling, tables] = [samplingOf(this.node), tablesOf(this.node, connected)];
    const model = stored(MODELS)[loaderOf(this.node)] ?? null;
    return { asker, settings, sampling, tables, embedded, model, connected: connected !== null };
  }

  /** @param {string} question */
  async askFor(question) {
    this.request?.abort();
    const request = (this.request = new AbortController());
    const answer = await ask("plan", JSON.parse(question), request.signal);
    if (request.signal.aborted || answer?.problem?.code === "superseded") return;
    if (!answer) this.asked = ""; // asked again at the next look
    const shown = question + JSON.stringify(answer);
    if (shown === this.shown) return;
    this.shown = shown;
    this.plan = answer;
    this.show();
  }

  /**
   * @param {string} said
   * @param {string} [looks] what the line's colour stands for
   */
  say(said, looks = "") {
    if (this.line.textContent !== said) this.line.textContent = said;
    this.line.className = `said ${looks}`;
  }

  show() {
    if (this.plan === undefined) return;
    const exact = this.value("exact") === true;
    const plan = this.plan?.cells && !this.failure ? /** @type {Wire.PlanTold} */ (this.plan) : null;
    const foreign = plan?.notes.some(({ code }) => code === "foreign") ?? false;
    const target = this.target();
    const follows = plan ? plan.governs !== "speed" : target === 0;
    this.knob.point(target > 0 ? target : plan?.speed_up ?? 1, follows);
    this.knob.paint(plan, target, (nfe) => this.seconds(nfe));
    this.panel.classList.toggle("off", this.mode !== 0 || exact);
    this.panel.setAttribute("data-nfe", plan && !foreign ? String(plan.nfe) : "");
    show(this.release, plan !== null && (plan.governs === "epsilon" || plan.governs === "off"));
    show(this.strip, plan !== null && !foreign);
    if (plan) fillStrip(this.strip, plan.cells);
    const [said, looks] = this.headline(plan);
    this.say(said, looks);
    const notes = plan ? plan.notes.map(told) : this.unplanned();
    this.notes.replaceChildren(...notes.map((line) => make("div", { textContent: line })));
    this.about.textContent = plan ? this.described(plan) : "";
    this.embedded?.show(plan?.table?.name);
    this.title.textContent = this.node.title;
  }

  /**
   * @param {Wire.PlanTold | null} plan
   * @returns {[string, string]} what the run will do, and what its colour stands for
   */
  headline(plan) {
    if (this.mode === MUTED) return [text("muted"), "bad"];
    if (this.mode !== 0) return [text("bypassed"), ""];
    if (this.failure) return [this.failure, "bad"];
    const computesAll = this.whyAll();
    if (computesAll) return [computesAll, ""];
    if (!plan) return this.plan?.problem?.code === "no_table" ? [this.measuring(), ""] : [refusal(this.plan), "bad"];
    if (plan.notes.some(({ code }) => code === "foreign")) return [text("not_known"), "bad"];
    const values = { nfe: plan.nfe, total: plan.evaluations, x: plan.speed_up.toFixed(1) };
    const calls = plan.evaluations === plan.steps ? "expected" : "expected_calls";
    const parts = [text(calls, values)];
    if (plan.nfe === plan.evaluations) parts.push(text("nothing"));
    else if (plan.visibility) parts.push(visible(plan.visibility));
    const said = parts.join(" · ");
    const because = plan.governs === "epsilon" ? text("by_epsilon", { e: this.value("epsilon") }) : "";
    const looks = plan.nfe < plan.evaluations ? looksClass(plan.visibility) : "";
    return [because ? `${because} ${said}` : said, looks];
  }

  /** @returns {string} why every step is computed whatever the table, empty where it is not so */
  whyAll() {
    if (this.value("exact") === true) return text("exact");
    if (this.value("epsilon") === 0) return text("epsilon_zero");
    if (this.value("n") === 0) return text("n_zero");
    return this.target() === 1 ? text("speed_one") : "";
  }

  /** @returns {string} that the next run measures, and what that takes */
  measuring() {
    if (within(this.hosts, () => connectedTo(this.node))) return text("calibrates_next");
    const steps = within(this.hosts, () => samplingOf(this.node).steps);
    const seconds = steps ? this.seconds(steps) : "";
    return seconds ? text("measures_next_in", { t: seconds }) : text("measures_next");
  }

  /** @returns {string[]} what holds while there is no plan */
  unplanned() {
    if (this.failure || this.whyAll() || this.plan?.problem?.code !== "no_table") return [];
    const target = this.target();
    const first = within(this.hosts, () => connectedTo(this.node)) ? "target_now" : "target_then";
    return target > 1 ? [text(first, { x: target.toFixed(1) })] : [];
  }

  /** @param {Wire.PlanTold} plan */
  described(plan) {
    const said = [];
    const seconds = this.seconds(plan.nfe);
    if (seconds) said.push(text("takes", { t: seconds }));
    if (plan.predicted_error != null) said.push(text("error", { e: plan.predicted_error.toFixed(4) }));
    said.push(text("plan_of", { table: plan.table.name, steps: plan.steps, scheduler: plan.scheduler }));
    if (!plan.steps_known) said.push(text("assumed"));
    if (plan.table.source === "embedded") said.push(text("embedded"));
    return said.join(" · ");
  }

  /** @param {number} nfe */
  seconds(nfe) {
    const each = within(this.hosts, () => secondsOf(samplerOf(this.node)));
    return each === undefined ? "" : text("about", { t: duration(each * nfe) });
  }

  /** @param {string} why the node's run was refused */
  fail(why) {
    this.failure = why;
    this.failedFor = within(this.hosts, () => JSON.stringify(this.question()));
    this.asked = this.failedFor;
    if (this.plan === undefined) this.plan = null;
    this.show();
  }

  /** Take an outer panel away: its node is no longer in the subgraph. */
  remove() {
    const widget = this.shownOn?.widgets?.find((one) => one.element === this.panel);
    if (widget) this.shownOn?.removeWidget?.(widget);
  }

  /** Ask again: a file may be new. */
  refresh() {
    this.askedAt = 0;
    this.changed();
  }
}

/** @param {GraphNode} node */
export function addModelPatchPanel(node) {
  panels.set(node, [new ModelPatchPanel(node)]);
}

/** Show the speed of a Model Patch in a subgraph on the subgraph's node too, and on those around that. */
function addOuterPanels() {
  for (const [node, hosts] of everyPlace()) {
    for (const host of node.comfyClass === PATCH ? hosts : []) {
      const there = panels.get(host) ?? [];
      if (there.some((panel) => panel.node === node) || typeof host.addDOMWidget !== "function") continue;
      panels.set(host, [...there, new ModelPatchPanel(node, hosts, host)]);
    }
  }
}

/** @returns {Generator<[GraphNode, ModelPatchPanel]>} each Model Patch with one of its panels */
function* everyPanel() {
  const inside = new Set(everyNode());
  for (const node of inside) {
    const here = panels.get(node) ?? [];
    const gone = here.filter((panel) => !inside.has(panel.node)); // taken out of the subgraph
    for (const panel of gone) panel.remove();
    if (gone.length) panels.set(node, here.filter((panel) => !gone.includes(panel)));
    for (const panel of here) if (!gone.includes(panel)) yield [panel.node, panel];
  }
}

/** A table is new, whoever's. */
export function tookMeasured() {
  for (const [, panel] of everyPanel()) panel.refresh();
}

/** @param {Wire.ModelEvent} news whose model a Model Patch has */
export function tookModel(news) {
  const [node, hosts] = isShown(news) ? placeAt(news.node ?? "") : [null, []];
  if (!node) return;
  const { fingerprint, weights } = news;
  const loader = within(hosts, () => loaderOf(node));
  const { [loader]: _, ...others } = stored(MODELS);
  store(MODELS, { ...others, [loader]: { fingerprint, weights } });
  for (const [patch, panel] of everyPanel()) {
    if (patch !== node) continue;
    panel.failure = "";
    panel.changed();
  }
}

/** @param {Wire.RunEvent} news */
export function tookRun(news) {
  const [sampler, hosts] = isShown(news) ? placeAt((news.node ?? "").split(".")[0] ?? "") : [null, []];
  const each = news.summary?.complete ? news.summary.seconds_computed : null;
  if (!sampler || each == null) return;
  within(hosts, () => noteSeconds(sampler, each));
  for (const [node, panel] of everyPanel()) if ([...alongModel(node)].includes(sampler)) panel.show();
}

/** @param {{prompt_id: string, node_id: string, exception_message?: string}} error of the host's */
export function failed({ prompt_id, node_id, exception_message }) {
  const said = String(exception_message ?? "").trim();
  if (!said.startsWith(TITLE) || !isShown({ prompt: prompt_id })) return;
  const at = nodeAt(String(node_id).split(".")[0] ?? "");
  for (const [node, panel] of everyPanel()) {
    if (at && (at === node || [...alongModel(node)].includes(at))) panel.fail(said);
  }
}

/** Look at the graph from time to time. */
export function watch() {
  window.setInterval(() => {
    if (document.hidden) return;
    addOuterPanels();
    for (const [, panel] of everyPanel()) panel.look();
  }, LOOK);
}
