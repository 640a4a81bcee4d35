// Faults on demand: presets, the rules in force with what came of them, and the rules as JSON.

import { Problem, get, send } from "/page/api.js";
import { faultReference } from "/page/fault_reference.js";
import { attribute, button, enable, h, heading, show, text } from "/page/dom.js";
import { plural } from "/page/format.js";

const PATH = "/local/chaos";
const KEEP = `${PATH}?keep=true`; // rules that stay as they were go on counting
const AGAIN = 1000; // milliseconds between looks at the counters
const COLUMNS = ["Rule", "What it does", "Now", "Matched", "Injected", ""];

export class FaultsView {
  title = "Faults";
  seed = 0;
  rules = [];
  presets = new Map(); // buttons by the preset's name
  isEdited = false;
  turn = Promise.resolve();

  constructor(app) {
    this.app = app;
    this.element = this.build();
    this.timer = setInterval(() => this.refresh(), AGAIN);
    this.live = app.live("/local/stream", { open: () => this.refresh() });
  }

  close() {
    clearInterval(this.timer);
    this.live.close();
  }

  build() {
    this.state = h("p", { class: "state", role: "status" });
    this.stop = button("Stop all", () => this.change("DELETE", PATH), { class: "danger" });
    this.problem = h("p", { class: "problem", role: "alert", hidden: true });
    this.presetList = h("div", { class: "presets" });
    this.reference = h("details", { class: "more-of" }, h("summary", {}, "What rules can say"));
    const intro =
      "Rules make Datahub and its storage fail in ways that the real ones do. They are seeded: " +
      "the same requests in the same order meet the same faults.";
    return h(
      "div",
      { class: "view faults" },
      h("div", { class: "lead" }, heading(1, "Faults"), this.stop),
      h("p", { class: "hint" }, intro),
      this.problem,
      section("presets", "Presets", this.presetList),
      section("in-force", "In force", this.state, this.buildTable()),
      section("rules", "Rules as JSON", this.buildEditor(), this.reference),
    );
  }

  buildTable() {
    const heads = COLUMNS.map((name) =>
      name
        ? h("th", { scope: "col" }, name)
        : h("td", {}, h("span", { class: "unseen" }, "Remove")),
    );
    this.rows = h("tbody");
    const table = h(
      "table",
      { class: "records rules" },
      h("thead", {}, h("tr", {}, heads)),
      this.rows,
    );
    const region = {
      class: "scroll",
      tabindex: "0",
      role: "region",
      "aria-label": "Rules in force",
    };
    this.table = h("div", region, table);
    return this.table;
  }

  buildEditor() {
    this.seedField = h("input", { id: "seed", inputmode: "numeric", prop: { value: "0" } });
    this.editor = h("textarea", { id: "rules-json", rows: 12, spellcheck: "false" });
    for (const field of [this.seedField, this.editor]) {
      field.addEventListener("input", () => this.edited(true));
    }
    this.apply = button("Apply", () => this.applyEdited(), { class: "primary" });
    this.discard = button("Show what is in force", () => this.edited(false));
    const seed = h("div", { class: "seed" }, h("label", { for: "seed" }, "Seed"), this.seedField);
    return h(
      "div",
      { class: "editor" },
      h("label", { for: "rules-json" }, "Rules, a JSON list"),
      this.editor,
      seed,
      h("div", { class: "send" }, this.apply, this.discard),
    );
  }

  edited(isEdited) {
    this.isEdited = isEdited;
    if (!isEdited) this.fillEditor();
    this.drawEditor();
  }

  fillEditor() {
    this.editor.value = JSON.stringify(this.rules, null, 2);
    this.seedField.value = String(this.seed);
  }

  drawEditor() {
    enable(this.discard, this.isEdited);
  }

  async refresh() {
    try {
      this.take(await get(PATH));
    } catch (error) {
      if (!(error instanceof Problem)) throw error; // the banner tells that it is gone
    }
  }

  async change(method, path, body) {
    try {
      this.take(await send(method, path, body));
      show(this.problem, false);
      return true;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.fail(error.message);
      return false;
    }
  }

  fail(message) {
    text(this.problem, message);
    show(this.problem, true);
    this.problem.scrollIntoView({ block: "nearest" });
  }

  async applyEdited() {
    let rules = null;
    try {
      rules = JSON.parse(this.editor.value);
    } catch (error) {
      this.fail(`The rules are not JSON: ${error.message}`);
      return;
    }
    let given = this.seedField.value.trim();
    if (Array.isArray(rules?.rules)) {
      given = String(rules.seed ?? given); // a whole file was pasted
      rules = rules.rules;
    }
    // What is wrong with it is told by the emulator.
    const seed = /^-?\d+$/.test(given) ? Number(given) : given;
    if (await this.change("PUT", PATH, { seed, rules })) this.edited(false);
  }

  // One after the other: each begins with the rules that the one before has left.
  toggle(preset) {
    this.turn = this.turn.catch(() => {}).then(() => this.switchPreset(preset));
    return this.turn;
  }

  switchPreset(preset) {
    const names = new Set(preset.rules.map(({ name }) => name));
    const others = this.rules.filter(({ name }) => !names.has(name));
    const rules = this.isSet(preset) ? others : [...others, ...preset.rules];
    return this.change("PUT", KEEP, { seed: this.seed, rules });
  }

  isSet(preset) {
    const names = new Set(this.rules.map(({ name }) => name));
    return preset.rules.every(({ name }) => names.has(name));
  }

  take({ seed, rules, counters, presets, fields, faults }) {
    this.seed = seed;
    this.rules = rules;
    if (presets && !this.presets.size) this.drawPresets(presets);
    if (faults && this.reference.childElementCount === 1) {
      this.reference.append(faultReference(fields, faults));
    }
    if (!this.isEdited) this.showInEditor();
    this.drawEditor();
    this.drawRules(counters);
    for (const { preset, toggle } of this.presets.values()) {
      attribute(toggle, "aria-pressed", String(this.isSet(preset)));
    }
    enable(this.stop, rules.length > 0);
    const seeded = rules.length ? `, seed ${seed}` : "";
    text(
      this.state,
      rules.length ? `${plural(rules.length, "rule")}${seeded}` : "No rule: all is well.",
    );
    show(this.table, rules.length > 0);
  }

  showInEditor() {
    const shown = JSON.stringify([this.seed, this.rules]);
    if (shown === this.shown) return;
    this.shown = shown;
    this.fillEditor();
  }

  drawPresets(presets) {
    for (const preset of presets) {
      const toggle = button("", () => this.toggle(preset), { class: "preset" });
      const holds = h("span", { class: "holds", "aria-hidden": "true" }, "in force");
      toggle.append(h("span", {}, preset.title), " ", holds);
      toggle.append(h("span", { class: "meaning" }, preset.meaning));
      this.presets.set(preset.name, { preset, toggle });
      this.presetList.append(toggle);
    }
  }

  // Rows stay while the rules do: only numbers change, and the focus is where it was.
  drawRules(counters) {
    const drawn = JSON.stringify(this.rules);
    if (drawn !== this.drawn) {
      this.drawn = drawn;
      this.cells = this.rules.map((rule) => this.row(rule));
      this.rows.replaceChildren(...this.cells.map(({ element }) => element));
    }
    counters.forEach(({ matched, injected, holds }, place) => {
      const { of } = this.cells[place];
      text(of.now, holds ? "yes" : "no");
      text(of.matched, matched.toLocaleString("en"));
      text(of.injected, injected.toLocaleString("en"));
    });
  }

  row(rule) {
    const { name, fault, ...rest } = rule;
    const of = {
      now: h("td"),
      matched: h("td", { class: "number" }),
      injected: h("td", { class: "number" }),
    };
    const remove = button("Remove", () => this.remove(name), {
      class: "small",
      "aria-label": `Remove ${name}`,
    });
    const code = h("code", {}, [fault, ...Object.entries(rest).map(setting)].join(", "));
    const cells = [h("td", {}, name), h("td", {}, code), of.now, of.matched, of.injected];
    return { of, element: h("tr", {}, cells, h("td", {}, remove)) };
  }

  remove(name) {
    const rules = this.rules.filter((rule) => rule.name !== name);
    this.element.querySelector("h1").focus({ preventScroll: true }); // the button goes
    return this.change("PUT", KEEP, { seed: this.seed, rules });
  }
}

const setting = ([name, value]) => `${name} ${[value].flat().join(" ")}`;

function section(id, name, ...children) {
  return h(
    "section",
    { "aria-labelledby": id },
    h("div", { class: "head" }, h("h2", { id }, name)),
    children,
  );
}
