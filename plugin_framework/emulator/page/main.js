// Starts the page: which view is shown, the live connection's state, the colours.

import { get } from "/page/api.js";
import { attribute, button, h, show, text } from "/page/dom.js";
import { FaultsView } from "/page/faults_view.js";
import { Live } from "/page/live.js";
import { NewView } from "/page/new_view.js";
import { TaskView } from "/page/task_view.js";
import { TasksView } from "/page/tasks_view.js";

const VIEWS = { "": TasksView, tasks: TaskView, new: NewView, faults: FaultsView };
const SAY_AGAIN = 2000; // milliseconds between two things that are read out

const byId = (id) => document.getElementById(id);
const main = byId("main");
let view = null;
let said = -SAY_AGAIN;
let saying = 0;
let countdown = 0;

const app = {
  // The latest wins: who listens is told how things are, and not all that they were.
  say(message) {
    clearTimeout(saying);
    const wait = Math.max(0, said + SAY_AGAIN - performance.now());
    saying = setTimeout(() => {
      said = performance.now();
      text(byId("said"), message);
    }, wait);
  },

  live(path, handlers) {
    const live = new Live(path, handlers, (state) => connection(state, live));
    return live;
  },

  // The address tells the filter, so that reloading and sharing keep it.
  setQuery(query) {
    const { path } = place();
    const hash = `#/${path.map(encodeURIComponent).join("/")}${query.size ? `?${query}` : ""}`;
    history.replaceState(null, "", hash);
  },

  setTitle(title) {
    document.title = `${title} \u00b7 Datahub`;
  },
};

function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  return { path: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(query) };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function route({ isFirst = false } = {}) {
  const { path, query } = place();
  const [name = "", id] = path;
  const View = name === "tasks" && !id ? TasksView : (VIEWS[name] ?? TasksView);
  view?.close();
  clearInterval(countdown);
  show(byId("banner"), false);
  view = new View(app, { id, query });
  app.setTitle(view.title);
  main.replaceChildren(view.element);
  for (const link of document.querySelectorAll("nav [data-route]")) {
    const isCurrent = link.dataset.route === (name || "tasks");
    attribute(link, "aria-current", isCurrent && (id ? "true" : "page"));
  }
  if (isFirst) return;
  scrollTo(0, 0);
  main.querySelector("h1")?.focus({ preventScroll: true });
}

function connection({ isLost, retryAt }, live) {
  const banner = byId("banner");
  clearInterval(countdown);
  if (!isLost) {
    if (!banner.hidden) app.say("Connected again");
    show(banner, false);
    return;
  }
  if (banner.hidden) {
    const wait = h("span", { class: "wait", "aria-hidden": "true" });
    const now = button("Try now", () => live.retry());
    const words = h(
      "span",
      {},
      "The connection to the emulator is lost: what is shown may be old.",
    );
    banner.replaceChildren(words, " ", wait, " ", now);
    show(banner, true);
  }
  const tell = () => {
    const left = Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
    text(banner.querySelector(".wait"), left ? `Trying again in ${left}\u00a0s.` : "Trying\u2026");
  };
  tell();
  countdown = setInterval(tell, 500);
}

function theme() {
  const choice = byId("theme");
  choice.value = document.documentElement.dataset.theme ?? "";
  choice.addEventListener("change", () => {
    if (choice.value) document.documentElement.dataset.theme = choice.value;
    else delete document.documentElement.dataset.theme;
    try {
      if (choice.value) localStorage.setItem("datahub-theme", choice.value);
      else localStorage.removeItem("datahub-theme");
    } catch {
      // It holds until the page is closed.
    }
  });
}

async function about() {
  const info = await get("/local/info");
  const facts = [
    `Local Datahub ${info.version}`,
    info.url,
    `storage ${info.storage}`,
    `dialect ${info.dialect}`,
    info.auth ? "signatures required" : "no signatures asked for",
  ];
  byId("foot").replaceChildren(...facts.map((fact) => h("span", {}, fact)));
}

theme();
byId("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address holds the view
  main.focus();
});
addEventListener("hashchange", () => route());
route({ isFirst: true });
about().catch(() => text(byId("foot"), ""));
