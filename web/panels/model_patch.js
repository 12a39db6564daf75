// The panel under SenCache Model Patch: what a run will do, before it is paid for.

import { app } from "../../../scripts/app.js";
import { ask, refused } from "../lib/ask.js";
import {
  alongModel, beforeModel, capture, everyNode, isOff, nodeAt, originOf, root, setValues, valueOf, widgetOf,
} from "../lib/graph.js";
import { text, told, visible } from "../lib/texts.js";
import { button, chain, fillStrip, make, mount } from "../lib/view.js";

const PAUSE = 20; // ms without a change before the server is asked
const REST = 500; // ms after which a moved slider counts as let go
const LOOK = 400; // ms between looks at the graph: undo, paste and other nodes tell nobody
const AUTOMATIC = "automatic";
const PAGE = Math.random().toString(36).slice(2); // tells this page's panels from another page's

let made = 0; // panels, of this page

/** @type {Record<string, Record<string, unknown>>} the settings of each, by the name of its text */
let presets = {};

/** @param {typeof presets} given from the server, before the first panel */
export const offer = (given) => void (presets = given);

/** @type {WeakMap<GraphNode, ModelPatchPanel>} */
const panels = new WeakMap();

class ModelPatchPanel {
  /** @param {GraphNode} node */
  constructor(node) {
    this.node = node;
    this.asker = `${PAGE}/${made++}`; // the newest question of each counts
    this.asked = "";
    /** @type {any} the server's answer: undefined before the first, null for none */
    this.plan = undefined;
    /** @type {number | null} the speed-up that the slider wishes for, until its epsilon is known */
    this.wish = null;
    /** @type {AbortController | null} */
    this.request = null;
    this.timer = 0;
    this.dragged = 0; // while the slider is moved: one step for Undo
    this.off = false; // muted or bypassed
    this.shown = ""; // what the buttons stand for
    const choices = Object.entries(presets).map(([name, settings]) => button(name, () => this.set(settings)));
    this.slider = make("input", {
      type: "range", min: "1", max: "6", step: "0.1", value: "1", title: text("speed_tip"),
      oninput: () => this.wished(), onpointerup: () => this.slider.blur(), // the keys are ComfyUI's again
    });
    this.sliderText = make("span", { className: "strong" });
    const speed = make("label", { className: "row", title: text("speed_tip") }, [
      text("speed"), this.slider, this.sliderText,
    ]);
    this.line = make("div", { className: "strong", attributes: { "aria-live": "polite" } });
    this.strip = make("div", { className: "strip" });
    this.about = make("div");
    this.buttons = make("div", { className: "row" });
    const row = make("div", { className: "row" }, choices);
    const parts = [row, speed, this.line, this.strip, this.about, this.buttons];
    for (const widget of node.widgets ?? []) chain(widget, "callback", () => this.changed());
    this.panel = mount(node, make("div", {}, parts), 150);
    const embedded = node.widgets?.find((widget) => widget.name === "embedded_table");
    if (embedded) {
      embedded.hidden = true; // nobody edits it; the buttons below stand for it
      embedded.options = { ...embedded.options, hidden: true };
    }
    // Left out of an API prompt, 0.33 gives it what a node of this id held before: another's table.
    let known = false;
    chain(node, "onConfigure", () => (known = true));
    chain(node, "onAdded", () => {
      if (embedded && !known) embedded.value = "";
    });
    chain(node, "onExecuted", (output) => this.executed(output?.sencache?.[0]));
    panels.set(node, this);
    this.look();
  }

  /** @param {Record<string, unknown>} values */
  set(values) {
    this.wish = null;
    setValues(this.node, values);
    if (!this.dragged) capture();
    this.changed();
  }

  wished() {
    clearTimeout(this.dragged);
    this.dragged = window.setTimeout(() => {
      this.dragged = 0;
      capture();
    }, REST);
    this.wish = Number(this.slider.value);
    this.sliderText.textContent = `${this.wish.toFixed(1)}×`;
    this.changed();
  }

  changed() {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.look(), PAUSE);
  }

  look() {
    const question = JSON.stringify(this.question());
    const off = isOff(this.node);
    if (off !== this.off) {
      this.off = off;
      this.panel.classList.toggle("off", off);
      this.show();
    }
    if (question === this.asked) return;
    this.asked = question;
    void this.askFor(question);
  }

  question() {
    const names = (this.node.widgets ?? []).map(({ name }) => name).filter((name) => name !== "embedded_table");
    const settings = Object.fromEntries(names.map((name) => [name, valueOf(this.node, name)]));
    const source = originOf(this.node, "sensitivity");
    const connected = source && !isOff(source) ? source : null;
    const embedded = connected ? "" : String(valueOf(this.node, "embedded_table") ?? "");
    const { asker, wish } = this;
    return { asker, settings, wish, sampling: this.sampling(), tables: this.tables(connected), embedded };
  }

  /** @param {GraphNode | null} connected */
  tables(connected) {
    if (connected) return [AUTOMATIC, tableFile(valueOf(connected, "table_name"))].filter(Boolean);
    const chosen = String(valueOf(this.node, "table") ?? AUTOMATIC);
    if (chosen !== AUTOMATIC) return [chosen];
    const found = [chosen, this.node.properties.sencache_table];
    for (const node of beforeModel(this.node)) {
      for (const name of ["unet_name", "ckpt_name", "model_name"]) found.push(tableFile(valueOf(node, name)));
    }
    return found.filter(Boolean).slice(0, 8);
  }

  /** What the graph says of the sampling; what it does not say, the table answers. */
  sampling() {
    /** @type {Record<string, any>} */
    const said = {};
    const take = (/** @type {GraphNode} */ node, /** @type {string} */ name, as = name) => {
      const value = valueOf(node, name);
      if (value !== undefined && said[as] === undefined) said[as] = value;
    };
    for (const node of [...alongModel(this.node), ...this.schedulers()]) {
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
    for (const node of [...alongModel(this.node), ...beforeModel(this.node)]) {
      if (/^ModelSampling(SD3|AuraFlow)$/.test(node.comfyClass ?? "")) take(node, "shift");
    }
    return said;
  }

  /** Yield the nodes that give the samplers after this node their sigmas. */
  *schedulers() {
    for (const node of alongModel(this.node)) {
      for (const name of ["sigmas", "sampler"]) {
        const from = originOf(node, name);
        if (from) yield from;
      }
    }
  }

  /** @param {string} question */
  async askFor(question) {
    this.request?.abort();
    const request = (this.request = new AbortController());
    const wish = this.wish;
    const answer = await ask("plan", JSON.parse(question), request.signal);
    if (request.signal.aborted || answer?.problem?.code === "superseded") return;
    this.plan = answer;
    if (!answer) this.asked = ""; // asked again at the next look
    if (answer?.chosen && wish === this.wish) {
      this.set(answer.chosen);
      this.asked = JSON.stringify(this.question()); // that is what was answered
    }
    this.show();
  }

  show() {
    const { plan } = this;
    const known = plan?.cells;
    if (plan === undefined) return;
    this.strip.style.display = known ? "" : "none";
    if (!known) {
      this.line.textContent = refused(plan);
      this.about.textContent = "";
    } else {
      const faster = text("faster", { x: plan.speed_up.toFixed(1) });
      const parts = [text("expected", { nfe: plan.nfe, total: plan.evaluations }), faster];
      if (plan.predicted_error != null) {
        parts.push(text("error", { e: plan.predicted_error.toFixed(4) }), visible(plan.visibility));
      }
      this.line.textContent = parts.join(" · ");
      fillStrip(this.strip, plan.cells);
      this.about.textContent = this.remarks(plan).join(" · ");
      if (this.wish === null) {
        this.slider.value = String(plan.speed_up);
        this.sliderText.textContent = `${plan.speed_up.toFixed(1)}×`;
      }
    }
    this.panel.setAttribute("data-nfe", known ? plan.nfe : "");
    this.showButtons();
  }

  /** @param {any} plan */
  remarks(plan) {
    const said = [text("plan_of", { table: plan.table.name, steps: plan.steps, scheduler: plan.scheduler })];
    if (!plan.steps_known) said.push(text("assumed"));
    if (plan.table.source === "embedded") said.push(text("embedded"));
    if (this.off) said.push(text("bypassed"));
    else if (plan.nfe === plan.evaluations) said.push(text("nothing"));
    return [...said, ...plan.notes.map(told)];
  }

  showButtons() {
    const held = String(valueOf(this.node, "embedded_table") ?? "");
    const table = this.plan?.table?.name;
    const state = JSON.stringify([held.length, table]);
    if (state === this.shown) return;
    this.shown = state;
    const found = held
      ? [button("save", () => void this.save()), button("unembed", () => this.unembed(table))]
      : table ? [button("embed", () => void this.embed(table))] : [];
    const said = held ? text("kb", { n: Math.ceil(held.length / 1024) }) : "";
    this.buttons.replaceChildren(...found, make("span", { textContent: said }));
  }

  /** @param {string} table */
  async embed(table) {
    const answer = await ask("embed", { table });
    // A name in `table` would be asked for as a missing file where the workflow is opened.
    if (answer?.text) this.set({ embedded_table: answer.text, table: AUTOMATIC });
    else this.say(refused(answer));
  }

  /** @param {string | undefined} table */
  unembed(table) {
    const local = widgetOf(this.node, "table")?.options.values?.includes?.(table);
    this.set({ embedded_table: "", ...(local ? { table } : {}) });
  }

  async save() {
    const answer = await ask("save", { text: valueOf(this.node, "embedded_table") });
    if (answer?.name) await app.refreshComboInNodes?.();
    this.say(answer?.name ? text(answer.there ? "there" : "saved", answer) : refused(answer));
  }

  /** @param {string} said */
  say(said) {
    this.buttons.lastElementChild?.replaceChildren(said);
  }

  /** @param {any} used */
  executed(used) {
    this.asked = ""; // the file may be new
    if (used?.table && used.source === "file") this.node.properties.sencache_table = used.table;
  }
}

/** @param {unknown} name */
function tableFile(name) {
  const stem = String(name ?? "").split(/[\\/]/).pop()?.replace(/\.(safetensors|sft|gguf|ckpt|pt|pth)$/, "");
  return stem ? `${stem}.safetensors` : "";
}

/** @param {GraphNode} node */
export function addModelPatchPanel(node) {
  return new ModelPatchPanel(node);
}

/** @param {any} data whose model has a table now; empty if another page's */
export function tookMeasured({ workflow, node, table }) {
  const sampler = node && (!workflow || workflow === root().id) ? nodeAt(node) : null;
  for (const one of everyNode()) {
    const panel = panels.get(one);
    const mine = panel && sampler && [...alongModel(one)].includes(sampler);
    panel?.executed(mine && { table, source: "file" });
  }
}

/** Look at the graph from time to time. */
export function watch() {
  window.setInterval(() => {
    for (const node of document.hidden ? [] : everyNode()) panels.get(node)?.look();
  }, LOOK);
}
