// Where the requests of a route were sent and why, what was foretold and what came, and what was refused.

import { el, keyed, put } from "./dom.js";
import { bareMs, cost, count, part, percent, words } from "./format.js";

export const WHY = {
  cheapest: "the cheapest in time",
  fastest: "the fastest, none being sure",
  smaller: "a smaller variant",
  late: "planned late",
  addressed: "by link, past the lane",
};

const COLUMNS = [
  ["Sent there", (lane) => [lane.share === null ? "–" : part(lane.share)]],
  [
    "Expected → took, ms",
    (lane) => [lane.took_ms === null ? "–" : `${bareMs(lane.expected_ms)} → ${bareMs(lane.took_ms)}`],
  ],
  ["As foretold", (lane) => [percent(lane.within)]],
  ["Cost in 1,000", (lane) => [cost(lane.cost_per_1000)]],
  ["If sent now, ms", (_, now) => [outlook(now)]],
];

/** Below the budget of a route's panel. */
export class Decisions {
  constructor() {
    this.title = el("h4");
    this.caption = el("caption", { class: "hidden" });
    this.body = el("tbody", { role: "rowgroup" });
    this.note = el("p", { class: "note" });
    const heads = ["Lane", ...COLUMNS.map(([head]) => head)];
    this.table = el(
      "table",
      { class: "ways", role: "table" }, // on phones its rows are cards
      this.caption,
      el(
        "thead",
        { role: "rowgroup" },
        el("tr", { role: "row" }, ...heads.map((head) => el("th", { scope: "col", role: "columnheader" }, head))),
      ),
      this.body,
    );
    this.node = el("div", { class: "decisions" }, this.title, this.table, this.note);
  }

  show(route, told, { name, when }) {
    const { lanes, refused, fallbacks, cost_per_1000: whole } = told.decisions;
    this.node.hidden = !lanes.length; // a fan-out: its legs are sent somewhere
    if (this.node.hidden) return;
    put(this.title, `Where requests were sent, ${when}`);
    put(this.caption, `${name}: where requests were sent, why, and what came of that, ${when}`);
    keyed(
      this.body,
      lanes,
      (lane) => lane.lane,
      () =>
        el(
          "tr",
          { role: "row" },
          el("th", { scope: "row", role: "rowheader" }),
          ...COLUMNS.map(([head]) => el("td", { class: "n", role: "cell", "data-label": head })),
        ),
      (row, lane) => fill(row, lane, route.outlook[lane.lane]),
    );
    const parts = [];
    if (whole !== null && lanes.length > 1) parts.push(`1,000 answers in time cost ${cost(whole)}.`);
    if (Object.keys(refused).length) parts.push(`Refused: ${list(refused)}.`);
    if (Object.keys(fallbacks).length) parts.push(`Answered by fallbacks: ${list(fallbacks)}.`);
    put(this.note, parts.join(" "));
  }
}

function fill(row, lane, now) {
  const whys = Object.entries(lane.why).sort(([, a], [, b]) => b - a);
  const said = whys.map(([why, times]) => {
    const share = whys.length > 1 ? `${part(times / lane.requests)} ` : "";
    return `${share}${WHY[why] ?? why}`;
  });
  put(row.firstChild, lane.lane, ["span", "aside", said.join("\u00a0· ")]);
  COLUMNS.forEach(([, parts], index) => put(row.children[index + 1], ...parts(lane, now)));
}

/** In the mean, and at the quantile of the target. */
function outlook(now) {
  if (!now) return "no node";
  if (!now.expected_ms) return "not known yet"; // of answers that stream, before the first ones came
  return `${bareMs(now.expected_ms)} to ${bareMs(now.within_ms)}`;
}

const list = (counts) =>
  Object.entries(counts)
    .map(([name, times]) => `${words(name).toLowerCase()} ${count(times)}`)
    .join(", ");
