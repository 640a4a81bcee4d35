// One task: what it is doing, what became of it, and what can be asked of it.

import { Problem, get, send, taskPath } from "/page/api.js";
import { elapsed, heartbeatAge, now, receive } from "/page/clock.js";
import { DataView } from "/page/data_view.js";
import { button, enable, everySecond, h, heading, inFrames, show, text } from "/page/dom.js";
import { EventsTable } from "/page/events_table.js";
import { fileList } from "/page/files_list.js";
import { age, duration, moment, rate } from "/page/format.js";
import { Logs } from "/page/logs.js";
import { FAILED, asks, askedOf, badge, isFinal, nameOf, progressBar } from "/page/status.js";
import { Timeline } from "/page/timeline.js";

const FACTS = [
  ...[
    "Plugin",
    "Task id",
    "Created",
    "Started",
    "Ended",
    "Took",
    "Heartbeat",
    "Download",
    "Upload",
  ],
  "Service",
];
const DISPATCHED = {
  none: "not sent to a service",
  waiting: "not taken yet; tried again",
  accepted: "taken",
  refused: "refused",
};
const FILES_CHANGE = new Set(["upload", "result"]);
const AT_ONCE = 1000; // events or lines
const STALE_RATES = 3000; // milliseconds

export class TaskView {
  task = null;
  events = [];
  held = null; // what comes while all is loaded
  rates = {};
  ratesAt = 0;
  badge = badge();
  logs = new Logs();
  timeline = new Timeline();
  table = new EventsTable();
  config = new DataView("the configuration");
  result = new DataView("the result");

  constructor(app, { id }) {
    this.app = app;
    this.id = id;
    this.title = id;
    this.progress = progressBar("Progress");
    this.frames = inFrames(() => this.draw());
    this.element = this.build();
    this.connect();
    this.stopClock = everySecond(() => this.frames.ask());
    this.resized = new ResizeObserver(() => this.frames.ask());
    this.resized.observe(this.timeline.element);
  }

  // A stream of no task would be taken for a connection that is lost.
  async connect() {
    try {
      await get(taskPath(this.id));
    } catch (error) {
      this.fail(error);
      if (error.status === 404) return;
    }
    if (this.isClosed) return;
    this.live = this.app.live(`/local/stream?task=${encodeURIComponent(this.id)}`, {
      open: () => this.load(),
      reset: () => this.load(),
      tasks: ({ tasks }) => this.receive(tasks),
      rates: (rates) => this.receiveRates(rates),
      events: (events) => this.receiveEvents(events),
      logs: (lines) => this.receiveLogs(lines),
    });
  }

  close() {
    this.isClosed = true;
    this.live?.close();
    this.stopClock();
    this.frames.stop();
    this.resized.disconnect();
  }

  build() {
    this.problem = h("p", { class: "problem", role: "alert", hidden: true });
    this.asked = h("p", { class: "asked-note", role: "status" });
    this.body = h("div", { class: "body", hidden: true });
    this.body.append(
      this.buildReason(),
      section("Timeline", [], this.timeline.element, this.table.element),
      h("div", { class: "columns" }, this.buildMain(), this.buildAside()),
    );
    const crumb = h("a", { href: "#/" }, "Tasks");
    const name = h("nav", { class: "crumb", "aria-label": "Breadcrumb" }, crumb, " /");
    const lead = h("div", { class: "lead" }, heading(1, h("span", { class: "id" }, this.id)));
    lead.append(this.buildActions());
    const line = h(
      "div",
      { class: "line-of" },
      this.badge.element,
      this.progress.element,
      this.asked,
    );
    this.state = line;
    return h("div", { class: "view task" }, name, lead, line, this.problem, this.body);
  }

  buildActions() {
    this.actions = {
      pause: button("Pause", () => this.ask("pause")),
      resume: button("Resume", () => this.ask("resume")),
      cancel: button("Cancel", () => this.ask("cancel"), { class: "danger" }),
    };
    const group = { class: "actions", role: "group", "aria-label": "Ask the plugin to" };
    return h("div", group, Object.values(this.actions));
  }

  buildReason() {
    this.why = h("strong");
    this.reason = h("span", { class: "words" });
    this.reasonBox = h("div", { class: "callout", hidden: true }, this.why, this.reason);
    return this.reasonBox;
  }

  buildMain() {
    this.resultSection = section("Result", [this.buildResultTools()], this.result.element);
    const logs = section("Log", [this.logs.tools], this.logs.element);
    return h("div", { class: "wide" }, this.resultSection, logs);
  }

  buildResultTools() {
    const href = taskPath(this.id, "result");
    const link = h("a", { href, download: `${this.id}-result.json` }, "Download");
    return h("span", { class: "beside" }, link, this.result.tools);
  }

  buildAside() {
    this.facts = new Map(FACTS.map((name) => [name, h("dd")]));
    const pairs = FACTS.map((name) => h("div", {}, h("dt", {}, name), this.facts.get(name)));
    this.input = h("div");
    this.outputs = h("div");
    return h(
      "div",
      { class: "side" },
      section("Facts", [], h("dl", { class: "facts" }, pairs)),
      section("Input", [], this.input),
      section("Outputs", [], this.outputs),
      section("Configuration", [this.config.tools], this.config.element),
    );
  }

  // What comes meanwhile is held back: events and lines are taken in their order.
  async load() {
    if (this.held) return;
    this.held = { events: [], logs: [] };
    try {
      this.take(receive(await get(taskPath(this.id))));
      const last = this.events.at(-1)?.number ?? 0;
      for await (const events of pages(taskPath(this.id, "events"), last)) this.addEvents(events);
      const line = this.logs.last;
      for await (const lines of pages(taskPath(this.id, "logs"), line)) this.logs.add(lines);
      await this.loadFiles();
      show(this.problem, false);
    } catch (error) {
      this.fail(error);
    }
    const { events, logs } = this.held;
    this.held = null;
    this.addEvents(events);
    this.logs.add(logs);
  }

  fail(error) {
    if (!(error instanceof Problem)) throw error;
    text(this.problem, error.message);
    show(this.problem, true);
  }

  async loadFiles() {
    const outputs = await get(taskPath(this.id, "outputs"));
    const { input } = this.task;
    const inputs = input ? [{ ...input, href: taskPath(this.id, "input") }] : [];
    this.input.replaceChildren(fileList(inputs, "None."));
    const none = this.task.ended_at === null ? "None yet." : "None.";
    this.outputs.replaceChildren(fileList(outputs, none));
  }

  receive(tasks) {
    const found = tasks.find((task) => task.subtask_id === this.id);
    if (!found) return;
    const isOver = this.task && !isFinal(this.task.status) && isFinal(found.status);
    this.take(receive(found));
    if (isOver) this.load(); // the result comes with the single task alone
  }

  take(task) {
    if (this.task && this.task.revision > task.revision) return;
    const before = this.task?.status;
    this.task = { ...this.task, ...task }; // of the stream, it has no config and no result
    if (before !== undefined && before !== task.status) {
      const why = task.status === FAILED && task.reason ? `: ${task.reason}` : "";
      this.app.say(`${nameOf(task.status)}${why}`);
    }
    this.frames.ask();
  }

  receiveRates(rates) {
    this.rates = rates[this.id] ?? {};
    this.ratesAt = performance.now();
    this.frames.ask();
  }

  receiveEvents(events) {
    if (this.held) this.held.events.push(...events);
    else this.addEvents(events);
  }

  receiveLogs(lines) {
    if (this.held) this.held.logs.push(...lines);
    else this.logs.add(lines);
  }

  addEvents(events) {
    const last = this.events.at(-1)?.number ?? 0;
    const fresh = events.filter(({ number }) => number > last);
    if (!fresh.length) return;
    this.events.push(...fresh);
    if (!this.held && fresh.some(({ kind }) => FILES_CHANGE.has(kind))) {
      this.loadFiles().catch((error) => this.fail(error));
    }
    this.frames.ask();
  }

  async ask(action) {
    try {
      this.take(receive(await send("POST", taskPath(this.id, action))));
      show(this.problem, false);
    } catch (error) {
      this.fail(error);
    }
  }

  draw() {
    const { task } = this;
    show(this.state, Boolean(task));
    show(this.body, Boolean(task));
    const can = task ? asks(task) : {};
    for (const [name, action] of Object.entries(this.actions)) enable(action, can[name] ?? false);
    if (!task) return;
    this.app.setTitle(`${nameOf(task.status)} \u00b7 ${this.id}`);
    this.badge.show({ ...task, requested: null });
    this.progress.show(task);
    const asked = isFinal(task.status) ? "" : askedOf(task.requested);
    text(this.asked, asked && `${asked}, not confirmed by the plugin yet`);
    this.drawReason(task);
    this.drawFacts(task);
    const { config = {}, result = null } = task;
    this.config.show(config);
    show(this.resultSection, result !== null);
    this.result.show(result);
    this.timeline.draw(task, this.events);
    this.table.show(this.events, task.created_at);
  }

  drawReason({ status, reason, lost }) {
    const why = lost && !isFinal(status) ? "Lost: nothing has come for a while." : reason;
    const label = status === FAILED ? "Why it failed" : "What holds it up";
    text(this.why, label);
    text(this.reason, why ?? "");
    show(this.reasonBox, Boolean(why));
    this.reasonBox.dataset.status = status === FAILED ? "failed" : "waiting";
  }

  drawFacts(task) {
    const isLive = !isFinal(task.status);
    const time = (at) => (at ? moment(at) : "");
    const beat = isLive ? heartbeatAge(task) : null;
    const took = elapsed(task);
    const rates = performance.now() - this.ratesAt < STALE_RATES ? this.rates : {};
    const facts = {
      Plugin: task.plugin ?? "",
      "Task id": task.task_id ?? "",
      Created: `${moment(task.created_at)}, ${age(now() - task.created_at)} ago`,
      Started: time(task.started_at),
      Ended: time(task.ended_at),
      Took: took === null ? "" : duration(took),
      Heartbeat: beat === null ? "" : `${age(beat)} ago`,
      Download: rates.down ? rate(rates.down) : "",
      Upload: rates.up ? rate(rates.up) : "",
      Service: DISPATCHED[task.dispatch] ?? "",
    };
    for (const [name, value] of Object.entries(facts)) {
      text(this.facts.get(name), value);
      show(this.facts.get(name).parentElement, Boolean(value));
    }
  }
}

// Page by page: one answer holds so many at most.
async function* pages(path, after) {
  let last = after;
  let page = [];
  do {
    page = await get(`${path}?after=${last}&limit=${AT_ONCE}`);
    yield page;
    last = page.at(-1)?.number ?? last;
  } while (page.length === AT_ONCE);
}

let serial = 0;

function section(name, tools, ...children) {
  const id = `section-${(serial += 1)}`;
  const head = h("div", { class: "head" }, h("h2", { id }, name), tools);
  return h("section", { "aria-labelledby": id }, head, children);
}
