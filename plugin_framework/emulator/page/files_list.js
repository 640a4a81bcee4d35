// A task's files, to download.

import { h } from "/page/dom.js";
import { bytes } from "/page/format.js";

// `files`: {name, size, sha256, href}. An address that leads elsewhere is not linked to.
export function fileList(files, none) {
  if (!files.length) return h("p", { class: "none" }, none);
  return h("ul", { class: "files" }, files.map(entry));
}

function entry({ name, size, sha256, href }) {
  const isOurs = new URL(href, location.href).origin === location.origin;
  const link = isOurs ? h("a", { href, download: name }, name) : h("span", {}, name);
  const known = typeof size === "number" ? bytes(size) : "";
  const digest = sha256 ? h("code", { class: "digest", title: "SHA-256" }, sha256) : null;
  return h("li", {}, link, " ", h("span", { class: "size" }, known), digest);
}
