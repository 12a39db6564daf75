// What the panels keep in the browser: small records by name, never more than a part of what ComfyUI may keep.

const MOST = 300_000; // characters of one record

/**
 * @param {string} name
 * @returns {Record<string, any>} empty where nothing, or nothing of ours, is there
 */
export function stored(name) {
  try {
    const found = JSON.parse(localStorage.getItem(name) ?? "{}");
    return found && typeof found === "object" && !Array.isArray(found) ? found : {};
  } catch {
    return {};
  }
}

/**
 * Keep a record, without its oldest entries where it is too long. Nothing happens where the browser refuses.
 * @param {string} name
 * @param {Record<string, unknown>} record the newest entry last
 */
export function store(name, record) {
  const entries = Object.entries(record);
  while (entries.length > 1 && JSON.stringify(entries).length > MOST) entries.shift();
  try {
    localStorage.setItem(name, JSON.stringify(Object.fromEntries(entries)));
  } catch {} // full, or forbidden
}
