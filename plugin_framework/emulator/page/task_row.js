// A row of the list of tasks, updated in place.

import { elapsed, heartbeatAge, now } from "/page/clock.js";
import { attribute, h, text } from "/page/dom.js";
import { age, iso, moment, rate } from "/page/format.js";
import { badge, isFinal, progressBar } from "/page/status.js";

export const COLUMNS = [
  ...["Status", "Task", "Plugin", "Progress", "Heartbeat", "Transfer", "Created", "Took"],
];

const cell = (kind, ...children) => h("td", { class: kind, role: "cell" }, ...children);

export class Row {
  constructor(task) {
    this.badge = badge();
    this.link = h("a", { class: "id", href: `#/tasks/${encodeURIComponent(task.subtask_id)}` });
    text(this.link, task.subtask_id);
    this.file = h("span", { class: "file" }, task.input?.name ?? "");
    this.reason = h("span", { class: "reason" });
    this.plugin = h("span", {});
    this.progress = progressBar(`Progress of ${task.subtask_id}`);
    this.beat = h("span", {});
    this.up = h("span", { class: "up" });
    this.down = h("span", { class: "down" });
    this.created = h("time", { datetime: iso(task.created_at), title: moment(task.created_at) });
    this.took = h("span", {});
    this.element = h(
      "tr",
      { role: "row" },
      cell("status", this.badge.element),
      cell("task", this.link, this.file, this.reason),
      cell("plugin", this.plugin),
      cell("bar", this.progress.element),
      cell("beat", this.beat),
      cell("rates", this.down, this.up),
      cell("created", this.created),
      cell("took", this.took),
    );
    this.rates = null;
    this.show(task);
  }

  show(task) {
    this.task = task;
    this.badge.show(task);
    this.progress.show(task);
    text(this.plugin, task.plugin ?? "");
    const reason = task.reason ?? "";
    text(this.reason, reason);
    attribute(this.reason, "title", reason || null);
    attribute(this.reason, "data-status", isFinal(task.status) ? "failed" : "waiting");
    this.tick();
  }

  showRates(rates) {
    this.rates = rates;
    text(this.down, rates?.down ? `\u2193\u00a0${rate(rates.down)}` : "");
    text(this.up, rates?.up ? `\u2191\u00a0${rate(rates.up)}` : "");
  }

  // What changes with time alone.
  tick() {
    const { task } = this;
    const beat = isFinal(task.status) ? null : heartbeatAge(task);
    text(this.beat, beat === null ? "" : age(beat));
    attribute(this.beat, "data-late", beat !== null && beat > LATE);
    text(this.created, age(now() - task.created_at));
    const took = elapsed(task);
    text(this.took, took === null ? "" : age(took));
  }
}

const LATE = 60; // seconds: two heartbeats
