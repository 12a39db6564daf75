// Reads the workflow's graph, through subgraphs, reroutes and bypassed nodes.

import { app } from "../../../scripts/app.js";

const INPUT_NODE = "-10"; // ComfyUI's ids of a subgraph's own inputs and outputs
const OUTPUT_NODE = "-20";

/** @type {(node: GraphNode) => boolean} muted or bypassed */
export const isOff = ({ mode }) => mode === 2 || mode === 4;

/** @returns {Graph} */
export function root() {
  return app.rootGraph ?? app.graph;
}

/**
 * Yield every node, those in subgraphs too.
 * @param {Graph} [graph]
 * @returns {Generator<GraphNode>}
 */
export function* everyNode(graph = root()) {
  for (const node of graph.nodes ?? []) {
    yield node;
    if (node.subgraph) yield* everyNode(node.subgraph);
  }
}

/**
 * Find a node by the id that the server knows it by, such as "12:3" for node 3 of subgraph node 12. The parts of
 * one that expanded ("9.0.0.3") are that node.
 * @param {string} id
 * @returns {[GraphNode | null, GraphNode[]]} the node, and the nodes of the subgraphs that it is in
 */
export function placeAt(id) {
  /** @type {Graph | undefined} */
  let graph = root();
  /** @type {GraphNode[]} */
  const way = [];
  for (const part of String(id.split(".")[0]).split(":")) {
    /** @type {GraphNode | null} */
    const node = graph?.getNodeById(part) ?? graph?.getNodeById(Number(part)) ?? null;
    if (!node) return [null, []];
    way.push(node);
    graph = node.subgraph;
  }
  return [way.pop() ?? null, way];
}

/** @type {(id: string) => GraphNode | null} */
export const nodeAt = (id) => placeAt(id)[0];

/** @returns {Link | null} */
function linkOf(/** @type {Graph | null} */ graph, /** @type {number | null | undefined} */ id) {
  if (!graph || id == null) return null;
  return graph.getLink?.(id) ?? graph.links?.get?.(id) ?? graph.links?.[id] ?? null;
}

/** @type {Map<Graph, GraphNode>} the node that stands for a subgraph, where one of several is meant */
let meant = new Map();

/**
 * Do something from the point of view of one copy of a subgraph.
 * @template T
 * @param {GraphNode[]} hosts the nodes that stand for the subgraphs on the way
 * @param {() => T} work
 * @returns {T}
 */
export function within(hosts, work) {
  const before = meant;
  meant = new Map(hosts.flatMap((host) => (host.subgraph ? [[host.subgraph, host]] : [])));
  try {
    return work();
  } finally {
    meant = before;
  }
}

/** @param {Graph} graph a subgraph; returns the nodes that stand for it */
function standingFor(graph) {
  const one = meant.get(graph);
  return one ? [one] : [...everyNode()].filter((node) => node.subgraph === graph);
}

/**
 * Yield every node with the nodes that stand for the subgraphs that it is in, the outermost first.
 * @param {Graph} [graph]
 * @param {GraphNode[]} [hosts]
 * @returns {Generator<[GraphNode, GraphNode[]]>}
 */
export function* everyPlace(graph = root(), hosts = []) {
  for (const node of graph.nodes ?? []) {
    yield [node, hosts];
    if (node.subgraph) yield* everyPlace(node.subgraph, [...hosts, node]);
  }
}

/** @type {(place: [GraphNode, GraphNode[]]) => string} the server's id of a node */
export const idAt = ([node, hosts]) => [...hosts, node].map(({ id }) => id).join(":");

/**
 * Yield the nodes that an output leads to, with the slot that it enters, looking into subgraphs.
 * @param {GraphNode} node
 * @param {number} slot
 * @returns {Generator<[GraphNode, number]>}
 */
export function* targets(node, slot) {
  yield* followed(node.graph, node.outputs?.[slot]?.links ?? []);
}

/** @returns {Generator<[GraphNode, number]>} */
function* followed(/** @type {Graph | null} */ graph, /** @type {number[]} */ links) {
  for (const id of links) {
    const link = linkOf(graph, id);
    if (!graph || !link) continue;
    if (String(link.target_id) === OUTPUT_NODE) {
      for (const outer of standingFor(graph)) yield* targets(outer, link.target_slot);
      continue;
    }
    const target = graph.getNodeById(link.target_id);
    const inner = target?.subgraph;
    if (inner) yield* followed(inner, inner.inputs?.[link.target_slot]?.linkIds ?? []);
    else if (target) yield [target, link.target_slot];
  }
}

/**
 * Return the node that an input comes from, looking into subgraphs; null where nothing is connected.
 * @param {GraphNode | null | undefined} node
 * @param {number} slot
 * @returns {GraphNode | null}
 */
export function origin(node, slot) {
  const link = linkOf(node?.graph ?? null, node?.inputs?.[slot]?.link);
  if (!node?.graph || !link) return null;
  if (String(link.origin_id) === INPUT_NODE) return origin(standingFor(node.graph)[0], link.origin_slot);
  const from = node.graph.getNodeById(link.origin_id);
  const inner = from?.subgraph;
  if (!inner) return from;
  const end = linkOf(inner, inner.outputs?.[link.origin_slot]?.linkIds?.[0]);
  return end ? inner.getNodeById(end.origin_id) : null;
}

/** @type {(node: GraphNode, name: string) => GraphNode | null} */
export const originOf = (node, name) => origin(node, node.inputs?.findIndex((slot) => slot.name === name) ?? -1);

/**
 * Return the widget that gives a value: the node's own, the one that stands for it on a subgraph's node, or
 * a primitive's; undefined where there is none or where another node gives the value.
 * @param {GraphNode} node
 * @param {string} name
 * @returns {Widget | undefined}
 */
export function widgetOf(node, name) {
  const slot = node.inputs?.find((one) => one.name === name);
  const link = linkOf(node.graph, slot?.link);
  if (!link) return node.widgets?.find((widget) => widget.name === name);
  if (node.graph && String(link.origin_id) === INPUT_NODE) {
    const outer = standingFor(node.graph)[0];
    return outer && widgetOf(outer, outer.inputs?.[link.origin_slot]?.name ?? "");
  }
  let from = originOf(node, name);
  for (let depth = 0; from?.type === "Reroute" && depth < 20; depth++) from = origin(from, 0);
  return /^Primitive/.test(from?.type ?? "") ? from?.widgets?.[0] : undefined;
}

/** @type {(node: GraphNode, name: string) => any} */
export const valueOf = (node, name) => widgetOf(node, name)?.value;

/**
 * Set widgets, those that stand for them elsewhere included.
 * @param {GraphNode} node
 * @param {Record<string, unknown>} values by widget
 * @returns {string[]} the widgets that took another value: another node's own rounding decides there
 */
export function setValues(node, values) {
  const refused = [];
  for (const [name, value] of Object.entries(values)) {
    const widget = widgetOf(node, name);
    if (widget && widget.value !== value) {
      widget.value = value;
      widget.callback?.(value);
    }
    if (!widget || Math.abs(widget.value - Number(value)) > 1e-9) refused.push(name);
  }
  node.setDirtyCanvas(true, true);
  return refused;
}

/** Let ComfyUI take note of what was set: one step for Undo, and for saving. */
export function capture() {
  const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker;
  (tracker?.captureCanvasState ?? tracker?.checkState)?.call(tracker);
}

/**
 * Yield the active nodes that a model goes through or ends in, nearest first.
 * @param {GraphNode} patch
 * @returns {Generator<GraphNode>}
 */
export function* alongModel(patch) {
  const seen = new Set([patch]);
  const waiting = [patch];
  for (let node = waiting.shift(); node; node = waiting.shift()) {
    for (const [index, output] of (node.outputs ?? []).entries()) {
      if (!["MODEL", "GUIDER", "SIGMAS", "*"].includes(output.type)) continue;
      for (const [target] of targets(node, index)) {
        if (seen.has(target)) continue;
        seen.add(target);
        waiting.push(target);
        if (!isOff(target)) yield target;
      }
    }
  }
}

/**
 * Yield the active nodes that a model comes through, nearest first.
 * @param {GraphNode} patch
 * @returns {Generator<GraphNode>}
 */
export function* beforeModel(patch) {
  let node = origin(patch, patch.inputs?.findIndex((one) => one.type === "MODEL") ?? -1);
  for (let depth = 0; node && depth < 100; depth++) {
    if (!isOff(node)) yield node;
    const slot = node.inputs?.findIndex((one) => one.type === "MODEL" || one.type === "*") ?? -1;
    node = origin(node, slot);
  }
}

/**
 * Yield a node and every node that leads to it.
 * @param {GraphNode} node
 * @returns {Generator<GraphNode>}
 */
export function* upstream(node) {
  const seen = new Set([node]);
  for (const one of seen) {
    yield one;
    for (const slot of one.inputs?.keys() ?? []) {
      const from = origin(one, slot);
      if (from) seen.add(from);
    }
  }
}
