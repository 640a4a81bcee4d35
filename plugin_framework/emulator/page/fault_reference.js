// The format of rules, as the emulator describes it.

import { h } from "/page/dom.js";

export function faultReference(fields, faults) {
  return h("div", { class: "reference" }, part("Every rule", "", fields), faults.map(faultPart));
}

const faultPart = ({ name, meaning, fields }) => part(h("code", {}, name), meaning, fields);

function part(name, meaning, fields) {
  const head = h("p", { class: "what" }, h("strong", {}, name), meaning ? ` ${meaning}` : "");
  if (!fields.length) return h("div", {}, head);
  return h("div", {}, head, h("dl", {}, fields.map(field)));
}

function field({ name, meaning, expected, required }) {
  const code = h("dt", {}, h("code", {}, name), required ? " (needed)" : "");
  return h(
    "div",
    {},
    code,
    h("dd", {}, `${meaning} `, h("span", { class: "hint" }, `${expected}.`)),
  );
}
