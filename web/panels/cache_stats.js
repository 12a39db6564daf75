// The panel under Cache Stats: a strip per sampler that fills, then what was saved.

import { api } from "../../../scripts/api.js";
import { ask } from "../lib/ask.js";
import { everyNode, nodeAt, root } from "../lib/graph.js";
import { heldOf, isShown } from "../lib/runs.js";
import { fillStrip } from "../lib/strip.js";
import { duration, looksClass, reason, text, told, visible } from "../lib/texts.js";
import { chain, make, mount } from "../lib/view.js";
import { History, tookPast } from "./history.js";

/**
 * @typedef {{cells: Wire.Cell[], expected: number, node: string, notes: Wire.NoteTold[], summary: Wire.RunTold | null}} Run
 * @typedef {{workflow?: string | null, prompt: string, runs: Map<string, Run>}} Prompt
 */

/** @type {Map<string, Prompt>} the last runs, by node, workflow and prompt */
const kept = new Map();
const MOST_KEPT = 64;

/** @type {WeakMap<GraphNode, CacheStatsPanel>} */
const panels = new WeakMap();

/** @type {(node?: string, expected?: number, notes?: Wire.NoteTold[]) => Run} */
const begun = (node = "", expected = 0, notes = []) => ({ cells: [], expected, node, notes, summary: null });

/** @returns {CacheStatsPanel[]} those of the workflow that is shown */
const shownPanels = () => [...everyNode()].flatMap((node) => panels.get(node) ?? []);

/** @param {Wire.RunEvent} news of a run */
export function tookStep(news) {
  keep(news);
  for (const panel of shownPanels()) panel.show();
}

/** @param {Wire.RunEvent} news */
function keep(news) {
  for (const id of news.stats) {
    const key = `${id}/${news.workflow}/${news.prompt}`;
    const held = kept.get(key) ?? { workflow: news.workflow, prompt: news.prompt ?? "", runs: new Map() };
    kept.delete(key);
    kept.set(key, held);
    const run = begun(news.node, news.expected, news.notes);
    held.runs.set(run.node, news.summary ? finish(run, news.summary) : run);
    if (news.cells) run.cells = news.cells.map(([reuse, score, why]) => ({ reuse, score, reason: why }));
  }
  while (kept.size > MOST_KEPT) kept.delete(String(kept.keys().next().value));
}

/**
 * @param {Run} run
 * @param {Wire.RunTold} summary
 */
function finish(run, summary) {
  run.summary = summary;
  run.cells = summary.steps.map((step) => ({ ...step, reuse: step.action === "reuse" }));
  run.expected = run.cells.length;
  return run;
}

/** Look whether what is shown is of the workflow that is shown: a copy has the same ids. */
export function lookAtRuns() {
  for (const panel of shownPanels()) panel.look();
}

let begins = ""; // the prompt that runs, or ran last

/** @param {{prompt_id: string}} event of the host's: a prompt begins */
export function started({ prompt_id }) {
  begins = prompt_id;
  for (const panel of shownPanels()) if (isShown({ prompt: prompt_id })) panel.wait(prompt_id);
}

/** @param {{prompt_id: string}} event of the host's: a prompt has ended well */
export function ended({ prompt_id }) {
  if (prompt_id === begins) for (const panel of shownPanels()) panel.rest();
}

/**
 * @param {{prompt_id: string}} event of the host's: a prompt has failed, or was stopped
 * @param {"failed" | "no_run"} why
 */
export function broke({ prompt_id }, why) {
  if (prompt_id !== begins) return;
  for (const panel of shownPanels()) if (panel.waits) panel.say(text(why === "failed" ? "failed" : "no_run"));
}

/** The host refused a prompt before anything ran. */
export function refused() {
  for (const panel of shownPanels()) panel.say(text("not_begun"));
}

class CacheStatsPanel {
  /** @param {GraphNode} node */
  constructor(node) {
    this.node = node;
    this.prompt = ""; // whose runs are shown
    this.next = ""; // the prompt that may bring others
    this.waits = false;
    this.content = make("div", { attributes: { "aria-live": "polite" } }, [text("stats_wait")]);
    this.history = new History(node);
    mount(node, make("div", {}, [this.content, this.history.element]), 60);
    chain(node, "onConfigure", () => setTimeout(() => void this.recall()));
    chain(node, "onExecuted", (output) => this.executed(output ?? {}));
    panels.set(node, this);
  }

  /** Show what is known of this node's runs, and ask for what this page has not heard. */
  async recall() {
    this.history.show();
    if (heldOf(kept, this.node)) return this.show();
    const answer = await ask("news", { workflow: String(root().id), client: String(api.clientId) });
    for (const news of answer?.runs ?? []) keep(news);
    this.show();
  }

  /** @param {string} prompt that may run the samplers before this node */
  wait(prompt) {
    this.next = prompt;
    this.waits = true;
    this.content.classList.add("quiet");
  }

  /** Show what is there as it was: nothing more is expected. */
  rest() {
    this.waits = false;
    this.content.classList.remove("quiet");
  }

  /** @param {string} why there is nothing to show of the last run */
  say(why) {
    this.rest();
    this.content.replaceChildren(why);
  }

  look() {
    if (!this.prompt || isShown({ prompt: this.prompt })) return;
    this.prompt = "";
    this.say(text("stats_wait"));
  }

  show() {
    const held = heldOf(kept, this.node);
    if (!held || this.waits && held.prompt !== this.next) return;
    this.prompt = held.prompt;
    this.rest();
    showRuns(this.content, [...held.runs.values()]);
  }

  /** @param {any} output of the node */
  executed(output) {
    /** @type {Wire.RunTold[]} */
    const ran = output.sencache ?? [];
    // ComfyUI hands this on to the node of that id in whichever workflow is shown.
    if (!isShown({ prompt: begins })) return;
    this.rest();
    this.prompt = begins;
    if (!ran.length) return this.content.replaceChildren(...(output.sencache_notes ?? []).map(told));
    showRuns(this.content, ran.map((one) => finish(begun(String(one.node_id)), one)));
  }
}

/** @param {any} event of the host's: a node was executed */
export function tookRuns(event) {
  tookPast(event);
  for (const panel of shownPanels()) panel.history.show();
}

/** @param {GraphNode} node */
export function addCacheStatsPanel(node) {
  return new CacheStatsPanel(node);
}

/**
 * @param {HTMLElement} content
 * @param {Run[]} runs
 */
function showRuns(content, runs) {
  if (!content.firstElementChild) content.replaceChildren();
  while (content.children.length > runs.length) content.lastElementChild?.remove();
  for (const [index, run] of runs.entries()) {
    let part = content.children[index];
    if (!part) {
      part = make("div", {}, [make("div"), make("div", { className: "strip" }), make("div")]);
      content.append(part);
    }
    const [head, strip, foot] = /** @type {HTMLElement[]} */ ([...part.children]);
    if (!head || !strip || !foot) continue;
    fillStrip(strip, run.cells, run.expected);
    strip.dataset.filled = String(run.cells.length);
    const name = nodeAt(run.node)?.title ?? run.node;
    const { summary } = run;
    const running = text("running", { run: name, done: run.cells.length, total: run.expected });
    head.textContent = summary ? `${name}: ${counts(summary)}` : running;
    head.className = `said ${summary?.reused ? looksClass(summary.visibility) : ""}`;
    const said = summary ? [times(summary), why(summary), ...summary.notes.map(told)] : run.notes.map(told);
    foot.replaceChildren(...said.filter(Boolean).map((line) => make("div", {}, [line])));
  }
}

/** @param {Wire.RunTold} summary */
function counts(summary) {
  if (!summary.complete) return text("counts_stopped", { nfe: summary.nfe, total: summary.steps_asked ?? summary.evaluations });
  if (!summary.reused) return text("counts_all", { total: summary.evaluations });
  const calls = summary.steps_asked === null || summary.steps_asked === summary.evaluations;
  const said = text(calls ? "counts" : "counts_calls", {
    nfe: summary.nfe, total: summary.evaluations, x: summary.speed_up.toFixed(2),
  });
  return summary.visibility ? `${said} · ${visible(summary.visibility)}` : said;
}

/** @param {Wire.RunTold} summary */
function times(summary) {
  if (!summary.reused || !summary.complete) return "";
  return text("times", {
    s: duration(summary.seconds), u: duration(summary.seconds_uncached), saved: duration(summary.seconds_saved),
  });
}

/** @param {Wire.RunTold} summary */
function why(summary) {
  const computed = summary.steps.filter((step) => step.action === "compute").map((step) => step.reason);
  /** @type {Map<string, number>} */
  const counted = new Map();
  for (const one of computed) counted.set(one, (counted.get(one) ?? 0) + 1);
  const said = [...counted].sort((a, b) => b[1] - a[1]).map(([code, count]) => text("because", { why: reason(code), count }));
  return said.length ? text("computed_because", { reasons: said.join(text("comma")) }) : "";
}
