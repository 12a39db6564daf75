// The panel under SenCache Calibrate: its cost, how far it is, the curves so far, the table put to use.

import { app } from "../../../scripts/app.js";
import { ask } from "../lib/ask.js";
import {
  alongModel, capture, everyNode, heldOf, nodeAt, originOf, root, setValues, valueOf,
} from "../lib/graph.js";
import { text, told } from "../lib/texts.js";
import { button, chain, make, mount } from "../lib/view.js";

const [WIDTH, HEIGHT] = [300, 80];
const PRESETS = {
  quick: { steps: 24, samples: 1, sensitivities: "some steps" },
  paper: { steps: 50, samples: 8, sensitivities: "every step" },
};

/** @type {Map<string, any>} the last news of each calibration, by workflow and node */
const news = new Map();
/** @type {WeakMap<GraphNode, (data: any) => void>} */
const panels = new WeakMap();

/** @param {any} data what the server says of a calibration */
export function tookNews(data) {
  const key = `${data.workflow ?? root().id}/${data.node}`;
  news.set(key, { ...news.get(key), ...data });
  if (data.workflow && data.workflow !== root().id) return;
  const node = nodeAt(data.node);
  if (node) panels.get(node)?.(news.get(key));
}

/** @param {GraphNode} node */
export function addCalibratePanel(node) {
  const bar = make("i");
  const line = make("div", { className: "strong", textContent: text("calibrate_wait") });
  const progress = make("div", { className: "bar", attributes: { role: "progressbar" } }, [bar]);
  const curves = make("div", { title: text("curves") });
  const words = make("div", { attributes: { "aria-live": "polite" } });
  const buttons = make("div", { className: "row" });
  const cost = make("div");
  const choices = Object.entries(PRESETS).map(([name, values]) =>
    button(name, () => {
      setValues(node, values);
      capture();
    }),
  );
  progress.style.display = "none";
  const row = make("div", { className: "row" }, choices);
  mount(node, make("div", {}, [row, cost, line, progress, curves, words, buttons]), 60);
  const price = () => void priced(node).then((said) => (cost.textContent = said));
  for (const widget of node.widgets ?? []) chain(widget, "callback", price);
  setTimeout(price);
  const show = (/** @type {any} */ data) => {
    const share = data.total ? (100 * data.done) / data.total : 0;
    progress.style.display = data.state === "running" ? "" : "none";
    bar.style.width = `${share}%`;
    progress.setAttribute("aria-valuenow", String(Math.round(share)));
    line.textContent = headline(data);
    words.textContent = explained(data);
    if (data.curves) curves.innerHTML = drawn(data.curves);
    const finished = data.state === "finished" && data.table;
    const use = () => void select(node, data.table).then((said) => (words.textContent = said));
    buttons.replaceChildren(...(finished ? [make("button", { textContent: text("select"), onclick: use })] : []));
  };
  panels.set(node, show);
  chain(node, "onConnectionsChange", () => setTimeout(price));
  chain(node, "onConfigure", () =>
    setTimeout(() => {
      price();
      const last = heldOf(news, node);
      if (last) show(last);
    }),
  );
}

/** @param {GraphNode} node says what its settings cost, beside one of the artist's own videos */
async function priced(node) {
  const source = originOf(node, "model");
  const sampler = source && [...alongModel(source)].find((one) => one !== node && valueOf(one, "sampler_name"));
  const names = ["steps", "samples", "sensitivities"];
  const asked = Object.fromEntries(names.map((name) => [name, valueOf(node, name)]));
  const answer = await ask("cost", { ...asked, video_steps: (sampler && valueOf(sampler, "steps")) ?? null });
  return answer?.code ? told(answer) : "";
}

/** @param {any} data */
function headline(data) {
  if (data.state === "finished") return text("finished", { name: data.table });
  if (data.state === "stopped") {
    return data.samples_done ? text("kept", { n: data.samples_done, samples: data.samples }) : text("kept_none");
  }
  const now = text("measuring", { now: Math.min(data.samples, data.samples_done + 1), samples: data.samples });
  if (data.seconds_left == null) return now;
  const [m, s] = [Math.floor(data.seconds_left / 60), Math.floor(data.seconds_left % 60)];
  return `${now} · ${text("left", { t: `${m}:${String(s).padStart(2, "0")}` })}`;
}

/** @param {any} data */
function explained(data) {
  const said = data.resumed ? [text("resumed", { n: data.resumed })] : [];
  if (data.state === "running") said.push(text("cancel"));
  return said.join(" ");
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
