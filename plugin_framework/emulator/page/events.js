// What happened to a task, in words.

import { bytes, duration, rate } from "/page/format.js";
import { askedOf, nameOf } from "/page/status.js";

export const TRANSFERS = new Set(["get", "put"]);

const fileOf = (detail) => detail.name ?? "a file";
const sizeOf = ({ size }) => (typeof size === "number" ? `, ${bytes(size)}` : "");
const partOf = ({ part }) => (part === null || part === undefined ? "" : `, part ${part}`);

const WORDS = {
  status: ({ status }) => `The plugin reported: ${nameOf(status).toLowerCase()}`,
  heartbeat: ({ process }) => `Heartbeat, ${process}\u00a0%`,
  download: (detail) => `Asked for the address of ${fileOf(detail)}`,
  upload_init: (detail) => `Began the upload of ${fileOf(detail)}${sizeOf(detail)}`,
  upload: (detail) => `Completed the upload of ${fileOf(detail)}${sizeOf(detail)}`,
  result: () => "Sent the result",
  operator: ({ status }) => `Operator: ${askedOf(status) || nameOf(status)}`,
  dispatch: (detail) => `Offered to the service${rest(detail)}`,
  lost: (detail) => `Nothing came for a while: marked as lost${rest(detail)}`,
  found: () => "Something came again: no longer lost",
  get: (detail) => `Downloaded ${moved(detail)}`,
  put: (detail) => `Uploaded ${moved(detail)}`,
  fault: (detail) => `Fault injected${rest(detail)}`,
};

export function words({ kind, detail, code, message }) {
  const said = WORDS[kind] ? WORDS[kind](detail) : `${kind}${rest(detail)}`;
  if (code) return `${said} \u2013 refused (${code}): ${message}`;
  return message ? `${said} \u2013 ${message}` : said;
}

export function moved(detail) {
  const { bytes: count = 0, seconds = 0 } = detail;
  const speed = seconds > 0 ? ` in ${duration(seconds)}, ${rate(count / seconds)}` : "";
  return `${bytes(count)} of ${fileOf(detail)}${partOf(detail)}${speed}`;
}

function rest(detail) {
  const entries = Object.entries(detail ?? {}).filter(([, value]) => value !== null);
  const shown = entries.map(([name, value]) => `${name} ${plain(value)}`);
  return shown.length ? `: ${shown.join(", ")}` : "";
}

const plain = (value) => (typeof value === "string" ? value : JSON.stringify(value));

// The mark that an event makes on the timeline; null where it is drawn otherwise.
export function markOf({ kind, code }) {
  if (code) return "refused";
  if (kind === "dispatch" || kind === "upload_init" || kind === "download") return null;
  return ["operator", "fault", "lost", "found"].includes(kind) ? kind : null;
}
