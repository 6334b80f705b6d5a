// Asks the router once a second how it is doing, and shows it.

import { put } from "./dom.js";
import { clock, percent, shortRoute, target } from "./format.js";
import { callersTable, lanesTable, nodesTable, processes } from "./mesh.js";
import { Misses } from "./misses.js";
import { routesTable, showPanels, standing } from "./routes.js";
import { Steps } from "./steps.js";
import { RequestDialog } from "./waterfall.js";

const EVERY_MS = 1000;
const PATIENCE_MS = 3000;
const NEWS_MS = 10_000; // at most one announcement to screen readers in so long

const at = (id) => document.querySelector(`#${id}`);
const state = { steps: new Steps(), span: "window" };
const tables = {
  routes: routesTable(at("routes")),
  lanes: lanesTable(at("lanes"), state),
  nodes: nodesTable(at("nodes")),
  callers: callersTable(at("callers")),
};
const misses = new Misses(new RequestDialog(at("request")), read);
let latest = null;
let awaySince = null;

/** JSON of this router; null where it says that there is none. Throws where it can't be reached. */
async function read(path) {
  const answer = await fetch(path, {
    signal: AbortSignal.timeout(PATIENCE_MS),
    headers: { Accept: "application/json" },
  });
  if (answer.status === 404 || answer.status === 400) return null;
  if (!answer.ok) throw new Error(`it answers ${answer.status}`);
  return answer.json();
}

async function ask() {
  let told = await read(`console.json?after=${state.steps.after}`);
  if (!state.steps.take(told)) {
    misses.forget();
    told = await read("console.json?after=-1");
    state.steps.take(told);
  }
  latest = told;
  show();
  const missed = told.routes.reduce((sum, route) => sum + route.window.requests - route.window.met, 0);
  await misses.update(missed, told.processes.length + told.missing.length);
}

function show() {
  const told = latest;
  const routes = told.routes.filter((route) => route.objective_ms !== null || route.window.requests);
  put(at("mesh"), told.mesh);
  document.title = `${headline(routes)} · ${told.mesh} · Isochrone`;
  processes(at("processes"), told);
  tables.routes.show(routes);
  showPanels(at("panels"), routes, state.steps, state.span);
  tables.lanes.show(told.lanes);
  tables.nodes.show(told.nodes);
  at("who").hidden = !told.callers.length; // nobody is known where none are configured
  tables.callers.show(told.callers);
  announce(routes);
}

/** What a tab says of itself. */
function headline(routes) {
  const below = routes.filter((route) => standing(route, "now") === "below");
  return below.length ? `✕ ${below.map((route) => shortRoute(route.route)).join(", ")}` : "✓";
}

let standings = new Map();
let newsAt = -NEWS_MS;

/** Tells screen readers which routes fell below their target or are back, now and then. */
function announce(routes) {
  if (performance.now() - newsAt < NEWS_MS) return;
  const news = [];
  const next = new Map(routes.map((route) => [route.route, standing(route, "now")]));
  for (const route of routes) {
    const now = next.get(route.route);
    const before = standings.get(route.route) ?? "met";
    if (now === "below" && before !== "below")
      news.push(
        `${shortRoute(route.route)} is below its target: ${percent(route.now.attainment)} of ${target(route.target)}.`,
      );
    if (now === "met" && before === "below") news.push(`${shortRoute(route.route)} is on target again.`);
  }
  standings = next;
  if (news.length) say(news.join(" "));
}

function say(news) {
  newsAt = performance.now();
  put(at("news"), news);
}

function showState(error) {
  const line = at("state");
  if (!error) {
    if (awaySince) say("The router answers again.");
    awaySince = null;
    line.dataset.state = "live";
    put(line, ["span", "sign met", "●"], "Live");
    document.body.classList.remove("stale");
    return;
  }
  if (!awaySince) {
    awaySince = new Date();
    say("The router does not answer. Trying again.");
  }
  line.dataset.state = "away";
  const what = latest ? "What is shown is from before." : "";
  put(line, ["span", "sign below", "✕"], `No answer since ${clock(awaySince)}. Trying again. ${what}`);
  document.body.classList.toggle("stale", latest !== null);
  document.title = "✕ no answer · Isochrone";
}

async function run() {
  for (;;) {
    let failed = null;
    try {
      if (!document.hidden) await ask();
    } catch (error) {
      failed = error;
      console.debug("asking the router:", error);
    }
    if (!document.hidden) showState(failed);
    await Promise.race([new Promise((wake) => setTimeout(wake, EVERY_MS)), seen()]);
  }
}

/** When the page comes into sight again. */
function seen() {
  return new Promise((wake) => {
    document.addEventListener("visibilitychange", () => !document.hidden && wake(), { once: true });
  });
}

at("span").addEventListener("change", (event) => {
  state.span = event.target.value;
  if (latest) show();
});
run();
