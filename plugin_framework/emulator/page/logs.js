// A task's log, as it comes: newest below, kept in sight while the end is in sight.

import { h, show, text } from "/page/dom.js";
import { clock, iso, plural } from "/page/format.js";

const MOST = 5000; // lines kept
const LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];
const NEAR = 24; // pixels from the end that count as the end

export class Logs {
  #lines = h("div", { class: "lines", tabindex: "0", role: "region", "aria-label": "Log lines" });
  #none = h("p", { class: "none" }, "No log line yet.");
  #note = h("span", { class: "note" });
  #last = 0;
  #count = 0;

  constructor() {
    const change = () => this.#choose(choice.value);
    const choice = h("select", { class: "compact", "aria-label": "Least level", on: { change } });
    choice.append(h("option", { value: "" }, "All levels"));
    for (const level of LEVELS.slice(1)) {
      const more = level === LEVELS.at(-1) ? "" : " and above";
      choice.append(h("option", { value: level.toLowerCase() }, `${capital(level)}${more}`));
    }
    this.tools = h("span", { class: "beside" }, this.#note, choice);
    this.element = h("div", { class: "logs" }, this.#none, this.#lines);
    show(this.#lines, false);
  }

  // The number of the newest line that there is.
  get last() {
    return this.#last;
  }

  add(lines) {
    const fresh = lines.filter(({ number }) => !(number <= this.#last));
    if (!fresh.length) return;
    const isAtEnd = this.#distance() < NEAR;
    this.#lines.append(...fresh.slice(-MOST).map(line));
    while (this.#lines.childElementCount > MOST) this.#lines.firstElementChild.remove();
    this.#last = fresh.at(-1).number ?? this.#last;
    this.#count += fresh.length;
    show(this.#none, false);
    show(this.#lines, true);
    text(
      this.#note,
      this.#count > MOST ? `the last ${plural(MOST, "line")}` : plural(this.#count, "line"),
    );
    if (isAtEnd) requestAnimationFrame(() => this.#toEnd()); // by then it is laid out
  }

  #distance() {
    const { scrollHeight, scrollTop, clientHeight } = this.#lines;
    return scrollHeight - scrollTop - clientHeight;
  }

  #choose(level) {
    this.#lines.dataset.least = level;
    this.#toEnd();
  }

  #toEnd() {
    this.#lines.scrollTop = this.#lines.scrollHeight;
  }
}

function line({ at, level, logger, message }) {
  const name = String(level ?? "INFO").toUpperCase();
  return h(
    "div",
    { class: "line", "data-level": name.toLowerCase() },
    h("time", { datetime: iso(at) }, clock(at, { thousandths: true })),
    " ",
    h("span", { class: "level" }, name),
    " ",
    h("span", { class: "logger" }, logger ?? ""),
    " ",
    h("span", { class: "message" }, message),
  );
}

const capital = (word) => word[0] + word.slice(1).toLowerCase();
