// The timeline of a task as a picture. The table of events beside it says the same in words.

import { now } from "/page/clock.js";
import { h, s } from "/page/dom.js";
import { moved, words } from "/page/events.js";
import { bytes, clock, duration, rate } from "/page/format.js";
import { classOf, nameOf } from "/page/status.js";
import { bars, beats, marks, scale, statusSpans, ticks } from "/page/timeline_plan.js";

const GUTTER = 92; // pixels of the lanes' names, where there is room for them
const NARROW = 560;
const EDGE = 8;
const LANE = { status: 22, progress: 48, bar: 11, marks: 20, gap: 12, name: 14, axis: 22 };
const CHARACTER = 6.4; // pixels, about
const MARKS = {
  operator: "M-5 -6h10l-5 10z",
  fault: "M0 -6l6 6-6 6-6-6z",
  refused: "M-5 -5l10 10M5 -5l-10 10",
  lost: "M0 -6v8M0 5v1.5",
  found: "M-5 0l4 4 6-8",
};
const MARK_NAMES = {
  operator: "operator",
  fault: "fault",
  refused: "call not taken",
  lost: "lost",
  found: "found",
};

export class Timeline {
  #svg = s("svg", { class: "timeline", role: "img", "aria-labelledby": "timeline-name" });
  #legend = h("p", { class: "legend", "aria-hidden": "true" });
  element = h("div", { class: "picture" }, this.#svg, this.#legend);

  // Draws it at the width that the element has. `events` in order of time.
  draw(task, events) {
    const whole = this.element.clientWidth;
    if (!whole) return;
    const isNarrow = whole < NARROW;
    const left = isNarrow ? 1 : GUTTER;
    const span = scale(task, events, whole - left - EDGE, now());
    const canvas = new Canvas(left, isNarrow);
    canvas.lane("Status", LANE.status, (g) => drawStatus(g, statusSpans(task, events, span), span));
    canvas.lane("Progress", LANE.progress, (g) => drawBeats(g, beats(events, span), span));
    drawTransfers(canvas, bars(events, span), span);
    const found = marks(events, span);
    if (found.length) canvas.lane("Marks", LANE.marks, (g) => drawMarks(g, found));
    const height = canvas.y + LANE.axis;
    const name = s("title", { id: "timeline-name" }, summary(task, events, span));
    this.#svg.setAttribute("viewBox", `0 0 ${whole} ${height}`);
    this.#svg.setAttribute("height", height);
    this.#svg.replaceChildren(name, axis(span, left, canvas.y), ...canvas.parts);
    this.#legend.replaceChildren(...legend(found));
  }
}

// Lanes below each other. Where it is narrow their names stand above them.
class Canvas {
  parts = [];
  y = 2;

  constructor(left, isNarrow) {
    this.left = left;
    this.isNarrow = isNarrow;
  }

  lane(name, height, draw) {
    if (this.isNarrow) this.y += LANE.name;
    const group = s("g", { transform: `translate(${this.left} ${this.y})` });
    const place = this.isNarrow ? { x: 0, y: -4 } : { x: -12, y: 15, "text-anchor": "end" };
    group.append(s("text", { ...place, class: "lane" }, name));
    draw(group, height);
    this.parts.push(group);
    this.y += height + LANE.gap;
  }
}

const titled = (element, ...lines) => {
  element.append(s("title", {}, lines.join("\n")));
  return element;
};

function drawStatus(group, spans, { at, to }) {
  for (const { status, from, to: end } of spans) {
    const isEnd = end === to && from === end;
    const x = isEnd ? at(from) - 3 : at(from);
    const width = Math.max(3, at(end) - x);
    const box = s("rect", { x, y: 0, width, height: LANE.status, class: `is ${classOf(status)}` });
    const name = nameOf(status);
    group.append(titled(box, `${name}, ${duration(end - from)}`, `from ${clock(from)}`));
    if (width > name.length * CHARACTER + 12) {
      group.append(s("text", { x: x + 7, y: 15, class: `in ${classOf(status)}` }, name));
    }
  }
}

function drawBeats(group, points, { width }) {
  const { progress: height } = LANE;
  const y = (progress) => height - (Math.min(100, Math.max(0, progress)) / 100) * (height - 4);
  group.append(s("path", { class: "ground", d: `M0 ${height}H${width}M0 4H${width}` }));
  if (!points.length) {
    group.append(s("text", { x: 7, y: 28, class: "none" }, "No heartbeat yet"));
    return;
  }
  // A step: progress is known from one heartbeat to the next.
  const steps = points.map(({ x, progress }, n) => `${n ? `H${x}` : ""}V${y(progress)}`).join("");
  const last = points.at(-1);
  group.append(
    s("path", { class: "area", d: `M${points[0].x} ${height}${steps}H${width}V${height}Z` }),
    s("path", { class: "line", d: `M${points[0].x} ${height}${steps}H${width}` }),
    s("path", { class: "beats", d: points.map(({ x }) => `M${x} ${height}v-5`).join("") }),
  );
  const isFar = last.x > width - 40;
  const place = { x: isFar ? last.x - 6 : last.x + 6, "text-anchor": isFar ? "end" : "start" };
  const below = Math.min(height - 6, y(last.progress) + (isFar ? 14 : 4));
  group.append(s("text", { ...place, y: below, class: "value" }, `${last.progress}\u00a0%`));
}

function drawTransfers(canvas, all, span) {
  const names = { get: "Download", put: "Upload" };
  for (const kind of ["get", "put"]) {
    const shown = all.filter(({ event }) => event.kind === kind);
    if (!shown.length) continue;
    const rows = [...new Set(shown.map(({ row }) => row))].sort((one, other) => one - other);
    const height = Math.max(rows.length * LANE.bar, LANE.status);
    canvas.lane(names[kind], height, (group) => {
      for (const bar of shown) drawBar(group, bar, rows.indexOf(bar.row) * LANE.bar);
      drawTotal(group, shown, span, height);
    });
  }
}

function drawBar(group, { event, x, width }, y) {
  const { detail, kind, at } = event;
  const box = s("rect", { x, y, width, height: LANE.bar - 2, rx: 1.5, class: `bar ${kind}` });
  group.append(titled(box, moved(detail), `ended ${clock(at)}`));
  const speed = detail.seconds > 0 ? ` ${rate(detail.bytes / detail.seconds)}` : "";
  const label = `${bytes(detail.bytes ?? 0)}${speed}`;
  if (width > label.length * CHARACTER + 8) {
    group.append(s("text", { x: x + 5, y: y + 8, class: "on" }, label));
  }
}

// All of a lane's bytes, and how fast they went, where there is room beside the bars.
function drawTotal(group, shown, { width }, height) {
  const sum = shown.reduce((total, { event }) => total + (event.detail.bytes ?? 0), 0);
  const seconds =
    Math.max(...shown.map(({ to }) => to)) - Math.min(...shown.map(({ from }) => from));
  const speed = seconds > 0 ? `, ${rate(sum / seconds)}` : "";
  const label = `${bytes(sum)}${speed}`;
  const first = Math.min(...shown.map(({ x }) => x));
  const last = Math.max(...shown.map((bar) => bar.x + bar.width));
  const isAfter = width - last > label.length * CHARACTER;
  if (!isAfter && first < label.length * CHARACTER) return;
  const place = isAfter ? { x: last + 8 } : { x: first - 8, "text-anchor": "end" };
  group.append(s("text", { ...place, y: height / 2 + 3, class: "value" }, label));
}

function drawMarks(group, found) {
  for (const { kind, x, events } of found) {
    const sign = s("path", {
      d: MARKS[kind],
      class: `mark ${kind}`,
      transform: `translate(${x} ${LANE.marks / 2})`,
    });
    const lines = events.slice(0, 8).map((event) => `${clock(event.at)} ${words(event)}`);
    const more = events.length > lines.length ? [`and ${events.length - lines.length} more`] : [];
    group.append(titled(sign, ...lines, ...more));
    if (events.length > 1) {
      const place = { x: x + 8, y: LANE.marks / 2 + 4, class: "value" };
      group.append(s("text", place, `\u00d7${events.length}`));
    }
  }
}

function axis(span, left, y) {
  const group = s("g", { class: "axis", transform: `translate(${left} 0)` });
  const all = ticks(span);
  for (const { x, seconds, step } of all) {
    const anchor = x > span.width - 30 ? "end" : "start";
    const label = seconds === 0 ? "0" : shortened(seconds, step);
    group.append(s("path", { d: `M${x} 0V${y}` }));
    group.append(
      s("text", { x: x + (anchor === "end" ? -4 : 3), y: y + 12, "text-anchor": anchor }, label),
    );
  }
  return group;
}

const shortened = (seconds, step) =>
  step < 1 ? `${seconds.toFixed(step < 0.1 ? 2 : 1)}\u00a0s` : duration(seconds).replace(".0", "");

function legend(found) {
  const kinds = [...new Set(found.map(({ kind }) => kind))];
  return kinds.map((kind) => {
    const path = s("path", { d: MARKS[kind], class: `mark ${kind}`, transform: "translate(8 8)" });
    const sign = s("svg", { width: 16, height: 16, viewBox: "0 0 16 16" }, path);
    return h("span", {}, sign, MARK_NAMES[kind]);
  });
}

function summary(task, events, { from, to }) {
  const count = (kind) => events.filter((event) => event.kind === kind && !event.code).length;
  const parts = [
    `Timeline of ${task.subtask_id}: ${nameOf(task.status).toLowerCase()}`,
    `${duration(to - from)} since it was created`,
    `${count("heartbeat")} heartbeats`,
    `${count("get")} downloads`,
    `${count("put")} uploads`,
    `${count("fault")} faults`,
  ];
  return `${parts.join(", ")}. The table of events says it in words.`;
}
