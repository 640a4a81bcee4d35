// The events of a task in words: what the timeline shows, for those who do not look at it.

import { button, h, show, text } from "/page/dom.js";
import { words } from "/page/events.js";
import { clock, duration, iso, plural } from "/page/format.js";

const MOST = 500; // rows, unless all are asked for

export class EventsTable {
  #body = h("tbody");
  #count = h("span", { class: "count" });
  #drawn = 0; // how many of the events have been looked at
  #first = 0; // the event of the first row
  #events = [];
  #start = 0;

  constructor() {
    const heads = ["Time", "After", "Event"].map((name) => h("th", { scope: "col" }, name));
    const table = h("table", { class: "records events", "aria-label": "Events" });
    table.append(h("thead", {}, h("tr", {}, heads)), this.#body);
    this.earlier = button("Show earlier events", () => this.#all(), { class: "small" });
    const region = { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Events" };
    this.element = h(
      "details",
      { class: "more-of", on: { toggle: () => this.#draw() } },
      h("summary", {}, "Events as a table ", this.#count),
      this.earlier,
      h("div", region, table),
    );
    show(this.earlier, false);
  }

  // `events` only ever grows; `start` is the time that "after" counts from.
  show(events, start) {
    this.#events = events;
    this.#start = start;
    text(this.#count, String(events.length));
    this.#draw();
  }

  #draw() {
    if (!this.element.open) return;
    if (!this.#drawn) this.#first = Math.max(0, this.#events.length - MOST);
    const from = Math.max(this.#drawn, this.#first);
    this.#body.append(...this.#events.slice(from).map((event) => this.#row(event)));
    this.#drawn = this.#events.length;
    show(this.earlier, this.#first > 0);
    text(this.earlier, `Show ${plural(this.#first, "earlier event")}`);
  }

  #all() {
    this.#first = 0;
    this.#drawn = 0;
    this.#body.replaceChildren(...this.#events.map((event) => this.#row(event)));
    this.#drawn = this.#events.length;
    show(this.earlier, false);
  }

  #row(event) {
    const time = h("time", { datetime: iso(event.at) }, clock(event.at, { thousandths: true }));
    const after = duration(event.at - this.#start);
    const kind = event.code ? "refused" : event.kind;
    return h(
      "tr",
      { "data-kind": kind },
      h("td", {}, time),
      h("td", {}, after),
      h("td", {}, words(event)),
    );
  }
}
