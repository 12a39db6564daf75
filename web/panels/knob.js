// The speed of a Model Patch: a painted slider, and the speeds to choose from.

import { looksClass, text, visible } from "../lib/texts.js";
import { make, show } from "../lib/view.js";

const MOST = 6; // times faster, at the slider's right end; the widget's own range goes on
const OUT_OF_REACH = "transparent";

/** @type {(speed: number) => string} */
const times = (speed) => `${(Math.floor(speed * 10 + 1e-6) / 10).toFixed(1)}×`;

export class Knob {
  /** @param {(speed: number, letGo: boolean) => void} choose takes a speed that was set here */
  constructor(choose) {
    this.scale = make("div", { className: "scale" });
    this.slider = make("input", {
      type: "range", min: "1", max: String(MOST), step: "0.1", title: text("speed_tip"),
      oninput: () => this.moved(),
      onpointerup: () => this.slider.blur(), // the keys are ComfyUI's again
    });
    this.slider.setAttribute("aria-label", text("speed"));
    this.said = make("output");
    const track = make("div", {}, [this.scale, this.slider]);
    this.element = make("label", { className: "knob", title: text("speed_tip") }, [text("speed"), track, this.said]);
    this.table = make("div", { className: "gains" });
    this.choose = choose;
    this.painted = "";
  }

  moved() {
    const speed = Number(this.slider.value);
    this.said.textContent = times(speed);
    this.choose(speed, false);
  }

  /**
   * Show a speed.
   * @param {number} speed
   * @param {boolean} follows from another setting, and is not what was asked for
   */
  point(speed, follows) {
    const most = String(speed > MOST ? 10 : MOST);
    if (this.slider.max !== most) {
      this.slider.max = most;
      this.painted = "";
    }
    const held = document.activeElement === this.slider && Math.abs(Number(this.slider.value) - speed) < 0.051;
    if (!held) this.slider.value = String(speed);
    this.said.textContent = times(speed);
    this.element.classList.toggle("follows", follows);
  }

  /**
   * Paint what each speed looks like, and list the speeds to choose from.
   * @param {Wire.PlanTold | null} plan
   * @param {number} target
   * @param {(nfe: number) => string} seconds words the time that so many steps take
   * @param {number | undefined} each seconds of a step
   */
  paint(plan, target, seconds, each) {
    const state = JSON.stringify([plan?.scale, plan?.gains, target, this.slider.max, each]);
    if (state === this.painted) return;
    this.painted = state;
    this.scale.style.background = plan?.scale.length ? gradient(plan.scale, Number(this.slider.max)) : "";
    this.scale.title = text("scale_tip");
    show(this.table, Boolean(plan?.gains.length));
    this.table.replaceChildren(...(plan?.gains ?? []).map((one) => this.row(one, plan?.evaluations ?? 0, target, seconds)));
  }

  /**
   * @param {Wire.Offer} offer
   * @param {number} total
   * @param {number} target
   * @param {(nfe: number) => string} seconds
   */
  row(offer, total, target, seconds) {
    const reached = offer.speed_up >= offer.target * (1 - 1e-3);
    const looks = offer.visibility
      ? [make("i", { className: `looks ${looksClass(offer.visibility)}` }), visible(offer.visibility)]
      : ["–"];
    const cells = [[`${offer.target}×`], [text("offer", { nfe: offer.nfe, total })], [seconds(offer.nfe)], looks];
    const row = make("button", {
      type: "button", disabled: !reached, title: text(reached ? "offer_tip" : "unreachable_speed"),
      onclick: () => this.choose(offer.target, true),
    }, cells.map((cell) => make("span", {}, cell)));
    row.setAttribute("aria-pressed", String(Math.abs(offer.target - target) < 1e-6));
    return row;
  }
}

/**
 * Return the colours of all speeds as a background; what can't be reached stays empty.
 * @param {Wire.Gain[]} scale
 * @param {number} most
 */
function gradient(scale, most) {
  const stops = [];
  let from = 1;
  for (const gain of scale) {
    const to = Math.min(most, gain.speed_up);
    const colour = gain.visibility ? `var(--looks-${gain.visibility})` : "currentColor";
    stops.push(`${colour} ${share(from, most)} ${share(to, most)}`);
    from = to;
  }
  if (from < most) stops.push(`${OUT_OF_REACH} ${share(from, most)} 100%`);
  return `linear-gradient(to right, ${stops.join(", ")}), var(--line)`;
}

/** @type {(speed: number, most: number) => string} */
const share = (speed, most) => `${((100 * (speed - 1)) / (most - 1)).toFixed(1)}%`;
