// The buttons that put a table into the workflow, take it out, and save it.

import { app } from "../../../scripts/app.js";
import { ask, refusal } from "../lib/ask.js";
import { valueOf, widgetOf } from "../lib/graph.js";
import { AUTOMATIC } from "../lib/sampling.js";
import { text } from "../lib/texts.js";
import { button, make } from "../lib/view.js";

export class EmbeddedTable {
  /**
   * @param {GraphNode} node a Model Patch
   * @param {(values: Record<string, unknown>) => void} set sets its widgets
   */
  constructor(node, set) {
    this.node = node;
    this.set = set;
    this.element = make("div", { className: "row" });
    this.shown = "";
    const widget = node.widgets?.find((one) => one.name === "embedded_table");
    if (!widget) return;
    // Nobody edits it; the buttons stand for it. Each rendering looks at another place.
    widget.hidden = true;
    widget.options = Object.assign(widget.options ?? {}, { hidden: true, hideInPanel: true, canvasOnly: true });
  }

  /** @param {string | undefined} table that the plan is made of */
  show(table) {
    const held = String(valueOf(this.node, "embedded_table") ?? "");
    const state = JSON.stringify([held.length, table]);
    if (state === this.shown) return;
    this.shown = state;
    const found = held
      ? [button("save", () => void this.save()), button("unembed", () => this.unembed(table))]
      : table ? [button("embed", () => void this.embed(table))] : [];
    const said = held ? text("kb", { n: Math.ceil(held.length / 1024) }) : "";
    this.element.replaceChildren(...found, make("span", { textContent: said }));
  }

  /** @param {string} table */
  async embed(table) {
    const answer = await ask("embed", { table });
    // A name in `table` would be asked for as a missing file where the workflow is opened.
    if (answer?.text) this.set({ embedded_table: answer.text, table: AUTOMATIC });
    else this.say(refusal(answer));
  }

  /** @param {string | undefined} table */
  unembed(table) {
    const local = widgetOf(this.node, "table")?.options.values?.includes?.(table);
    this.set({ embedded_table: "", ...(local ? { table } : {}) });
  }

  async save() {
    const answer = await ask("save", { text: valueOf(this.node, "embedded_table") });
    if (answer?.name) await app.refreshComboInNodes?.();
    this.say(answer?.name ? text(answer.there ? "there" : "saved", answer) : refusal(answer));
  }

  /** @param {string} said */
  say(said) {
    this.element.lastElementChild?.replaceChildren(said);
  }
}
