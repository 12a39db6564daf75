// What the panels keep in the browser: small records by name.

const MOST = 300_000; // characters of one record

/** @type {Map<string, [string | null, Record<string, any>]>} what was read last: panels look several times a second */
const read = new Map();

/**
 * @param {string} name
 * @returns {Record<string, any>} not to be changed; empty where nothing of ours is there
 */
export function stored(name) {
  try {
    const text = localStorage.getItem(name);
    const [before, held] = read.get(name) ?? [null, {}];
    if (text === before) return held;
    const found = JSON.parse(text ?? "{}");
    const record = found && typeof found === "object" && !Array.isArray(found) ? found : {};
    read.set(name, [text, record]);
    return record;
  } catch {
    return {};
  }
}

/**
 * Keep one entry of a record as its newest, and so many of the others.
 * @param {string} name
 * @param {string} key
 * @param {unknown} value
 * @param {number} most entries
 */
export function remember(name, key, value, most = 200) {
  const { [key]: _, ...others } = stored(name);
  const kept = Object.entries(others).slice(1 - most);
  store(name, Object.fromEntries([...kept, [key, value]]));
}

/**
 * Keep a record, without its oldest entries where it is too long. Nothing happens where the browser refuses.
 * @param {string} name
 * @param {Record<string, unknown>} record the newest entry last
 */
function store(name, record) {
  const entries = Object.entries(record);
  while (entries.length > 1 && JSON.stringify(entries).length > MOST) entries.shift();
  try {
    localStorage.setItem(name, JSON.stringify(Object.fromEntries(entries)));
  } catch {} // full, or forbidden
}
