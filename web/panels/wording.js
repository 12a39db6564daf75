// Words what the next run will do, for the panel in SenCache Model Patch.

import { refusal } from "../lib/ask.js";
import { looksClass, text, told, visible } from "../lib/texts.js";

export const MUTED = 2;

/** @typedef {import("./model_patch.js").ModelPatchPanel} View what is known of a Model Patch */

/** @type {(plan: Wire.PlanTold | null) => boolean} whether its table is of another model, so that it says nothing */
export const isForeign = (plan) => plan?.notes.some(({ code }) => code === "foreign") ?? false;

/** @type {(view: View) => Wire.PlanTold | null} */
export const planOf = ({ answer, failure }) => (answer?.cells && !failure ? answer : null);

/**
 * Say what the run will do.
 * @param {View} view
 * @returns {[string, string]} the sentence, and the class of what its colour stands for
 */
export function headline(view) {
  const { answer, failure, mode } = view;
  if (mode === MUTED) return [text("muted"), "bad"];
  if (mode !== 0) return [text("bypassed"), ""];
  if (failure) return [failure, "bad"];
  const all = whyAll(view);
  if (all) return [all, ""];
  const plan = planOf(view);
  if (!plan) return answer?.problem?.code === "no_table" ? [measuring(view), ""] : [refusal(answer), "bad"];
  if (isForeign(plan)) return [text("not_known"), "bad"];
  const calls = plan.evaluations === plan.steps ? "expected" : "expected_calls";
  const parts = [text(calls, { nfe: plan.nfe, total: plan.evaluations })];
  if (plan.nfe === plan.evaluations) parts.push(text("nothing"));
  else if (plan.visibility) parts.push(visible(plan.visibility));
  const said = parts.join(" · ");
  const because = plan.governs === "epsilon" ? `${text("by_epsilon", { e: view.value("epsilon") })} ` : "";
  return [because + said, plan.nfe < plan.evaluations ? looksClass(plan.visibility) : ""];
}

/** @type {(view: View) => string} why every step is computed whatever the table, empty where it is not so */
function whyAll({ value, target }) {
  if (value("exact") === true) return text("exact");
  if (value("epsilon") === 0) return text("epsilon_zero");
  if (value("n") === 0) return text("n_zero");
  return target() === 1 ? text("speed_one") : "";
}

/** @type {(view: View) => string} that the next run measures, and what that takes */
function measuring({ connected, steps, seconds }) {
  if (connected()) return text("calibrates_next");
  const takes = seconds(steps() ?? 0);
  return takes && steps() ? text("measures_next_in", { t: takes }) : text("measures_next");
}

/** @type {(view: View) => string[]} what a person should know of the run */
export function remarks(view) {
  const plan = planOf(view);
  if (plan) return [view.spokenOf(), ...plan.notes.map(told)].filter(Boolean);
  if (view.failure || whyAll(view) || view.answer?.problem?.code !== "no_table") return [];
  const target = view.target();
  return target > 1 ? [text(view.connected() ? "target_now" : "target_then", { x: target.toFixed(1) })] : [];
}

/** @type {(view: View) => string} what the plan is made of */
export function described(view) {
  const plan = planOf(view);
  if (!plan) return "";
  const said = [];
  const seconds = view.seconds(plan.nfe);
  if (seconds) said.push(text("takes", { t: seconds }));
  if (plan.predicted_error != null) said.push(text("error", { e: plan.predicted_error.toFixed(4) }));
  said.push(text("plan_of", { table: plan.table.name, steps: plan.steps, scheduler: plan.scheduler }));
  if (!plan.steps_known) said.push(text("assumed"));
  if (plan.table.source === "embedded") said.push(text("embedded"));
  return said.join(" · ");
}
