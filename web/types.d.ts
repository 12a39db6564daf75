// What the pack uses of ComfyUI's frontend. Only the type checker reads this file.

interface Widget {
  name: string;
  label?: string;
  value: any;
  options: Record<string, any>;
  callback?: (value: any, ...rest: any[]) => void;
  hidden?: boolean;
  serialize?: boolean;
  element?: HTMLElement;
  advanced?: boolean;
}

interface Link {
  id: number;
  origin_id: number | string;
  origin_slot: number;
  target_id: number | string;
  target_slot: number;
}

interface Slot {
  name: string;
  type: any;
  link?: number | null;
  links?: number[] | null;
  linkIds?: number[];
  widget?: { name: string };
}

interface GraphNode {
  id: number | string;
  comfyClass?: string;
  type?: string;
  title: string;
  mode: number;
  size: [number, number];
  inputs?: Slot[];
  outputs?: Slot[];
  widgets?: Widget[];
  properties: Record<string, any>;
  graph: Graph | null;
  subgraph?: Graph;
  addDOMWidget(name: string, type: string, element: HTMLElement, options: Record<string, any>): Widget;
  computeSize(...given: any[]): [number, number];
  setSize(size: [number, number]): void;
  removeWidget?(widget: Widget): void;
  setDirtyCanvas(foreground: boolean, background: boolean): void;
  showAdvanced?: boolean;
  configure?: (saved: any) => any;
  onExecuted?: (output: any) => void;
  onRemoved?: () => void;
  onDragOver?: (event: DragEvent) => boolean;
  onDragDrop?: (event: DragEvent) => boolean;
}

interface Graph {
  id?: string;
  nodes: GraphNode[];
  rootGraph?: Graph;
  inputs?: Slot[];
  outputs?: Slot[];
  getNodeById(id: number | string): GraphNode | null;
  getLink?(id: number | null | undefined): Link | null | undefined;
  links: any;
}

interface Window {
  app: any;
  LiteGraph?: any;
}

declare module "*/scripts/app.js" {
  export const app: any;
}

declare module "*/scripts/api.js" {
  export const api: any;
}
