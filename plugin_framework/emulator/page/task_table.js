// The table of tasks, newest first.

import { h } from "/page/dom.js";
import { isFinal } from "/page/status.js";
import { COLUMNS, Row } from "/page/task_row.js";

export class TaskTable {
  rows = new Map(); // by the task's id
  #rates = {};
  #body = h("tbody", { role: "rowgroup" });

  constructor() {
    const heads = COLUMNS.map((name) =>
      h("th", { scope: "col", role: "columnheader", class: `of-${name.toLowerCase()}` }, name),
    );
    const head = h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads));
    const label = { role: "table", class: "list", "aria-label": "Tasks, newest first" };
    this.element = h("table", label, head, this.#body);
  }

  get size() {
    return this.rows.size;
  }

  get oldest() {
    return this.#body.lastElementChild?.row.task ?? null;
  }

  // Shows these and no others, in this order; rows that stay keep the focus and the place.
  replace(tasks) {
    const kept = new Set(tasks.map((task) => task.subtask_id));
    for (const row of [...this.rows.values()]) {
      if (!kept.has(row.task.subtask_id)) this.remove(row);
    }
    this.append(tasks);
  }

  append(tasks) {
    for (const task of tasks) {
      if (!this.update(task)) this.#insert(task);
    }
  }

  // Whether there is a row of this task. What is older than what the row shows is left aside.
  update(task) {
    const row = this.rows.get(task.subtask_id);
    if (row && row.task.revision <= task.revision) row.show(task);
    return Boolean(row);
  }

  // A task that came to be, or came to match, while the list was shown.
  add(task) {
    this.#insert(task);
  }

  remove(row) {
    row.element.remove();
    this.rows.delete(row.task.subtask_id);
  }

  tick() {
    for (const row of this.rows.values()) {
      if (!isFinal(row.task.status)) row.tick();
    }
  }

  showRates(rates) {
    const ids = new Set([...Object.keys(rates), ...Object.keys(this.#rates)]);
    for (const id of ids) this.rows.get(id)?.showRates(rates[id] ?? null);
    this.#rates = rates;
  }

  #insert(task) {
    const row = new Row(task);
    row.element.row = row;
    this.rows.set(task.subtask_id, row);
    // From the end: pages come in order, and a new task passes all of one screen at most.
    if (this.#isNewest(task)) this.#body.prepend(row.element);
    else this.#after(task).after(row.element);
  }

  #isNewest(task) {
    const first = this.#body.firstElementChild;
    return !first || first.row.task.created_at < task.created_at;
  }

  #after(task) {
    let place = this.#body.lastElementChild;
    while (place.row.task.created_at < task.created_at) place = place.previousElementSibling;
    return place;
  }
}
