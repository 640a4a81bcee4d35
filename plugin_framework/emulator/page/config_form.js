// A plugin's own form, loaded as the platform does: its config.js gives `init` and
// `validateConfig`.

import { get } from "/page/api.js";
import { h, text } from "/page/dom.js";

// One script cannot be loaded in every way, so the ways are tried one after the other.
const SHAPES = ["body", "expression", "module"];
const GLOBAL = "datahubPluginConfig";
const CONTAINER = "plugin-form";

let loads = 0;

async function load(name) {
  const path = `/local/plugins/${encodeURIComponent(name)}/config.js`;
  let last = null;
  for (const shape of SHAPES) {
    delete globalThis[GLOBAL]; // another plugin's would be taken for this one's
    loads += 1; // modules are kept by address, and a plugin may have been changed since
    try {
      const { default: found } = await import(`${path}?as=${shape}&load=${loads}`);
      if (isForm(found)) return found;
    } catch (error) {
      last = error;
      if (error instanceof TypeError) await get(`${path}?as=${shape}`); // it may say why
    }
  }
  const why = last && !(last instanceof SyntaxError) ? `: ${last.message}` : "";
  throw new Error(`config.js gives no object with init and validateConfig${why}`);
}

const isForm = (found) =>
  typeof found?.init === "function" && typeof found?.validateConfig === "function";

// The form of one plugin. `changed(config)` is called at every change.
export class ConfigForm {
  #form = null;
  #box = null;
  config = {};
  element = h("div", { class: "form-of" });

  constructor(name, changed) {
    this.name = name;
    this.changed = changed;
    this.loaded = this.#load();
  }

  // Where there is no form to show, JSON is asked for instead, with a note that says why.
  async #load() {
    this.element.replaceChildren(h("p", { class: "none" }, "Loading the plugin\u2019s form\u2026"));
    try {
      const form = await load(this.name);
      if (!this.element.isConnected) return;
      this.element.replaceChildren(h("div", { id: CONTAINER }));
      form.init(CONTAINER, (config) => this.#take(config));
      this.#form = form;
    } catch (error) {
      this.#askForJson(error.message);
    }
  }

  #take(config) {
    this.config = config;
    this.changed(config);
  }

  #askForJson(why) {
    this.#form = null;
    this.#box = h("textarea", {
      rows: 8,
      spellcheck: "false",
      id: "config-json",
      "aria-describedby": "config-json-note",
      prop: { value: "{}" },
      on: { input: () => this.#read() },
    });
    const note = h("p", { class: "hint", id: "config-json-note" });
    text(note, `The plugin\u2019s own form cannot be shown: ${why}`);
    const label = h("label", { for: "config-json" }, "Configuration (a JSON object)");
    this.element.replaceChildren(label, this.#box, note);
    this.#take({});
  }

  #read() {
    try {
      this.#take(JSON.parse(this.#box.value));
    } catch {
      // `check` tells.
    }
  }

  // What is wrong with the configuration as it stands; "" where nothing is.
  check() {
    if (this.#box) return checkJson(this.#box.value);
    if (!this.#form) return "The plugin\u2019s form is not there yet.";
    const { valid, message } = this.#form.validateConfig(this.config);
    return valid ? "" : String(message || "The configuration is not valid.");
  }
}

function checkJson(given) {
  try {
    const config = JSON.parse(given);
    const isObject = config !== null && typeof config === "object" && !Array.isArray(config);
    return isObject ? "" : "The configuration must be a JSON object.";
  } catch (error) {
    return `The configuration is not JSON: ${error.message}`;
  }
}
