// The panels' words, in the language that ComfyUI is set to. All of them are in locales/*/main.json.

import { app } from "../../../scripts/app.js";

/** @typedef {"panel" | "reasons" | "visibility" | "notes"} Part */
/** @typedef {{code: string, values: Record<string, unknown>, text?: string}} Note a sentence of the server's */

/** @type {Record<string, Record<Part, Record<string, string>>>} by locale */
let texts = {};

/** @param {typeof texts} given every language's texts, from the server */
export const learn = (given) => void (texts = given);

/**
 * Find a text in the user's language, else in the one that it is a variant of, else in English.
 * @param {Part} part
 * @param {string} name
 * @returns {string | undefined}
 */
function find(part, name) {
  const locale = String(app.extensionManager?.setting?.get?.("Comfy.Locale") ?? "en");
  for (const spoken of [locale, locale.split("-")[0], "en"]) {
    const found = texts[spoken]?.[part]?.[name];
    if (found) return found;
  }
}

/** @type {(text: string, gaps: Record<string, unknown>) => string} */
const filled = (text, gaps) => text.replace(/\{(\w+)\}/g, (_, gap) => String(gaps[gap] ?? ""));

/**
 * Return one of the panels' own texts with its gaps filled.
 * @param {string} name
 * @param {Record<string, unknown>} [gaps]
 */
export const text = (name, gaps = {}) => filled(find("panel", name) ?? name, gaps);

/** @param {string} code why an evaluation is computed or reused */
export const reason = (code) => find("reasons", code) ?? code;

/** @param {string} code what a predicted error looks like */
export const visible = (code) => find("visibility", code) ?? code;

/** @type {(code: string | null | undefined) => string} the class of that look's colour; ComfyUI has an `invisible` */
export const looksClass = (code) => (code ? `looks-${code}` : "");

/**
 * Word what the server says: in the user's language, else in the server's own words.
 * @param {Note} note
 */
export function told({ code, values, text: english }) {
  const found = find("notes", code);
  return found ? filled(found, values) : english ?? code;
}

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 60) return text("seconds", { n: seconds < 9.95 ? seconds.toFixed(1) : String(Math.round(seconds)) });
  const whole = Math.round(seconds);
  return text("minutes", { m: Math.floor(whole / 60), s: String(whole % 60).padStart(2, "0") });
}
