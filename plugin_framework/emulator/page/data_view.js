// A JSON object as tables where it has their shape, and as JSON.

import { attribute, button, h, show } from "/page/dom.js";
import { plural } from "/page/format.js";

const MOST_ROWS = 500;
const MOST_COLUMNS = 40;
const MOST_JSON = 200_000; // characters shown
const SHORT = 100; // characters of JSON that a cell takes

let serial = 0;

export class DataView {
  #body = h("div", { class: "data" });
  #value = undefined;
  #shape = "table";
  #buttons = {};

  constructor(name) {
    this.name = name;
    const choice = h("span", {
      class: "tabs small",
      role: "group",
      "aria-label": `Show ${name} as`,
    });
    for (const [shape, label] of [
      ["table", "Table"],
      ["json", "JSON"],
    ]) {
      this.#buttons[shape] = button(label, () => this.#choose(shape), { class: "tab" });
      choice.append(this.#buttons[shape]);
    }
    this.tools = choice;
    this.element = this.#body;
  }

  show(value) {
    const isSame = JSON.stringify(value) === JSON.stringify(this.#value);
    if (isSame) return;
    this.#value = value;
    this.#draw();
  }

  #choose(shape) {
    this.#shape = shape;
    this.#draw();
  }

  #draw() {
    for (const [shape, choice] of Object.entries(this.#buttons)) {
      attribute(choice, "aria-pressed", String(shape === this.#shape));
    }
    show(this.tools, isObject(this.#value));
    const asJson = this.#shape === "json" || !isObject(this.#value);
    this.#body.replaceChildren(...(asJson ? [json(this.#value, this.name)] : tables(this.#value)));
  }
}

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isRecords = (value) => Array.isArray(value) && value.length > 0 && value.every(isObject);
const isLong = (value) => JSON.stringify(value).length > SHORT;

function json(value, name) {
  const whole = JSON.stringify(value, null, 2) ?? "null";
  const shown = whole.slice(0, MOST_JSON);
  const rest = whole.length - shown.length;
  const lines = h(
    "pre",
    { class: "json", tabindex: "0", role: "region", "aria-label": name },
    shown,
  );
  if (rest) lines.append(`\n\u2026 and ${plural(rest, "more character")}`);
  return lines;
}

// One table of all that is plain, and one for each list of objects, object or long list in it.
function tables(object) {
  const entries = Object.entries(object);
  if (!entries.length) return [h("p", { class: "none" }, "Empty.")];
  const isApart = ([, value]) =>
    isRecords(value) ||
    (isObject(value) && Object.keys(value).length > 0 && isLong(value)) ||
    (Array.isArray(value) && isLong(value));
  const plain = entries.filter((entry) => !isApart(entry));
  const apart = entries.filter(isApart);
  const first = plain.length ? [pairs(plain, null)] : [];
  return [...first, ...apart.map(([name, value]) => one(name, value))];
}

function one(name, value) {
  if (isRecords(value)) return records(name, value);
  if (isObject(value)) return pairs(Object.entries(value), name);
  return records(
    name,
    value.map((item) => ({ value: item })),
  );
}

function pairs(entries, caption) {
  const rows = entries.slice(0, MOST_ROWS).map(([name, value]) => {
    return h("tr", {}, h("th", { scope: "row" }, name), cell(value));
  });
  return table(caption, null, rows, entries.length - rows.length);
}

function records(caption, items) {
  const names = new Set();
  for (const item of items.slice(0, MOST_ROWS))
    for (const name of Object.keys(item)) names.add(name);
  const columns = [...names].slice(0, MOST_COLUMNS);
  const rows = items.slice(0, MOST_ROWS).map((item) => {
    return h(
      "tr",
      {},
      columns.map((name) => cell(Object.hasOwn(item, name) ? item[name] : "")),
    );
  });
  const heads = h(
    "tr",
    {},
    columns.map((name) => h("th", { scope: "col" }, name)),
  );
  return table(caption, heads, rows, items.length - rows.length);
}

function table(caption, heads, rows, left) {
  const id = `data-${(serial += 1)}`;
  const title = caption === null ? null : h("p", { class: "caption", id }, caption);
  const head = heads && h("thead", {}, heads);
  const named = title ? { "aria-labelledby": id } : { "aria-label": "Values" };
  const element = h(
    "table",
    { class: heads ? "records" : "pairs", ...named },
    head,
    h("tbody", {}, rows),
  );
  const more = left > 0 ? h("p", { class: "none" }, `and ${plural(left, "more row")}`) : null;
  const scroll = h("div", { class: "scroll", tabindex: "0", role: "region", ...named }, element);
  return h("div", { class: "block" }, title, scroll, more);
}

function cell(value) {
  const kind = typeof value === "number" ? "number" : null;
  const shown = typeof value === "string" ? value : JSON.stringify(value);
  return h("td", { class: kind }, shown);
}
