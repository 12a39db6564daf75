// The panel under Cache Stats: a strip per sampler that fills while it samples, then what was saved.

import { everyNode, heldOf, root } from "../lib/graph.js";
import { text, told, visible } from "../lib/texts.js";
import { chain, fillStrip, make, mount } from "../lib/view.js";

/**
 * @typedef {{cells: any[], expected: number, node: string, notes: any[], summary: any}} Run
 */

/** @type {Map<string, {prompt: string, runs: Map<string, Run>}>} the last runs, by workflow and node */
const kept = new Map();
const MOST_KEPT = 64;

/** @type {WeakMap<GraphNode, () => void>} */
const panels = new WeakMap();

/** @returns {Run} */
const begun = (node = "", expected = 0, /** @type {any[]} */ notes = []) => ({ cells: [], expected, node, notes, summary: null });

/** @param {any} data what the server says of a run */
export function tookStep(data) {
  for (const id of data.stats) {
    const key = `${data.workflow ?? root().id}/${id}`;
    let held = kept.get(key);
    if (!held || held.prompt !== data.prompt) held = { prompt: data.prompt, runs: new Map() };
    kept.delete(key);
    kept.set(key, held);
    let run = held.runs.get(data.node);
    if (!run || data.from === 0) run = begun(data.node, data.expected, data.notes);
    held.runs.set(data.node, run);
    if (data.cells) {
      const cells = data.cells.map((/** @type {any[]} */ [reuse, score, reason]) => ({ reuse, score, reason }));
      run.cells.splice(data.from, Infinity, ...cells);
    }
    if (data.summary) finish(run, data.summary);
  }
  while (kept.size > MOST_KEPT) kept.delete(String(kept.keys().next().value));
  for (const node of everyNode()) panels.get(node)?.();
}

/**
 * @param {Run} run
 * @param {any} summary
 */
function finish(run, summary) {
  run.summary = summary;
  run.cells = summary.steps.map((/** @type {any} */ step) => ({ ...step, reuse: step.action === "reuse" }));
  run.expected = run.cells.length;
  return run;
}

/** @param {GraphNode} node */
export function addCacheStatsPanel(node) {
  const content = make("div", { attributes: { "aria-live": "polite" } }, [text("stats_wait")]);
  mount(node, content, 60);
  const show = () => {
    const held = heldOf(kept, node);
    if (held) showRuns(content, [...held.runs.values()]);
  };
  panels.set(node, show);
  chain(node, "onConfigure", () => setTimeout(show));
  chain(node, "onExecuted", (output) => {
    const ran = output?.sencache ?? [];
    // ComfyUI hands this on to the node of that id in whichever workflow is shown.
    if ([...kept].some(([key, one]) => one.prompt === ran[0]?.prompt && !key.startsWith(`${root().id}/`))) return;
    if (!ran.length) return content.replaceChildren(...(output?.sencache_notes ?? []).map(told));
    showRuns(content, ran.map((/** @type {any} */ one) => finish(begun(String(one.node_id)), one)));
  });
}

/**
 * @param {HTMLElement} content
 * @param {Run[]} runs
 */
function showRuns(content, runs) {
  while (content.children.length > runs.length) content.lastElementChild?.remove();
  if (!content.children.length) content.replaceChildren();
  for (const [index, run] of runs.entries()) {
    let part = content.children[index];
    if (!part) {
      part = make("div", {}, [
        make("div", { className: "strong" }), make("div", { className: "strip" }), make("div"),
      ]);
      content.append(part);
    }
    const [head, strip, foot] = /** @type {HTMLElement[]} */ ([...part.children]);
    fillStrip(strip, run.cells, run.expected);
    strip.dataset.filled = String(run.cells.length);
    const name = text("run", { node: run.node });
    head.textContent = run.summary
      ? `${name}: ${counts(run.summary)}`
      : text("running", { run: name, done: run.cells.length, total: run.expected });
    const said = run.summary ? [times(run.summary), ...run.summary.notes.map(told)] : run.notes.map(told);
    foot.replaceChildren(...said.filter(Boolean).map((line) => make("div", {}, [line])));
  }
}

/** @param {any} summary */
function counts(summary) {
  const said = text("counts", {
    nfe: summary.nfe, total: summary.evaluations, reused: summary.reused, x: summary.speed_up.toFixed(2),
  });
  const looks = summary.reused && summary.visibility ? `${said} · ${visible(summary.visibility)}` : said;
  return summary.complete ? looks : `${said} (${text("stopped")})`;
}

/** @param {any} summary */
function times(summary) {
  if (!summary.reused) return "";
  return text("times", {
    s: summary.seconds.toFixed(1), u: summary.seconds_uncached.toFixed(1),
    x: summary.time_speed_up.toFixed(2), saved: summary.seconds_saved.toFixed(1),
  });
}
