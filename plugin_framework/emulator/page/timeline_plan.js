// What the timeline shows, before it is drawn: spans of time and what goes where. No elements here.

import { TRANSFERS, markOf } from "/page/events.js";
import { isFinal } from "/page/status.js";

const ROWS = 6; // of transfers side by side; more of them share the last one
const TICK_WIDTH = 90; // pixels between the ticks of the axis, at least
const STEPS = [
  ...[0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800],
  ...[3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800],
];

// `from` and `to` in Unix seconds; `at(time)` gives pixels from the left edge.
export function scale(task, events, width, now) {
  const last = events.at(-1)?.at ?? task.created_at;
  const end = isFinal(task.status) ? (task.ended_at ?? last) : now;
  const first = Math.min(task.created_at, events[0]?.at ?? task.created_at);
  const to = Math.max(end, last, first + 0.5);
  const at = (time) => ((time - first) / (to - first)) * width;
  return { from: first, to, at, width };
}

export function ticks({ from, to, width, at }) {
  const count = Math.max(1, Math.floor(width / TICK_WIDTH));
  const step = STEPS.find((size) => (to - from) / size <= count) ?? (to - from) / count;
  const found = [];
  for (let offset = 0; offset <= to - from; offset += step) {
    found.push({ x: at(from + offset), seconds: offset, step });
  }
  return found;
}

// The statuses that held, one after the other. A result completes a task without saying so.
export function statusSpans(task, events, { from, to }) {
  const changes = [{ at: from, status: 0 }];
  for (const { at, kind, detail, code } of events) {
    if (code) continue;
    if (kind === "status") changes.push({ at, status: detail.status });
    if (kind === "result") changes.push({ at, status: 3 });
  }
  if (isFinal(task.status) && changes.at(-1).status !== task.status) {
    changes.push({ at: task.ended_at ?? to, status: task.status });
  }
  const distinct = changes.filter(({ status }, n) => n === 0 || changes[n - 1].status !== status);
  return distinct.map(({ at, status }, n) => ({
    status,
    from: at,
    to: distinct[n + 1]?.at ?? to,
  }));
}

// Progress over time, thinned to one point for each pixel: thousands of heartbeats draw as fast.
export function beats(events, { at }) {
  const found = [];
  for (const { at: time, kind, detail, code } of events) {
    if ((kind !== "heartbeat" && kind !== "result") || code) continue;
    const progress = kind === "result" ? 100 : detail.process;
    const x = Math.round(at(time));
    if (found.at(-1)?.x === x) found.at(-1).progress = progress;
    else found.push({ x, progress });
  }
  return found;
}

// Bars in rows, so that those of one time lie side by side. What is told is when they ended.
export function bars(events, { at, from }) {
  const transfers = events
    .filter(({ kind, code }) => TRANSFERS.has(kind) && !code)
    .map((event) => ({
      event,
      from: Math.max(from, event.at - (event.detail.seconds ?? 0)),
      to: event.at,
    }))
    .sort((one, other) => one.from - other.from);
  const free = []; // by row, the pixel from which it is empty
  return transfers.map((bar) => {
    const x = at(bar.from);
    const width = Math.max(2, at(bar.to) - x);
    let row = free.findIndex((edge) => edge <= x);
    if (row < 0) row = Math.min(free.length, ROWS - 1);
    free[row] = Math.max(free[row] ?? 0, x + width + 1);
    return { ...bar, x, width, row };
  });
}

// Marks of one kind in one place are one mark, with their number.
export function marks(events, { at }) {
  const found = new Map();
  for (const event of events) {
    const kind = markOf(event);
    if (!kind) continue;
    const key = `${kind} ${Math.round(at(event.at) / 6)}`;
    const mark = found.get(key) ?? { kind, x: at(event.at), events: [] };
    mark.events.push(event);
    found.set(key, mark);
  }
  return [...found.values()];
}
