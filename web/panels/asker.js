// Asks the server what a Model Patch's next run will do: after every change, and from time to time.

import { ask } from "../lib/ask.js";
import { valueOf, within } from "../lib/graph.js";
import { connectedTo, loaderOf, samplingOf, tablesOf } from "../lib/sampling.js";
import { remember, stored } from "../lib/storage.js";

const AGE = 5000; // ms after which an answer is asked for again: files come and go without a word
const MODELS = "sencache.models"; // in the browser's storage: what ties tables to a model, by its loader
const NOT_ASKED = ["embedded_table", "sencache"];
const PAGE = Math.random().toString(36).slice(2); // tells this page's panels from another page's

let made = 0; // askers, of this page

/**
 * Remember what ties tables to the model that a node has.
 * @param {GraphNode} node a Model Patch
 * @param {{fingerprint: string, weights: string}} model
 */
export function noteModel(node, { fingerprint, weights }) {
  remember(MODELS, loaderOf(node), { fingerprint, weights });
}

export class Asker {
  /**
   * @param {GraphNode} node
   * @param {GraphNode[]} hosts the nodes of the subgraphs that it is in
   * @param {(answer: any) => void} take called with every new answer, null for none
   */
  constructor(node, hosts, take) {
    this.node = node;
    this.hosts = hosts;
    this.take = take;
    this.asker = `${PAGE}/${made++}`; // the newest question of each counts
    this.asked = "";
    this.askedAt = 0;
    this.answered = ""; // the question and its answer
    /** @type {AbortController | null} */
    this.request = null;
  }

  /** @returns {string} the question as things are set now */
  question() {
    return within(this.hosts, () => {
      const { node, asker } = this;
      const names = (node.widgets ?? []).map(({ name }) => name).filter((name) => !NOT_ASKED.includes(name));
      const source = connectedTo(node);
      /** @type {Wire.PlanQuestion & {asker: string}} */
      const question = {
        asker,
        settings: Object.fromEntries(names.map((name) => [name, valueOf(node, name) ?? null])),
        sampling: samplingOf(node),
        tables: tablesOf(node, source),
        embedded: source ? "" : String(valueOf(node, "embedded_table") ?? ""),
        model: stored(MODELS)[loaderOf(node)] ?? null,
        connected: source !== null,
      };
      return JSON.stringify(question);
    });
  }

  /** Ask, if something has changed or the answer is old. */
  look() {
    const question = this.question();
    if (question === this.asked && Date.now() - this.askedAt < AGE) return;
    this.asked = question;
    this.askedAt = Date.now();
    void this.ask(question);
  }

  /** @param {string} question */
  async ask(question) {
    this.request?.abort();
    const request = (this.request = new AbortController());
    const answer = await ask("plan", JSON.parse(question), request.signal);
    if (request.signal.aborted || answer?.problem?.code === "superseded") return;
    if (!answer) this.asked = ""; // asked again at the next look
    const answered = question + JSON.stringify(answer);
    if (answered === this.answered) return;
    this.answered = answered;
    this.take(answer);
  }

  /** Let the next look ask: a file may be new. */
  refresh() {
    this.askedAt = 0;
  }
}
