// Looks at the graph from time to time: undo, paste and other nodes tell nobody.

const LOOK = 400; // ms between looks

/** @type {(look: () => void) => void} look again and again, as long as the page can be seen */
export const watch = (look) => void window.setInterval(() => document.hidden || look(), LOOK);
