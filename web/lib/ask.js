// Asks the server; everything that is decided is decided there.

import { api } from "../../../scripts/api.js";
import { text, told } from "./texts.js";

/**
 * Ask one of the pack's routes; returns its answer, or null where there is none.
 * @type {(route: string, question: object, signal?: AbortSignal) => Promise<any>}
 */
export const ask = async (route, question, signal) => {
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
};

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
