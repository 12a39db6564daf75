// Asks the server; everything that is decided is decided there.

import { api } from "../../../scripts/api.js";

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

/** @type {Promise<any> | undefined} */
let listed;

/** Return the presets, asking once. */
export async function presets() {
  try {
    return (await (listed ??= api.fetchApi("/sencache/tables").then((/** @type {any} */ one) => one.json()))).presets;
  } catch {
    listed = undefined;
    return {};
  }
}
