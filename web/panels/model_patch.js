// The panel in SenCache Model Patch: the speed, and what a run will do before it is paid for.

import { capture, isOff, setValues, valueOf, within } from "../lib/graph.js";
import { secondsOf } from "../lib/runs.js";
import { connectedTo, samplerOf, samplersOf, samplingOf } from "../lib/sampling.js";
import { fillStrip } from "../lib/strip.js";
import { duration, text } from "../lib/texts.js";
import { button, chain, make, mount, show } from "../lib/view.js";
import { Asker } from "./asker.js";
import { EmbeddedTable } from "./embedded.js";
import { foldAdvanced } from "./fold.js";
import { Knob } from "./knob.js";
import { described, headline, isForeign, planOf, remarks } from "./wording.js";

const PAUSE = 20; // ms without a change before the server is asked
const REST = 500; // ms after which a moved slider counts as let go
const USUAL = { epsilon: 0.03, n: 30 };
const USUAL_SPEED = 2; // in the place of one that another node gives

export class ModelPatchPanel {
  /**
   * @param {GraphNode} node
   * @param {GraphNode[]} [hosts] the nodes of the subgraphs that it is in
   * @param {GraphNode} [shownOn] the one of them that shows this panel, its speed alone; the node itself if none
   */
  constructor(node, hosts = [], shownOn) {
    this.node = node;
    this.hosts = hosts;
    /** @type {any} the server's: undefined before the first, null for none */
    this.answer = undefined;
    this.asker = new Asker(node, hosts, (answer) => {
      this.answer = answer;
      this.show();
    });
    this.failure = ""; // why the last run was refused, until something changes
    this.failedFor = "";
    this.beside = "";
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

  /** @type {(name: string) => any} a widget's value, or what stands for it on the subgraph's node */
  value = (name) => within(this.hosts, () => valueOf(this.node, name));

  /** @type {() => number} the speed that is asked for; 0 where the allowed error decides */
  target = () => Number(this.value("speed_up") ?? USUAL_SPEED);

  /** @type {() => boolean} whether another node gives it its table */
  connected = () => within(this.hosts, () => connectedTo(this.node)) !== null;

  /** @type {() => number | undefined} those of its sampler */
  steps = () => within(this.hosts, () => samplingOf(this.node).steps);

  /** @type {() => number | undefined} what a computed step takes, if it is known */
  each = () => within(this.hosts, () => secondsOf(samplerOf(this.node)));

  /** @type {(nfe: number) => string} the time that so many steps take, empty if unknown */
  seconds = (nfe, each = this.each()) => (each === undefined ? "" : text("about", { t: duration(each * nfe) }));

  /** @type {() => string} the sampler that the plan is of, where there are several */
  spokenOf = () => {
    const [first, ...others] = within(this.hosts, () => samplersOf(this.node));
    return first && others.length ? text("of_first", { name: first.title ?? "", n: others.length + 1 }) : "";
  };

  /**
   * Ask for a speed. What keeps every step computed gives way.
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
    const given = this.value("speed_up") === undefined;
    if (refused.includes("speed_up")) this.say(text(given ? "given" : "rounded"), "bad");
  }

  changed() {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.look(), PAUSE);
  }

  look() {
    this.fold?.follow();
    const mode = [this.node, ...this.hosts].find(isOff)?.mode ?? 0;
    if (mode !== this.mode) {
      this.mode = mode;
      this.show();
    }
    const beside = `${this.each()} ${this.spokenOf()}`; // what is shown and not asked for
    if (beside !== this.beside) {
      this.beside = beside;
      this.show();
    }
    if (this.failure && this.failedFor !== this.asker.question()) {
      this.failure = "";
      this.show();
    }
    this.asker.look();
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
    if (this.answer === undefined) return;
    const plan = planOf(this);
    const foreign = isForeign(plan);
    const target = this.target();
    this.knob.point(target > 0 ? target : plan?.speed_up ?? 1, plan ? plan.governs !== "speed" : target === 0);
    this.knob.paint(plan, target, this.seconds, this.each());
    this.panel.classList.toggle("off", this.mode !== 0 || this.value("exact") === true);
    this.panel.setAttribute("data-nfe", plan && !foreign ? String(plan.nfe) : "");
    show(this.release, plan !== null && (plan.governs === "epsilon" || plan.governs === "off"));
    show(this.strip, plan !== null && !foreign);
    if (plan) fillStrip(this.strip, plan.cells);
    this.say(...headline(this));
    this.notes.replaceChildren(...remarks(this).map((line) => make("div", { textContent: line })));
    this.about.textContent = described(this);
    this.embedded?.show(plan?.table?.name);
    this.title.textContent = this.node.title;
  }

  /** @param {string} why the node's run was refused */
  fail(why) {
    this.failure = why;
    this.failedFor = this.asker.question();
    this.answer ??= null;
    this.show();
  }

  /** Take an outer panel away: its node is no longer in the subgraph. */
  remove() {
    const widget = this.shownOn?.widgets?.find((one) => one.element === this.panel);
    if (widget) this.shownOn?.removeWidget?.(widget);
  }

  /** Ask again: a file may be new. */
  refresh() {
    this.asker.refresh();
    this.changed();
  }
}
