// Each route against its objective: the table that comes first, and a panel with quantiles, stages and blame.

import { CAP, QuantileChart } from "./chart.js";
import { Table, el, keyed, put } from "./dom.js";
import { Decisions } from "./decisions.js";
import { bareMs, clock, count, ms, percent, rate, shortRoute, target, words } from "./format.js";

export const STAGES = ["admit", "queue", "batch_wait", "compute", "link", "answer"];

/** "met", "below" or "idle", in a span. */
export function standing(route, span) {
  const attainment = route[span].attainment;
  if (attainment === null) return "idle";
  return route.target === null || attainment >= route.target ? "met" : "below";
}

const SIGNS = { met: ["✓", "on target"], below: ["✕", "below target"], idle: ["·", "no requests"] };

function attainmentCell(cell, route, span) {
  const standingNow = standing(route, span);
  const [sign, said] = route.target === null && standingNow === "met" ? ["", ""] : SIGNS[standingNow];
  put(
    cell,
    ["span", `sign ${standingNow}`, sign],
    ["b", "figure", route[span].attainment === null ? "no requests" : percent(route[span].attainment)],
    ["span", "hidden", route[span].attainment === null ? "" : `, ${said}`],
  );
}

function quantileCell(cell, route, value) {
  const over = route.objective_ms !== null && value !== null && value > route.objective_ms;
  put(cell, ["span", over ? "over" : "", bareMs(value)], ["span", "hidden", over ? " over the objective" : ""]);
}

export function routesTable(table) {
  return new Table(
    table,
    "Routes: requests within their objective, now and over 15 minutes",
    [
      { label: "Route", head: true, make: routeLink },
      { label: "Now", numeric: true, fill: (cell, route) => attainmentCell(cell, route, "now") },
      { label: "15 min", numeric: true, fill: (cell, route) => attainmentCell(cell, route, "window") },
      { label: "Target", numeric: true, fill: (cell, r) => put(cell, r.target === null ? "–" : target(r.target)) },
      {
        label: "Objective",
        numeric: true,
        fill: (cell, r) => put(cell, r.objective_ms === null ? "its legs’" : ms(r.objective_ms)),
      },
      { label: "p50 ms", numeric: true, fill: (cell, r) => quantileCell(cell, r, r.now.p50_ms) },
      { label: "p95 ms", numeric: true, fill: (cell, r) => quantileCell(cell, r, r.now.p95_ms) },
      { label: "p99 ms", numeric: true, fill: (cell, r) => quantileCell(cell, r, r.now.p99_ms) },
      { label: "Rate", numeric: true, fill: (cell, r) => put(cell, rate(r.now.rate_per_s)) },
      {
        label: "Missed, 15 min",
        numeric: true,
        fill: (cell, r) => put(cell, `${count(r.window.requests - r.window.met)} of ${count(r.window.requests)}`),
      },
    ],
    (route) => route.route,
    { empty: "No routes." },
  );
}

function routeLink(cell, route) {
  cell.append(el("a", { href: `#${panelId(route)}`, title: route.route }, shortRoute(route.route)));
}

const panelId = (route) => `route-${route.route.replace(/\W+/g, "-")}`;

/** Panels in the order of the table. */
export function showPanels(parent, routes, steps, span) {
  keyed(
    parent,
    routes,
    (route) => route.route,
    (route) => new Panel(route).node,
    (node, route) => node.panel.show(route, steps, span),
  );
}

class Panel {
  constructor(route) {
    const id = panelId(route);
    this.title = el("h3", { id, tabindex: "-1" }, shortRoute(route.route));
    this.promise = el("p", { class: "note" });
    this.plot = el("div", { class: "plot" });
    this.legend = el("p", { class: "legend" });
    this.summary = el("p", { class: "hidden" });
    this.minutes = el(
      "details",
      { class: "minutes" },
      el("summary", {}, "Minute by minute"),
      (this.minutesTable = el("table")),
    );
    this.budget = el("div", { class: "bar", "aria-hidden": "true" });
    this.budgetTitle = el("h4");
    this.blame = el("div", { class: "bar thin", "aria-hidden": "true" });
    this.stages = el("table", { class: "stages" });
    this.decisions = new Decisions();
    this.node = el(
      "article",
      { "aria-labelledby": id },
      el("div", { class: "head" }, this.title, this.promise),
      (this.latency = el("div", {}, this.legend, this.plot, this.summary, this.minutes)),
      el("div", { class: "budget" }, this.budgetTitle, this.budget, this.stages, this.blame),
      this.decisions.node,
    );
    this.node.panel = this;
    this.minutes.addEventListener("toggle", () => this.#minutes());
  }

  show(route, steps, span) {
    this.route = route;
    this.steps = steps;
    this.latency.hidden = !route.window.requests;
    this.chart ??= new QuantileChart(this.plot, route.objective_ms, (index) => this.#point(index));
    const history = steps.of(route.route);
    this.history = history;
    this.chart.show(steps.times, history, steps.span);
    const what = route.streams ? "until the first chunk, " : "";
    put(
      this.promise,
      route.objective_ms === null
        ? "a fan-out promises what its slowest leg does"
        : `${ms(route.objective_ms)} ${what}for ${target(route.target)}`,
    );
    if (this.pointed == null) this.#point(null);
    const worst = history.p99_ms.reduce((most, value) => (value !== null && value > most ? value : most), 0);
    put(
      this.summary,
      `In ${Math.round(route.window.seconds / 60)} minutes: p50 ${ms(route.window.p50_ms)}, `,
      `p95 ${ms(route.window.p95_ms)}, p99 ${ms(route.window.p99_ms)}; highest p99 of a step ${ms(worst || null)}.`,
    );
    this.#budget(route, route[span], span);
    const name = shortRoute(route.route);
    this.decisions.show(route, route[span], { name, when: span === "now" ? "now" : "15 min" });
    this.#minutes();
  }

  /** The legend says the values of the step under the pointer, else those of now. */
  #point(index) {
    this.pointed = index;
    const { route, steps, history } = this;
    if (!route) return;
    const at = index === null || steps.times[index] === undefined ? null : index;
    const of = (name) => (at === null ? route.now[name] : history[name][at]);
    const value = (name) => bareMs(of(name));
    const worst = Math.max(0, ...history.p99_ms.filter((v) => v !== null));
    const beyond = route.objective_ms !== null && worst > CAP * route.objective_ms;
    put(
      this.legend,
      ["span", "key p50", `p50 ${value("p50_ms")}`],
      ["span", "key p95", `p95 ${value("p95_ms")}`],
      ["span", "key p99", `p99 ${ms(of("p99_ms"))}`],
      ["span", "key objective", route.objective_ms === null ? "" : `objective ${bareMs(route.objective_ms)} ms`],
      ["span", "when", at === null ? "now" : clock(new Date(steps.times[at] * 1000))],
      ["span", "when", beyond ? `p99 peaks at ${ms(worst)}, off the chart` : ""],
    );
  }

  #budget(route, told, span) {
    const spent = STAGES.map((stage) => told.stages_ms[stage] ?? 0);
    const total = spent.reduce((sum, value) => sum + value, 0);
    const scale = Math.max(route.objective_ms ?? 0, total) || 1;
    const misses = STAGES.map((stage) => told.blamed[stage] ?? 0);
    const blamed = misses.reduce((sum, value) => sum + value, 0);
    const missed = told.requests - told.met;
    const when = span === "now" ? "now" : "15 min";
    const of = route.objective_ms === null ? "" : ` of ${ms(route.objective_ms)}`;
    const stages = total > 0;
    this.budget.hidden = !stages;
    this.stages.hidden = !stages && !blamed;
    put(this.budgetTitle, stages ? `Mean ${ms(total)}${of}, ${when}` : `${nothing(route, told)}, ${when}`);
    segments(this.budget, spent, scale, (value) => bareMs(value));
    mark(this.budget, route.objective_ms !== null && total > route.objective_ms ? route.objective_ms / scale : null);
    this.blame.hidden = !blamed;
    segments(this.blame, misses, blamed || 1, (value) => count(value));
    if (this.stages.hidden) return;
    fillStages(this.stages, stages ? spent : STAGES.map(() => null), misses, {
      missed,
      blamed,
      caption: `${shortRoute(route.route)}: mean time by stage, and misses by the stage to blame, ${when}`,
    });
  }

  #minutes() {
    if (!this.minutes.open || !this.history) return;
    const { steps, history, route } = this;
    const every = 12; // steps
    const rows = [];
    for (let end = steps.numbers.length; end > 0 && rows.length < 15; end -= every) {
      const from = Math.max(0, end - every);
      const sum = (name) => history[name].slice(from, end).reduce((total, value) => total + (value ?? 0), 0);
      const most = (name) =>
        history[name].slice(from, end).reduce((top, value) => (value === null ? top : Math.max(top ?? 0, value)), null);
      const requests = sum("requests");
      rows.push([
        clock(new Date(steps.times[end - 1] * 1000)),
        requests ? percent(sum("met") / requests) : "–",
        count(requests),
        bareMs(most("p50_ms")),
        bareMs(most("p95_ms")),
        bareMs(most("p99_ms")),
      ]);
    }
    const told = JSON.stringify(rows);
    if (this.minutesTable.told === told) return;
    this.minutesTable.told = told;
    const heads = ["Minute until", "Met", "Requests", "p50 ms", "p95 ms", "p99 ms"];
    this.minutesTable.replaceChildren(
      el(
        "caption",
        { class: "hidden" },
        `${shortRoute(route.route)} by the minute; quantiles of its highest step of 5 s`,
      ),
      el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))),
      el(
        "tbody",
        {},
        ...rows.map(([first, ...rest]) =>
          el("tr", {}, el("th", { scope: "row" }, first), ...rest.map((cell) => el("td", { class: "n" }, cell))),
        ),
      ),
    );
  }
}

/** Why there is no mean of stages. A fan-out has none of its own. */
function nothing(route, told) {
  if (!told.requests) return "No requests";
  return route.objective_ms === null ? "Its time went where its legs’ did" : "None was answered";
}

/** The segments of a stacked bar; a segment that is wide enough says its value. */
function segments(bar, values, scale, say) {
  keyed(
    bar,
    STAGES.map((stage, index) => ({ stage, share: values[index] / scale, text: say(values[index]) })),
    (segment) => segment.stage,
    (segment) => el("span", { class: `segment ${segment.stage}`, title: words(segment.stage) }),
    (node, segment) => {
      node.style.width = `${(segment.share * 100).toFixed(2)}%`;
      put(node, segment.share > 0.08 ? segment.text : "");
    },
  );
}

/** A line in a bar, at a share of its width. */
export function mark(bar, share) {
  let line = bar.querySelector(":scope > .mark");
  if (share === null) return line?.remove();
  if (!line) bar.append((line = el("span", { class: "mark" })));
  line.style.insetInlineStart = `${(share * 100).toFixed(2)}%`;
}

function fillStages(table, spent, misses, { missed, blamed, caption }) {
  if (!table.tBodies.length) {
    table.append(
      el("caption", { class: "hidden" }),
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          el("td"),
          ...STAGES.map((stage) => el("th", { scope: "col" }, el("i", { class: `swatch ${stage}` }), words(stage))),
        ),
      ),
      el(
        "tbody",
        {},
        ...["mean ms", "blamed"].map((head) =>
          el("tr", {}, el("th", { scope: "row" }, head), ...STAGES.map(() => el("td"))),
        ),
      ),
      el("tfoot", {}, el("tr", {}, el("td", { colSpan: STAGES.length + 1 }))),
    );
  }
  put(table.caption, caption);
  const [means, blames] = table.tBodies[0].rows;
  const worst = Math.max(...misses);
  STAGES.forEach((_, index) => {
    put(means.cells[index + 1], bareMs(spent[index]));
    put(blames.cells[index + 1], [
      worst > 0 && misses[index] === worst ? "b" : "span",
      "",
      misses[index] ? count(misses[index]) : "–",
    ]);
  });
  const rest = missed - blamed;
  const others = rest > 0 ? `, ${count(rest)} of them refused, failed or left by their callers` : "";
  put(
    table.tFoot.rows[0].cells[0],
    missed <= 0 ? "No misses." : `${count(missed)} ${missed === 1 ? "miss" : "misses"}${others}.`,
  );
}
