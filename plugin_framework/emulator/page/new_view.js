// A new task: a plugin, an input file, and what the plugin's own form yields.

import { Problem, get, send, taskPath } from "/page/api.js";
import { ConfigForm } from "/page/config_form.js";
import { button, enable, h, heading, show, text } from "/page/dom.js";
import { DropZone } from "/page/drop_zone.js";
import { PluginChoice } from "/page/plugin_choice.js";

const WAIT = 3000; // milliseconds for the form to be there; and for the service to take the task
const STEP = 150;

const passed = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export class NewView {
  title = "New task";

  constructor(app) {
    this.app = app;
    this.choice = new PluginChoice((name) => this.choose(name));
    this.drop = new DropZone();
    this.element = this.build();
    // A file dropped beside the zone would otherwise take the place of the page.
    this.listening = new AbortController();
    const { signal } = this.listening;
    for (const kind of ["dragover", "drop"]) {
      addEventListener(kind, (event) => event.preventDefault(), { signal });
    }
    this.choice.refresh();
  }

  close() {
    this.isClosed = true;
    this.listening.abort();
    this.choice.close();
    this.drop.clear();
  }

  build() {
    this.form = h("div");
    this.preview = h("pre", { class: "json", tabindex: "0", role: "region", "aria-label": "JSON" });
    const shown = h(
      "details",
      { class: "more-of" },
      h("summary", {}, "What will be sent as config"),
    );
    shown.append(this.preview);
    this.create = button("Create task", () => this.submit(), { class: "primary" });
    this.problem = h("div", { class: "problem", role: "alert", tabindex: "-1", hidden: true });
    this.note = h("span", { class: "hint", role: "status" });
    const before = h(
      "div",
      { class: "before" },
      step("1", "Plugin", this.choice.element),
      step("2", "Input file", this.drop.element),
      step("3", "Names, if you like", this.names()),
    );
    return h(
      "div",
      { class: "view new" },
      h("div", { class: "lead" }, heading(1, "New task")),
      h("div", { class: "steps" }, before, step("4", "Configuration", this.form, shown)),
      this.problem,
      h("div", { class: "send" }, this.create, this.note),
    );
  }

  names() {
    const field = (id, label, hint) => {
      const input = h("input", {
        type: "text",
        id,
        autocomplete: "off",
        spellcheck: "false",
        "aria-describedby": `${id}-hint`,
      });
      const note = h("p", { class: "hint", id: `${id}-hint` }, hint);
      return {
        input,
        element: h("div", { class: "field" }, h("label", { for: id }, label), input, note),
      };
    };
    this.subtask = field("subtask-id", "Subtask id", "Left empty, one is made up.");
    this.task = field("task-id", "Task id", "What notify is asked for, where it is given.");
    return h("div", { class: "fields" }, this.subtask.element, this.task.element);
  }

  choose(name) {
    if (this.config?.name === name) return;
    this.fail("");
    this.config = name
      ? new ConfigForm(name, (config) => text(this.preview, JSON.stringify(config, null, 2)))
      : null;
    const none = h("p", { class: "none" }, "Choose a plugin first.");
    this.form.replaceChildren(this.config?.element ?? none);
  }

  fail(message, ...more) {
    this.problem.replaceChildren(message, ...more);
    show(this.problem, Boolean(message));
  }

  // What hinders sending; "" where nothing does.
  hindrance() {
    if (!this.config) return "Choose a plugin first.";
    if (this.drop.isUploading) return "The input file is still being uploaded.";
    return this.drop.problem || this.config.check();
  }

  async submit() {
    enable(this.create, false);
    try {
      // A form may take its time, or never be there: `hindrance` says so.
      await Promise.race([this.config?.loaded, passed(WAIT)]);
      const hindrance = this.hindrance();
      this.fail(hindrance);
      if (!hindrance) await this.send();
    } catch (error) {
      // A Problem tells what; else it is, say, a config of the plugin's form that JSON cannot hold.
      this.fail(error instanceof Problem ? error.message : `It cannot be sent: ${error.message}`);
    } finally {
      enable(this.create, true);
      text(this.note, "");
    }
  }

  async send() {
    text(this.note, "Creating\u2026");
    const task = await this.settled(await send("POST", "/local/tasks", this.request()));
    if (this.isClosed) return;
    if (task.dispatch === "refused") this.refused(task);
    else location.hash = `#/tasks/${encodeURIComponent(task.subtask_id)}`;
  }

  request() {
    const given = { plugin: this.choice.chosen, config: this.config.config };
    const more = { input: this.drop.input, subtask_id: this.subtask.input.value.trim() };
    more.task_id = this.task.input.value.trim();
    return { ...given, ...Object.fromEntries(Object.entries(more).filter(([, value]) => value)) };
  }

  // The task as soon as the service has taken or refused it, or took too long to say.
  async settled(task) {
    const deadline = performance.now() + WAIT;
    let found = task;
    while (found.dispatch === "waiting" && !found.reason && performance.now() < deadline) {
      await passed(STEP);
      found = await get(taskPath(task.subtask_id));
    }
    return found;
  }

  refused({ subtask_id: id, reason }) {
    const link = h("a", { href: `#/tasks/${encodeURIComponent(id)}` }, "See the task");
    this.fail(`The service refused it: ${reason ?? "it did not say why"}. `, link);
    this.subtask.input.value = ""; // the id is used up
  }
}

function step(number, name, ...children) {
  const id = `step-${number}`;
  const sign = h("span", { class: "step", "aria-hidden": "true" }, number);
  return h("section", { "aria-labelledby": id }, h("h2", { id }, sign, name), children);
}
