// Asks the server; everything that is decided is decided there.

import { api } from "../../../scripts/api.js";
import { text, told } from "./texts.js";

/**
 * @typedef {object} Routes what each is asked, and what it answers
 * @property {[Wire.PlanQuestion & {asker?: string}, Wire.PlanTold]} plan
 * @property {[Wire.CostQuestion, Wire.CostTold]} cost
 * @property {[Wire.EmbedQuestion, Wire.EmbedTold]} embed
 * @property {[Wire.SaveQuestion, Wire.SaveTold]} save
 * @property {[Wire.TakeQuestion, Wire.TakenTold]} take
 * @property {[Wire.NewsQuestion, Wire.NewsTold]} news
 */

/**
 * Ask one of the pack's routes; returns its answer, or null where there is none.
 * @template {keyof Routes} Route
 * @param {Route} route
 * @param {Routes[Route][0]} question
 * @param {AbortSignal} [signal]
 * @returns {Promise<(Partial<Routes[Route][1]> & Partial<Wire.Refused>) | null>}
 */
export async function ask(route, question, signal) {
  try {
    const response = await api.fetchApi(`/sencache/${route}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(question),
      signal,
    });
    return await response.json();
  } catch {
    return null;
  }
}

/** @param {any} answer one without what was asked for; says why */
export const refusal = (answer) => (answer?.problem ? told(answer.problem) : text("unreachable"));

/**
 * Fetch what the panels need before they are built: every language's texts.
 * @returns {Promise<Wire.PanelsTold>}
 */
export async function begin() {
  try {
    return await (await api.fetchApi("/sencache/panels")).json();
  } catch {
    return { texts: {} };
  }
}
