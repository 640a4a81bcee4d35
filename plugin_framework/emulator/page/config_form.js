// A plugin's own form, loaded as the platform does: its config.js gives `init` and
// `validateConfig`.

import { get } from "/page/api.js";
import { h, text } from "/page/dom.js";

// One script cannot be loaded in every way, so the ways are tried one after the other, until one
// of them can be parsed: what cannot does not run, so a script runs once.
const SHAPES = { expression: "an expression", body: "a function\u2019s body", module: "a module" };
const GLOBAL = "datahubPluginConfig";
const RUNS = "datahubPluginRuns"; // set by the emulator's lines around the script
const CONTAINER = "plugin-form";
const MISSING = "config.js gives no object with init and validateConfig";

let loads = 0;

async function load(name) {
  const path = `/local/plugins/${encodeURIComponent(name)}/config.js`;
  const reasons = [];
  for (const [shape, words] of Object.entries(SHAPES)) {
    try {
      const found = await formOf(await imported(`${path}?as=${shape}`));
      if (found) return found;
      throw new Error(MISSING);
    } catch (error) {
      if (!(error instanceof SyntaxError) || globalThis[RUNS]) throw error;
      reasons.push(`as ${words}: ${error.message}`);
    }
  }
  throw new Error(`config.js cannot be read (${reasons.join("; ")})`);
}

async function imported(address) {
  delete globalThis[GLOBAL]; // another plugin's would be taken for this one's
  delete globalThis[RUNS];
  loads += 1; // modules are kept by address, and a plugin may have been changed since
  try {
    return await import(`${address}&load=${loads}`);
  } catch (error) {
    // The browser does not tell why it could not fetch a script; the emulator may.
    if (error instanceof TypeError && !globalThis[RUNS]) await get(address);
    throw error;
  }
}

// What a script gives: as a value, a promise, a global, named exports, or by a function.
async function formOf(module) {
  const given = await module.default;
  const found = [given, globalThis[GLOBAL], module].find(isForm);
  if (found || typeof given !== "function") return found;
  return [await given(), globalThis[GLOBAL]].find(isForm);
}

const isForm = (found) =>
  typeof found?.init === "function" && typeof found?.validateConfig === "function";

// Anything can be thrown.
const reason = (error) => String(error?.message || error);

// A script has the whole page in its hands; where it took the view away, nothing else would say so.
function tellIfReplaced(name) {
  if (document.querySelector("#main > .view")) return;
  const words = `The config.js of ${name} has replaced this page. `;
  const back = h("a", { href: "/" }, "Back to the tasks");
  const note = h("p", { class: "problem", role: "alert" }, words, back);
  (document.body ?? document.documentElement ?? document).append(note);
}

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
      await form.init(CONTAINER, (config) => this.#take(config));
      this.#form = form;
    } catch (error) {
      if (this.element.isConnected) this.#askForJson(reason(error));
    } finally {
      tellIfReplaced(this.name);
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
    return this.#judged();
  }

  #judged() {
    try {
      const verdict = this.#form.validateConfig(this.config);
      if (typeof verdict?.valid !== "boolean") {
        return "The plugin\u2019s validateConfig returned no object with valid and message.";
      }
      return verdict.valid ? "" : String(verdict.message || "The configuration is not valid.");
    } catch (error) {
      return `The plugin\u2019s validateConfig failed: ${reason(error)}`;
    }
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
