// The list of tasks: live, filtered, paged.

import { Problem, get } from "/page/api.js";
import { receive } from "/page/clock.js";
import { attribute, button, everySecond, h, heading, inFrames, show, text } from "/page/dom.js";
import { plural } from "/page/format.js";
import { STATUSES, nameOf } from "/page/status.js";
import { TaskTable } from "/page/task_table.js";

const PAGE = 200; // tasks fetched at once
const TYPING = 250; // milliseconds after the last key until the search is made
const STALE_RATES = 3000; // milliseconds

export class TasksView {
  title = "Tasks";
  filter;
  counts = {};
  rates = {};
  ratesAt = 0;
  next = null; // where the next page begins; null after the last
  wanted = PAGE; // rows; new tasks may add a page to them
  incoming = new Map(); // tasks by id, not drawn yet
  tabs = new Map();
  table = new TaskTable();

  constructor(app, { query }) {
    this.app = app;
    this.filter = { status: query.get("status") ?? "", search: query.get("search") ?? "" };
    this.frames = inFrames(() => this.draw());
    this.element = this.build();
    this.live = app.live("/local/stream", {
      open: () => this.load(),
      reset: () => this.load(),
      tasks: (data) => this.receive(data),
      rates: (data) => this.receiveRates(data),
    });
    this.stopClock = everySecond(() => this.frames.ask());
  }

  close() {
    this.live.close();
    this.stopClock();
    this.frames.stop();
    clearTimeout(this.typing);
    this.loading?.abort();
  }

  build() {
    this.more = button("Show older tasks", () => this.load({ older: true }), { class: "more" });
    this.note = h("p", { class: "note" });
    this.empty = h("div", { class: "empty", hidden: true });
    this.problem = h("p", { class: "problem", role: "alert", hidden: true });
    const add = h("a", { class: "button primary", href: "#/new" }, "New task");
    return h(
      "div",
      { class: "view tasks" },
      h("div", { class: "lead" }, heading(1, "Tasks"), add),
      h("div", { class: "tools" }, this.buildTabs(), this.buildSearch()),
      this.problem,
      this.table.element,
      this.empty,
      h("div", { class: "end" }, this.note, this.more),
    );
  }

  buildTabs() {
    const all = [{ status: "", name: "All" }, ...STATUSES];
    const tabs = all.map(({ status, name }) => {
      const count = h("span", { class: "count" });
      const tab = button(name, () => this.choose(String(status)), { class: "tab" });
      tab.append(" ", count);
      this.tabs.set(String(status), { tab, count });
      return tab;
    });
    return h("div", { class: "tabs", role: "group", "aria-label": "Filter by status" }, tabs);
  }

  buildSearch() {
    this.search = h("input", {
      type: "search",
      placeholder: "Search",
      autocomplete: "off",
      spellcheck: "false",
      prop: { value: this.filter.search },
      on: { input: () => this.typed() },
    });
    const name = h("span", { class: "unseen" }, "Search tasks");
    return h("label", { class: "search" }, name, this.search);
  }

  choose(status) {
    this.filter.status = status;
    this.filtered();
  }

  typed() {
    clearTimeout(this.typing);
    this.typing = setTimeout(() => {
      this.filter.search = this.search.value.trim();
      this.filtered();
    }, TYPING);
  }

  filtered() {
    this.wanted = PAGE;
    this.app.setQuery(this.query());
    this.load();
  }

  query() {
    return new URLSearchParams(Object.entries(this.filter).filter(([, value]) => value));
  }

  // `older`: the next page. Else as many as are shown, anew.
  async load({ older = false } = {}) {
    this.loading?.abort();
    const loading = new AbortController();
    this.loading = loading;
    try {
      const wanted = older ? PAGE : this.wanted;
      const found = await this.fetch(older ? this.next : null, wanted, loading.signal);
      this.loaded(found, older);
    } catch (error) {
      if (!(error instanceof Problem)) return;
      text(this.problem, error.message);
      show(this.problem, true);
    }
  }

  loaded({ tasks, next, counts }, older) {
    const received = tasks.map(receive);
    if (older) this.table.append(received);
    else this.table.replace(received);
    if (older) this.wanted += PAGE;
    this.next = next;
    this.counts = counts;
    show(this.problem, false);
    this.isLoaded = true;
    this.frames.ask();
  }

  // Some pages, where more are wanted than one answer holds.
  async fetch(before, wanted, signal) {
    const tasks = [];
    let page = { next: before };
    do {
      const query = this.query();
      query.set("limit", String(PAGE));
      if (page.next !== null) query.set("before", page.next);
      page = await get(`/local/tasks?${query}`, { signal });
      tasks.push(...page.tasks);
    } while (page.next !== null && tasks.length < wanted);
    return { ...page, tasks };
  }

  receive({ tasks, counts }) {
    for (const task of tasks) this.incoming.set(task.subtask_id, receive(task));
    if (counts) this.counts = counts;
    this.frames.ask();
  }

  receiveRates(rates) {
    this.ratesAt = performance.now();
    this.rates = rates;
    this.frames.ask();
  }

  draw() {
    const incoming = [...this.incoming.values()];
    this.incoming.clear();
    this.announce(incoming);
    for (const task of incoming) this.place(task);
    if (performance.now() - this.ratesAt > STALE_RATES) this.rates = {};
    if (this.table.size >= this.wanted + PAGE) this.load();
    this.table.showRates(this.rates);
    this.table.tick();
    this.drawCounts();
  }

  place(task) {
    const row = this.table.rows.get(task.subtask_id);
    const isHeld = row?.element.contains(document.activeElement);
    if (row && !this.hasStatus(task) && !isHeld) this.table.remove(row);
    else if (!this.table.update(task) && this.isOfList(task)) {
      this.table.add(task);
    }
  }

  hasStatus(task) {
    return this.filter.status === "" || this.filter.status === String(task.status);
  }

  isOfList(task) {
    const sought = this.filter.search.toLowerCase();
    const texts = [task.subtask_id, task.task_id, task.plugin, task.input?.name, task.reason];
    const isFound = !sought || texts.some((given) => given?.toLowerCase().includes(sought));
    const oldest = this.next === null ? null : this.table.oldest; // older ones are on later pages
    const isRecent = !oldest || task.created_at >= oldest.created_at;
    return this.isLoaded && this.hasStatus(task) && isFound && isRecent;
  }

  announce(incoming) {
    const changed = incoming.filter((task) => {
      const before = this.table.rows.get(task.subtask_id)?.task;
      return before && before.status !== task.status;
    });
    const few = changed.length <= 3;
    const lines = changed.map((task) => `${task.subtask_id}: ${nameOf(task.status)}`);
    if (changed.length) {
      this.app.say(few ? lines.join(". ") : `${changed.length} tasks changed their status`);
    }
  }

  drawCounts() {
    let total = 0;
    for (const { status } of STATUSES) total += this.counts[status] ?? 0;
    for (const [status, { tab, count }] of this.tabs) {
      text(count, String(status === "" ? total : (this.counts[status] ?? 0)));
      attribute(tab, "aria-pressed", String(this.filter.status === status));
    }
    show(this.more, this.next !== null);
    show(this.table.element, this.table.size > 0);
    const isEmpty = this.isLoaded && this.table.size === 0;
    text(this.note, this.table.size ? `${plural(this.table.size, "task")} shown` : "");
    show(this.empty, isEmpty);
    if (isEmpty) this.drawEmpty(total);
  }

  drawEmpty(total) {
    if (this.empty.dataset.of === String(total > 0)) return;
    this.empty.dataset.of = String(total > 0);
    const lines = total
      ? [h("p", {}, "No task matches.")]
      : [
          h("p", { class: "large" }, "No tasks yet."),
          h(
            "p",
            {},
            "On ",
            h("a", { href: "#/new" }, "New task"),
            " you choose a plugin, drop an input file and fill its form.",
          ),
        ];
    this.empty.replaceChildren(...lines);
  }
}
