// Asks the server; everything that is decided is decided there.

import { api } from "../../../scripts/api.js";

/**
 * Ask one of the pack's routes; returns its answer, or null where there is none.
 * @param {string} route
 * @param {object} question
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
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

/** @type {Promise<any> | null} */
let listed = null;

/** Return the presets, asking once. */
export async function presets() {
  listed ??= api.fetchApi("/sencache/tables").then((/** @type {Response} */ response) => response.json());
  try {
    return (await listed).presets ?? {};
  } catch {
    listed = null;
    return {};
  }
}
