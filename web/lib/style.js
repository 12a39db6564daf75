// How the panels look: in the theme's colours, but for those that stand for what a viewer will see.

const STYLE = `
.sencache { contain: content; box-sizing: border-box; width: 100%; padding: 2px 4px; font: 12px/1.45 sans-serif;
  color: var(--input-text, #ddd); overflow: hidden; user-select: text;
  --looks-invisible: #3f9e63; --looks-hardly_visible: #8fae3c; --looks-details_change: #d99a2b; --looks-another_video: #cf4a4a;
  --soft: color-mix(in srgb, currentColor 9%, transparent); --computed: #3b8ce0; --line: color-mix(in srgb, currentColor 25%, transparent);
  & > div > * + *, .strip + div { margin-top: 5px; }
  .row { display: flex; gap: 6px; align-items: center; flex-wrap: wrap; }
  button { font: inherit; padding: 2px 8px; border-radius: 4px; cursor: pointer; color: inherit;
    background: var(--soft); border: 1px solid var(--line); }
  button:hover { border-color: currentColor; }
  button:disabled { opacity: 0.45; cursor: default; border-color: var(--line); }
  :focus-visible { outline: 2px solid var(--computed); outline-offset: 1px; }
  &.off .knob, &.off .gains, &.off .strip { opacity: 0.45; }
  .knob { display: flex; gap: 8px; align-items: center; }
  .knob > div { position: relative; flex: 1; min-width: 60px; height: 20px; }
  .knob .scale { position: absolute; inset: 6px 7px; border-radius: 4px; background: var(--line); }
  .knob input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; background: none;
    appearance: none; cursor: pointer; }
  .knob input::-webkit-slider-thumb { appearance: none; width: 14px; height: 20px; border-radius: 4px;
    background: #f4f4f4; border: 1px solid #333; box-shadow: 0 1px 2px #0006; }
  .knob input::-moz-range-thumb { width: 12px; height: 18px; border-radius: 4px; background: #f4f4f4;
    border: 1px solid #333; }
  .knob.follows input { opacity: 0.5; }
  .knob output { min-width: 34px; text-align: right; font-weight: 600; }
  .gains { display: grid; grid-template-columns: auto auto auto 1fr; gap: 2px 0; }
  .gains button { display: contents; text-align: left; }
  .gains button > span { padding: 1px 8px 1px 6px; background: var(--soft); cursor: pointer;
    white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
  .gains button:hover > span { background: var(--line); }
  .gains button:disabled > span { opacity: 0.5; cursor: default; }
  .gains button[aria-pressed=true] > span { font-weight: 600; background: var(--line); }
  .gains button:focus-visible > span { outline: 2px solid var(--computed); outline-offset: -2px; }
  .looks { display: inline-block; width: 9px; height: 9px; border-radius: 2px; margin-right: 5px; }
  .said { border-left: 4px solid var(--line); padding-left: 6px; font-weight: 600; }
  .bad { border-left-color: var(--looks-another_video); }
  .looks-another_video.said, .bad.said { color: color-mix(in srgb, var(--looks-another_video) 70%, currentColor); }
  ${["invisible", "hardly_visible", "details_change", "another_video"]
    .map((word) => `.looks-${word}.said { border-left-color: var(--looks-${word}); } .looks-${word}.looks { background: var(--looks-${word}); }`)
    .join("\n  ")}
  .quiet { opacity: 0.75; }
  .strip { display: flex; align-items: flex-end; height: 20px; gap: 1px; }
  .strip > i { flex: 1 1 0; min-width: 1px; max-width: 16px; height: 45%; border-radius: 1px;
    background: currentColor; opacity: 0.4; }
  .strip > .c { height: 100%; background: var(--computed); opacity: 1; }
  .strip > .e { background: none; border: 1px dotted; opacity: 0.3; height: 100%; box-sizing: border-box; }
  .bar { height: 6px; border-radius: 3px; background: var(--line); overflow: hidden; }
  .bar > i { display: block; height: 100%; background: var(--computed); }
  svg { display: block; width: 100%; height: 80px; }
  polyline { fill: none; stroke: var(--computed); stroke-width: 2; vector-effect: non-scaling-stroke; }
  .strong { font-weight: 600; }
  .history button { display: flex; gap: 8px; align-items: center; width: 100%; text-align: left; margin-top: 3px; }
  .history img { width: 48px; height: 30px; object-fit: cover; border-radius: 3px; background: var(--line); }
}`;

/** Put the panels' style on the page, once. */
export function addStyle() {
  if (document.getElementById("sencache-style")) return;
  const style = document.createElement("style");
  style.id = "sencache-style";
  style.textContent = STYLE;
  document.head.append(style);
}
