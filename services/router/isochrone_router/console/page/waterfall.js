// One request that is over, in a dialog: each stage where it began, as long as it took; legs and attempts with it.

import { WHY } from "./decisions.js";
import { el } from "./dom.js";
import { age, clock, cost, ms, shortRoute, target, words } from "./format.js";
import { mark } from "./routes.js";

const CLOSED_BY = {
  all: "all that waited",
  full: "no more fitted",
  deadline: "one more would have made it late",
  overload: "the most in time for the work",
  late: "late already, but better than never",
  split: "a part of one that failed",
  stream: "beside each other",
};

export class RequestDialog {
  constructor(dialog) {
    this.dialog = dialog;
    this.title = dialog.querySelector("h2");
    this.body = dialog.querySelector("#waterfall");
    dialog.querySelector("#close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // on what is behind it
    dialog.addEventListener("close", () => this.#closed());
  }

  get isOpen() {
    return this.dialog.open;
  }

  /** Shows records of one trace; focus goes back to `from` when it is closed, or to `instead` where that is gone. */
  show(records, { from, instead }) {
    this.from = from;
    this.instead = instead;
    this.told = null;
    this.#fill(records);
    if (!this.dialog.open) this.dialog.showModal();
    this.title.focus();
  }

  /** More is known of it now. */
  more(records) {
    if (this.dialog.open) this.#fill(records);
  }

  #fill(records) {
    const told = JSON.stringify(records);
    if (told === this.told) return;
    this.told = told;
    const [first] = records;
    this.title.textContent = `${shortRoute(first.route)}: ${verdict(first)}`;
    this.body.replaceChildren(...records.flatMap((record, index) => requestNodes(record, index > 0)));
  }

  #closed() {
    (this.from?.isConnected ? this.from : this.instead)?.focus();
  }
}

/** What became of it, in few words: "missed, 21.3 ms of 15.0 ms". */
export function verdict(record) {
  const took = record.first_ms ?? record.total_ms;
  const what = {
    met: "in time",
    missed: "missed",
    failed: `failed, ${record.reason || record.code}`,
    cancelled: "left by its caller",
    fallback: "answered by a fallback",
  };
  const until = record.first_ms == null ? "" : " to the first chunk";
  return `${what[record.verdict] ?? record.verdict}, ${ms(took)}${until} of ${ms(record.objective_ms)}`;
}

function requestNodes(record, isAnother) {
  const scale = Math.max(record.objective_ms, record.total_ms) || 1;
  const nodes = [];
  if (isAnother) nodes.push(el("h3", {}, `In the same trace: ${shortRoute(record.route)}, ${verdict(record)}`));
  nodes.push(facts(record));
  if (record.stages.length) nodes.push(stagesTable(record, { scale, startsMs: 0, objectiveMs: record.objective_ms }));
  if (record.tries.length) nodes.push(tries(record));
  if (record.legs.length) nodes.push(...legs(record, scale));
  return nodes;
}

/** Pairs of what and how it was. */
function facts(record) {
  const list = el("dl", { class: "facts" });
  const add = (term, ...what) => list.append(el("div", {}, el("dt", {}, term), el("dd", {}, ...what)));
  const wide = (term, what) => list.append(el("div", { class: "wide" }, el("dt", {}, term), el("dd", {}, what)));
  if (record.blame) add("To blame", el("b", {}, words(record.blame)));
  if (record.fallback) wide("Answered by", standIn(record.fallback));
  if (record.code !== "OK") add("Ended with", [...new Set([record.code, record.reason].filter(Boolean))].join(", "));
  add("Arrived", `${clock(new Date(record.at))} at ${record.router}`);
  if (record.first_ms != null) add("In all", `${ms(record.total_ms)}, ${record.chunks} chunks`);
  add("Deadline", ms(record.deadline_ms));
  if (record.decision?.why) wide(record.attempts ? "Decided" : "Refused", plan(record));
  if (record.lane) add("Lane", `${record.lane}, ${record.tier}${record.direct ? ", sent over the link" : ""}`);
  if (record.node) add("Node", record.node);
  if (record.batch) {
    const { jobs, units, closed_by: why } = record.batch;
    const what = jobs === 1 ? `1 job, ${units} units` : `${jobs} jobs, ${units} units, ${record.units} of them its own`;
    wide("Batch", `${what}; ${CLOSED_BY[why] ?? words(why)}`);
  }
  if (record.attempts > 1)
    add("Attempts", `${record.attempts}${record.won ? `, number ${record.won} answered` : ""}`);
  if (record.decision?.cost) add("Cost of 1,000 such", cost(1000 * record.decision.cost));
  if (record.caller && record.caller !== "anonymous") add("Caller", record.caller);
  if (record.leg) return list; // its trace is that of the whole
  const trace = [el("code", {}, record.trace_id)];
  if (record.jaeger)
    trace.push(" ", el("a", { href: record.jaeger, rel: "noreferrer", target: "_blank" }, "open in Jaeger"));
  add("Trace", ...trace);
  return list;
}

/** What was decided about it, and what was expected. */
function plan({ attempts, decision }) {
  const { why, expected_ms: expected, within_ms: within, retry_after_ms: again, held_ms: held } = decision;
  const parts = [attempts ? (WHY[why] ?? why) : words(why).toLowerCase()];
  if (expected) parts.push(`expected ${ms(expected)}`);
  if (within && decision.target) parts.push(`${target(decision.target)} within ${ms(within)}`);
  if (held) parts.push(`waited ${ms(held)} for company`);
  if (again) parts.push(`come back in ${ms(again)}`);
  return parts.join(", ");
}

const SOURCES = { last_good: "the last good answer", static: "a static answer", route: "another route" };

function standIn({ source, route, age_ms: ageMs, reason }) {
  const which = `${SOURCES[source] ?? words(source)}${route ? `, ${shortRoute(route)}` : ""}`;
  const old = source === "last_good" ? `, ${age(ageMs / 1000)} old` : "";
  return `${which}${old}${reason ? `, because of ${words(reason).toLowerCase()}` : ""}`;
}

function stagesTable(record, { scale, startsMs, objectiveMs }) {
  let at = startsMs;
  const rows = record.stages.map(([stage, took]) => {
    const bar = el("span", { class: `segment ${stage}` });
    bar.style.marginInlineStart = `${((at / scale) * 100).toFixed(2)}%`;
    bar.style.width = `${((took / scale) * 100).toFixed(2)}%`;
    bar.hidden = took <= 0;
    at += took;
    const track = el("div", { class: "track", "aria-hidden": "true" }, bar);
    if (objectiveMs !== null && objectiveMs < scale) mark(track, objectiveMs / scale);
    const blamed = stage === record.blame;
    return el(
      "tr",
      { class: blamed ? "blamed" : "" },
      el("th", { scope: "row" }, words(stage), ...(blamed ? [" ", el("span", { class: "tag" }, "to blame")] : [])),
      el("td", {}, track),
      el("td", { class: "n" }, ms(took)),
      el("td", { class: "n share" }, `${record.total_ms ? Math.round((took / record.total_ms) * 100) : 0} %`),
    );
  });
  const end = howItEnded(record);
  return el(
    "table",
    { class: "waterfall" },
    el("caption", { class: "hidden" }, `Stages of ${shortRoute(record.route)}`),
    el(
      "thead",
      { class: "hidden" },
      el("tr", {}, ...["Stage", "When", "Time", "Share"].map((head) => el("th", { scope: "col" }, head))),
    ),
    el("tbody", {}, ...rows),
    el("tfoot", {}, el("tr", {}, el("td", { colSpan: 4 }, end))),
  );
}

function howItEnded(record) {
  const spare = record.objective_ms - (record.first_ms ?? record.total_ms);
  if (record.verdict === "failed") return `It failed after ${ms(record.total_ms)}.`;
  if (record.verdict === "cancelled") return `Its caller left after ${ms(record.total_ms)}.`;
  const what = record.first_ms == null ? "" : ", which is for the first chunk";
  return spare >= 0
    ? `${ms(spare)} to spare${what}`
    : `${ms(-spare)} over the objective of ${ms(record.objective_ms)}${what}`;
}

function tries(record) {
  const items = record.tries.map((one, index) => {
    const won = record.won === index + 1 ? ", and answered all the same" : ""; // it was hedged
    return el("li", {}, `${one.node || "in the lane"}, after ${ms(one.ms)}${won}: ${one.why}`);
  });
  return el("div", {}, el("h3", {}, "Attempts that were given up"), el("ol", { class: "tries" }, ...items));
}

/** All legs on one scale, and each with its own stages below. */
function legs(record, scale) {
  const rows = record.legs.map((leg) => {
    const bar = el("span", { class: `segment leg ${leg.verdict}` });
    bar.style.marginInlineStart = `${((leg.starts_ms / scale) * 100).toFixed(2)}%`;
    bar.style.width = `${((leg.total_ms / scale) * 100).toFixed(2)}%`;
    const track = el("div", { class: "track", "aria-hidden": "true" }, bar);
    if (record.objective_ms < scale) mark(track, record.objective_ms / scale);
    return el(
      "tr",
      {},
      el("th", { scope: "row" }, leg.leg || shortRoute(leg.route)),
      el("td", {}, track),
      el("td", { class: "n" }, ms(leg.total_ms)),
      el("td", { class: "n share" }, leg.verdict),
    );
  });
  return [
    el("h3", {}, "Legs"),
    el(
      "table",
      { class: "waterfall" },
      el("caption", { class: "hidden" }, "Legs of the fan-out"),
      el(
        "thead",
        { class: "hidden" },
        el("tr", {}, ...["Leg", "When", "Time", "Verdict"].map((head) => el("th", { scope: "col" }, head))),
      ),
      el("tbody", {}, ...rows),
    ),
    ...record.legs.map((leg) =>
      el(
        "details",
        { class: "leg", open: leg.verdict !== "met" },
        el("summary", {}, `${leg.leg || "leg"}: ${shortRoute(leg.route)}, ${verdict(leg)}`),
        ...requestNodes(leg, false),
      ),
    ),
  ];
}
