// What pages and server tell each other. Made of nodes/panel/wire.py by
// tests/support/typescript.py.

declare namespace Wire {
  interface CalibrationEvent {
    workflow?: string | null;
    prompt?: string;
    node?: string;
    state: "running" | "finished" | "stopped";
    samples: number;
    samples_done: number;
    resumed: number;
    done: number;
    total: number;
    table: string;
    replaced?: boolean;
    seconds_left?: number | null;
    seconds_each?: number | null;
    curves?: Record<string, number[]> | null;
    gains?: Offer[];
  }

  interface Cell {
    reuse: boolean;
    reason: string;
    score: number | null;
    missed?: number | null;
    expected?: number | null;
  }

  interface ComparisonTold {
    node: string | null;
    workflow: string | null;
    notes: NoteTold[];
    files: string[];
    subfolder: string;
    width: number;
    height: number;
    numbers: number[];
    count: number;
    fps: number;
    gain: number;
  }

  interface CostQuestion {
    steps: number;
    samples: number;
    sensitivities?: string | null;
    video_steps?: number | null;
  }

  interface CostTold {
    code: string;
    values: Record<string, string | number>;
    evaluations: number;
  }

  interface EmbedQuestion {
    table: string;
  }

  interface EmbedTold {
    text: string;
  }

  interface Gain {
    speed_up: number;
    nfe: number;
    error: number | null;
    visibility: string | null;
  }

  interface MeasuredEvent {
    workflow?: string | null;
    prompt?: string;
    node?: string;
    table?: string;
  }

  interface Model {
    fingerprint: string;
    weights: string;
  }

  interface ModelEvent {
    workflow?: string | null;
    prompt?: string;
    node?: string;
    fingerprint: string;
    weights: string;
  }

  interface NewsQuestion {
    workflow: string;
    client: string;
  }

  interface NewsTold {
    runs: RunEvent[];
    calibrations: CalibrationEvent[];
  }

  interface NoteTold {
    code: string;
    values: Record<string, string | number>;
  }

  interface Offer {
    speed_up: number;
    nfe: number;
    error: number | null;
    visibility: string | null;
    target: number;
  }

  interface PanelsTold {
    texts: Record<string, Record<string, Record<string, string>>>;
  }

  interface PlanQuestion {
    settings?: Record<string, boolean | number | string | null>;
    sampling?: Sampling;
    tables?: string[];
    embedded?: string;
    model?: Model | null;
    connected?: boolean;
  }

  interface PlanTold {
    nfe: number;
    evaluations: number;
    speed_up: number;
    predicted_error: number | null;
    visibility: string | null;
    rule: string;
    governs: "speed" | "epsilon" | "exact" | "off";
    cells: Cell[];
    steps: number;
    scheduler: string;
    steps_known: boolean;
    table: TableTold;
    gains: Offer[];
    scale: Gain[];
    notes: NoteTold[];
  }

  interface Problem {
    code: string;
    values: Record<string, string | number>;
    text: string;
  }

  interface Refused {
    problem: Problem;
  }

  interface RunAbout {
    node: string | null;
    workflow: string | null;
    settings: Record<string, SettingTold>;
    thumbnail: string | null;
  }

  interface RunEvent {
    workflow?: string | null;
    prompt?: string;
    node?: string;
    stats: string[];
    expected: number;
    notes: NoteTold[];
    cells?: ([boolean, number | null, string])[] | null;
    summary?: RunTold | null;
  }

  interface RunTold {
    evaluations: number;
    steps_asked: number | null;
    nfe: number;
    reused: number;
    reuse_ratio: number;
    speed_up: number;
    aim: "speed" | "epsilon" | "exact" | "off";
    seconds: number;
    seconds_uncached: number;
    time_speed_up: number;
    seconds_computed: number | null;
    seconds_reused: number | null;
    seconds_saved: number;
    reasons: Record<string, number>;
    planned: number | null;
    predicted_error: number | null;
    visibility: string | null;
    surprise: number | null;
    complete: boolean;
    node_id: string | null;
    prompt: string | null;
    table: string;
    notes: NoteTold[];
    steps: StepMade[];
  }

  interface Sampling {
    steps?: number | null;
    scheduler?: string | null;
    sampler?: string | null;
    cfg?: number | null;
    denoise?: number;
    start?: number;
    end?: number | null;
    shift?: number | null;
    sigmas?: string | null;
    leftover_noise?: string | null;
  }

  interface SaveQuestion {
    text: string;
  }

  interface SaveTold {
    name: string;
    there: boolean;
  }

  interface SettingTold {
    class_type: string | null;
    inputs: Record<string, string | number | boolean>;
  }

  interface StepMade {
    sigma: number;
    action: "compute" | "reuse";
    reason: string;
    score: number | null;
    limit: number | null;
    seconds: number;
    missed: number | null;
    expected: number | null;
  }

  interface TableTold {
    name: string;
    source: string;
    model: string;
    fingerprint: string;
  }

  interface TakeQuestion {
    data: string;
  }

  interface TakenTold {
    name: string;
    samples: number;
    merged: boolean;
    there: boolean;
  }
}
