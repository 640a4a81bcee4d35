// A task's files, to download.

import { h } from "/page/dom.js";
import { bytes } from "/page/format.js";

// `files`: {name, size, href}. An address that leads elsewhere is not linked to.
export function fileList(files, none) {
  if (!files.length) return h("p", { class: "none" }, none);
  return h("ul", { class: "files" }, files.map(entry));
}

function entry({ name, size, href }) {
  const isOurs = new URL(href, location.href).origin === location.origin;
  const link = isOurs ? h("a", { href, download: name }, name) : h("span", {}, name);
  const known = typeof size === "number" ? bytes(size) : "";
  return h("li", {}, link, " ", h("span", { class: "size" }, known));
}
