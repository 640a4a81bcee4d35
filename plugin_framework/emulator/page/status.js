// What a task's status is called and looks like. Never by colour alone: each has a sign and a word.

import { attribute, h, s, text } from "/page/dom.js";

export const INITIAL = 0;
export const RUNNING = 1;
export const PAUSED = 2;
export const COMPLETED = 3;
export const CANCELLED = 4;
export const FAILED = 5;

const NAMES = ["Not started", "Running", "Paused", "Completed", "Cancelled", "Failed"];
const CLASSES = ["initial", "running", "paused", "completed", "cancelled", "failed"];
const SIGNS = {
  initial: "M8 3a5 5 0 1 0 0 10 5 5 0 0 0 0-10Z",
  running: "M5 3.5v9l7.5-4.5z",
  paused: "M5.5 3.5v9M10.5 3.5v9",
  completed: "M3 8.5l3.5 3.5L13 4.5",
  cancelled: "M3.5 8h9",
  failed: "M4 4l8 8M12 4l-8 8",
  lost: "M8 3v6.5M8 12.2v.8",
};
const ASKED = { [RUNNING]: "resume asked", [PAUSED]: "pause asked", [CANCELLED]: "cancel asked" };

export const STATUSES = NAMES.map((name, status) => ({ status, name }));
export const nameOf = (status) => NAMES[status] ?? `Status ${status}`;
export const classOf = (status) => CLASSES[status] ?? "initial";
export const isFinal = (status) => status >= COMPLETED;
export const askedOf = (requested) => ASKED[requested] ?? "";

// What can be asked of a task. Asking for what holds already takes back what was asked before.
export function asks({ status, requested }) {
  const isOver = isFinal(status) || requested === CANCELLED;
  const isPausing = status === RUNNING && requested === PAUSED;
  return {
    pause: !isOver && status === RUNNING && requested !== PAUSED,
    resume: !isOver && ((status === PAUSED && requested !== RUNNING) || isPausing),
    cancel: !isOver,
  };
}

export function badge() {
  const path = s("path", {});
  const sign = s(
    "svg",
    { viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true" },
    path,
  );
  const word = h("span");
  const more = h("span", { class: "asked" });
  const element = h("span", { class: "badge" }, sign, h("span", { class: "words" }, word, more));
  return {
    element,
    show(task) {
      const kind = task.lost && !isFinal(task.status) ? "lost" : classOf(task.status);
      attribute(element, "data-status", kind);
      attribute(path, "d", SIGNS[kind]);
      text(word, kind === "lost" ? "Lost" : nameOf(task.status));
      const asked = isFinal(task.status) ? "" : askedOf(task.requested);
      text(more, asked && ` ${asked}`);
    },
  };
}

export function progressBar(label) {
  const bar = h("progress", { max: 100, value: 0, "aria-label": label });
  const number = h("span", { class: "number", "aria-hidden": "true" });
  const element = h("span", { class: "progress" }, bar, number);
  return {
    element,
    show(task) {
      if (bar.value !== task.progress) bar.value = task.progress;
      attribute(bar, "data-status", classOf(task.status));
      text(number, `${task.progress}\u00a0%`);
    },
  };
}
