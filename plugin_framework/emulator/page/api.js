// Calls of the emulator's own API. The header tells it that no other site's page is calling.

const GUARD = { "X-Datahub-Local": "1" };

export class Problem extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

export async function get(path, { signal } = {}) {
  return read(await sent(path, { signal }));
}

export async function send(method, path, body) {
  const type = body === undefined ? {} : { "Content-Type": "application/json" };
  const headers = { ...GUARD, ...type };
  return read(await sent(path, { method, headers, body: JSON.stringify(body) }));
}

// Tells `progress` the share that is sent, from 0 to 1; `signal` ends it.
export function upload(path, file, { progress, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", path);
    request.setRequestHeader("X-Datahub-Local", GUARD["X-Datahub-Local"]);
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) progress(event.loaded / event.total);
    });
    request.addEventListener("load", () => {
      const answer = parsed(request.responseText);
      if (request.status < 300) resolve(answer);
      else reject(new Problem(said(answer, request.status), request.status));
    });
    request.addEventListener("error", () => reject(unreachable()));
    request.addEventListener("abort", () => reject(new DOMException("stopped", "AbortError")));
    signal.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}

async function sent(path, options) {
  try {
    return await fetch(path, { cache: "no-store", redirect: "error", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unreachable();
  }
}

const unreachable = () => new Problem("The emulator cannot be reached.");

async function read(answer) {
  const body = parsed(await answer.text());
  if (!answer.ok) throw new Problem(said(body, answer.status), answer.status);
  return body;
}

function parsed(body) {
  try {
    return JSON.parse(body);
  } catch {
    return body;
  }
}

function said(body, status) {
  const found = body?.problems?.join("\n") ?? body?.error;
  return typeof found === "string" && found
    ? found
    : `The emulator answered with status ${status}.`;
}

export const taskPath = (id, ...more) =>
  ["/local/tasks", encodeURIComponent(id), ...more].join("/");
