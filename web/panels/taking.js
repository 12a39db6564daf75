// Takes in a table file: chosen by a button, or dropped on the node.

import { app } from "../../../scripts/app.js";
import { ask, refusal } from "../lib/ask.js";
import { text } from "../lib/texts.js";
import { button, make } from "../lib/view.js";

const MOST_BYTES = 2 ** 20; // a table is smaller
const KIND = ".safetensors";

/**
 * Let a node take table files; returns its button.
 * @param {GraphNode} node
 * @param {(said: string) => void} say
 */
export function takesTables(node, say) {
  const take = (/** @type {Iterable<File>} */ files) => void takeAll(files).then(say);
  const picker = make("input", { type: "file", accept: KIND, multiple: true, onchange: () => take(picker.files ?? []) });
  node.onDragOver = (event) => [...(event.dataTransfer?.items ?? [])].some((item) => item.kind === "file");
  node.onDragDrop = (event) => {
    const files = [...(event.dataTransfer?.files ?? [])].filter((file) => file.name.endsWith(KIND));
    if (files.length) take(files);
    return files.length > 0;
  };
  return button("take", () => {
    picker.value = ""; // the same file may be chosen again
    picker.click();
  });
}

/** @type {(files: Iterable<File>) => Promise<string>} one after the other: two may join the same table */
async function takeAll(files) {
  const said = [];
  for (const file of files) said.push(file.size > MOST_BYTES ? text("taken_large") : await takeOne(file));
  await app.refreshComboInNodes?.();
  return said.join(" ");
}

/** @param {File} file */
async function takeOne(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const answer = await ask("take", { data: btoa([...bytes].map((one) => String.fromCharCode(one)).join("")) });
  if (!answer?.name) return refusal(answer);
  const { name, samples: n, there, merged } = answer;
  if (there) return text("taken_there", { name });
  return text(merged ? "taken_merged" : "taken_new", { name, n });
}
