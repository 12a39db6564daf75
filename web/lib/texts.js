// The panels' texts, in the language that ComfyUI is set to.

import { app } from "../../../scripts/app.js";

const EN = {
  quality: "Quality", balanced: "Balanced", fast: "Fast",
  quality_tip: "The smallest error.",
  balanced_tip: "A small error for a good speed-up.",
  fast_tip: "More speed; look at the result.",
  speed: "Speed", speed_tip: "The speed-up you wish for; it sets epsilon.",
  expected: "{nfe} of {total} steps computed", faster: "{x}× fewer", error: "predicted error {e}",
  plan_of: "{table} · {steps} steps, {scheduler}", assumed: "(as in the table)",
  embedded: "embedded in the workflow", nothing: "Nothing is reused: the result is that of the unpatched model.",
  bypassed: "This node is off: every step will be computed.",
  unreachable: "The server does not answer.",
  embed: "Embed table in workflow", embed_tip: "Whoever opens the workflow then needs no file.",
  unembed: "Take table out", unembed_tip: "The workflow then needs the file again.",
  save: "Save embedded table", save_tip: "Writes it to models/sencache.",
  saved: "Saved as {name} in models/sencache.", there: "{name} is in models/sencache already.",
  kb: "{n} kB in the workflow",
  strip: "{nfe} of {total} computed", cell: "{n}: {action}, {reason}", score: "predicted {s}",
  computed: "computed", reused: "reused",
  stats_wait: "Queue the workflow: the sampler's steps appear here.",
  running: "{run}: {done} of about {total}", run: "Sampler {node}", stopped: "stopped",
  counts: "{nfe} of {total} evaluations computed, {reused} reused: {x}× fewer",
  times: "{s} s instead of about {u} s: {x}× faster, {saved} s saved",
  calibrate_wait: "Queue the workflow to measure the model. Cancel keeps the finished samples.",
  measuring: "Sample {now} of {samples}", left: "about {t} left", resumed: "{n} kept from an earlier calibration",
  cancel: "Cancel keeps what is finished; the next queue goes on from there.",
  kept: "Stopped. {n} of {samples} samples are kept: queue again to go on from there.",
  kept_none: "Stopped before the first sample was finished.",
  finished: "Finished: {name}", select: "Use it in Model Patch", selected: "{name} is selected in {n} Model Patch.",
  no_patch: "There is no SenCache Model Patch in this workflow.",
  curves: "Sensitivity over model time: by latent (solid) and by time (dashed)",
};

/** @type {Record<keyof typeof EN, string>} */
const ZH = {
  quality: "质量", balanced: "均衡", fast: "快速",
  quality_tip: "误差最小。", balanced_tip: "误差较小,加速明显。",
  fast_tip: "更快;请检查结果。", speed: "速度", speed_tip: "期望的加速倍数,由它设定 epsilon。",
  expected: "计算 {total} 步中的 {nfe} 步", faster: "减少到 1/{x}", error: "预测误差 {e}",
  plan_of: "{table} · {steps} 步,{scheduler}", assumed: "(取自表)", embedded: "内嵌于工作流",
  nothing: "不复用任何步骤:结果与未打补丁的模型相同。", bypassed: "此节点已停用:每一步都会计算。",
  unreachable: "服务器没有响应。",
  embed: "将表嵌入工作流", embed_tip: "打开工作流的人不再需要文件。",
  unembed: "移除内嵌表", unembed_tip: "之后工作流又需要表文件。",
  save: "保存内嵌表", save_tip: "写入 models/sencache。",
  saved: "已保存为 models/sencache 中的 {name}。", there: "{name} 已在 models/sencache 中。",
  kb: "工作流中占 {n} kB", strip: "{total} 步中计算 {nfe} 步", cell: "{n}:{action},{reason}", score: "预测 {s}",
  computed: "计算", reused: "复用", stats_wait: "运行工作流:采样器的步骤会显示在这里。",
  running: "{run}:{done} / 约 {total}", run: "采样器 {node}", stopped: "已停止",
  counts: "{total} 次评估中计算 {nfe} 次,复用 {reused} 次:减少到 1/{x}",
  times: "{s} 秒,而非约 {u} 秒:快 {x} 倍,节省 {saved} 秒",
  calibrate_wait: "运行工作流以测量模型。取消会保留已完成的样本。",
  measuring: "样本 {now} / {samples}", left: "约剩 {t}", resumed: "{n} 个来自之前的校准",
  cancel: "取消会保留已完成的部分,下次运行从那里继续。",
  kept: "已停止。保留了 {samples} 个样本中的 {n} 个:再次运行即可继续。", kept_none: "在第一个样本完成前已停止。",
  finished: "完成:{name}", select: "在模型补丁中使用", selected: "已在 {n} 个模型补丁中选择 {name}。",
  no_patch: "此工作流中没有 SenCache 模型补丁。",
  curves: "随模型时间变化的敏感度:对潜变量(实线)和对时间(虚线)",
};

/**
 * Return a text in the user's language with its gaps filled.
 * @param {keyof typeof EN} name
 * @param {Record<string, unknown>} [gaps]
 */
export function text(name, gaps = {}) {
  const locale = String(app.extensionManager?.setting?.get?.("Comfy.Locale") ?? "en");
  const found = (locale === "zh" ? ZH : EN)[name];
  return found.replace(/\{(\w+)\}/g, (_, gap) => String(gaps[gap] ?? ""));
}
