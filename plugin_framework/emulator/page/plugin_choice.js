// The plugins that there are, to choose one of; services can be added and removed.

import { get, send } from "/page/api.js";
import { button, h, show, text } from "/page/dom.js";
import { plural } from "/page/format.js";

const AGAIN = 5000; // milliseconds after which health is asked for again

let serial = 0;

export class PluginChoice {
  chosen = "";
  #drawn = "";
  #list = h("div", { class: "plugins" });
  #problem = h("p", { class: "problem", role: "alert", hidden: true });
  #found = h("p", { class: "hint", role: "status" });

  constructor(choose) {
    this.choose = choose;
    const legend = h("legend", { class: "unseen" }, "Plugin");
    this.element = h(
      "div",
      {},
      h("fieldset", { class: "bare" }, legend, this.#list),
      this.#adding(),
    );
    this.timer = setInterval(() => this.refresh(), AGAIN);
  }

  close() {
    clearInterval(this.timer);
  }

  async refresh() {
    try {
      const asked = [get("/local/services"), get("/local/plugins")];
      this.show(...(await Promise.all(asked)));
    } catch (error) {
      this.#fail(error.message);
    }
  }

  // `services`: the problem of each, by its address; null where it is well.
  show(services, plugins) {
    const drawn = JSON.stringify([services, plugins]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const held = document.activeElement?.closest(".plugins") && document.activeElement.value;
    const groups = Object.entries(services).map(([url, problem]) => {
      const own = plugins.filter(({ service }) => service === url);
      return this.#service(url, problem, own);
    });
    const none = h("p", { class: "none" }, "No service yet. Add the address of one that runs.");
    this.#list.replaceChildren(...(groups.length ? groups : [none]));
    const usable = plugins.filter(({ healthy }) => healthy);
    const isThere = plugins.some(({ name }) => name === this.chosen);
    if (!isThere && usable.length) this.#choose(usable[0].name);
    else if (!isThere) this.#choose("");
    const radios = [...this.#list.querySelectorAll("input")];
    if (held) radios.find(({ value }) => value === held)?.focus();
  }

  #choose(name) {
    this.chosen = name;
    for (const radio of this.#list.querySelectorAll("input")) radio.checked = radio.value === name;
    this.choose(name);
  }

  #service(url, problem, plugins) {
    const id = `service-${(serial += 1)}`;
    const why = problem === null ? null : h("span", { class: "why" }, `Not healthy: ${problem}`);
    const remove = button("Remove", () => this.#remove(url), {
      class: "small quiet",
      "aria-label": `Remove the service ${url}`,
    });
    const of = h("p", { class: "of" }, h("span", { id }, h("span", {}, url), why), remove);
    return h(
      "div",
      { class: "service" },
      of,
      plugins.map((plugin) => this.#entry(plugin, id)),
    );
  }

  #entry({ name, version, healthy }, service) {
    const id = `plugin-${(serial += 1)}`;
    const radio = h("input", {
      type: "radio",
      name: "plugin",
      id,
      value: name,
      "aria-describedby": service,
      prop: { checked: name === this.chosen },
      on: { change: () => this.#choose(name) },
    });
    const label = h("label", { for: id }, h("strong", {}, name), " ", h("small", {}, version));
    return h("div", { class: "choice", "data-healthy": String(healthy) }, radio, label);
  }

  async #remove(service) {
    try {
      await send("DELETE", `/local/services?${new URLSearchParams({ url: service })}`);
      this.#fail("");
      await this.refresh();
    } catch (error) {
      this.#fail(error.message);
    }
  }

  #adding() {
    const url = h("input", {
      type: "url",
      id: "service-url",
      placeholder: "http://127.0.0.1:8766",
      autocomplete: "off",
      spellcheck: "false",
    });
    const submit = async (event) => {
      event.preventDefault();
      if (await this.#add(url.value.trim())) url.value = "";
    };
    const label = h("label", { for: "service-url" }, "Add a service by its address");
    const add = h("button", { type: "submit" }, "Add");
    const line = h("div", { class: "joined" }, url, add);
    const form = { class: "add", novalidate: true, on: { submit } };
    return h("form", form, label, line, this.#problem, this.#found);
  }

  async #add(url) {
    if (!url) {
      this.#fail("Give the address of a service, such as http://127.0.0.1:8766.");
      return false;
    }
    text(this.#found, "Asking the service\u2026");
    const before = this.chosen;
    try {
      const found = await send("POST", "/local/services", { url });
      this.#fail("");
      text(this.#found, `Found ${plural(found.length, "plugin")}.`);
      await this.refresh();
      // One of the new ones, if nobody has chosen another meanwhile.
      if (this.chosen === before && found.length) this.#choose(found[0].name);
      return true;
    } catch (error) {
      text(this.#found, "");
      this.#fail(error.message);
      return false;
    }
  }

  #fail(message) {
    text(this.#problem, message);
    show(this.#problem, Boolean(message));
  }
}
