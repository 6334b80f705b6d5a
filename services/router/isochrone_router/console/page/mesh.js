// Lanes and nodes.

import { Spark } from "./chart.js";
import { Table, el, put } from "./dom.js";
import { age, count, line, ms, part, rate, units, words } from "./format.js";

export function lanesTable(table, state) {
  const spark = (color, column) => ({
    make: (cell) => cell.append(el("span", { class: "text" }), el("div", { class: "spark" })),
    draw: (cell, lane) => {
      const parent = cell.querySelector(".spark");
      parent.drawn ??= new Spark(parent, color);
      parent.drawn.show(state.steps.times, state.steps.of(lane.lane)[column], state.steps.span);
    },
  });
  const backlog = spark("--queue", "depth");
  const batches = spark("--compute", "batch_jobs");
  return new Table(
    table,
    "Lanes: what waits, and in which batches it runs",
    [
      { label: "Lane", head: true, fill: (cell, lane) => put(cell, lane.lane) },
      {
        label: "Backlog",
        make: backlog.make,
        fill: (cell, lane) => {
          put(
            cell.firstChild,
            ["b", "", count(lane.depth)],
            ` ${lane.depth === 1 ? "job" : "jobs"}, ${ms(lane.backlog_ms)} of work`,
          );
          backlog.draw(cell, lane);
        },
      },
      {
        label: "Batch",
        make: batches.make,
        fill: (cell, lane) => {
          const told = lane[state.span];
          if (told.batch_jobs === null) put(cell.firstChild, "none run");
          else
            put(
              cell.firstChild,
              ["b", "", told.batch_jobs.toFixed(1)],
              ` ${told.batch_jobs === 1 ? "job" : "jobs"}, ${units(told.batch_units, lane.unit)}`,
            );
          batches.draw(cell, lane);
        },
      },
      { label: "Batches run", numeric: true, fill: (cell, lane) => put(cell, count(lane[state.span].batches)) },
      {
        label: "Way",
        fill: (cell, lane) =>
          put(cell, lane.modes.map((mode) => (mode === "lane" ? "through Redis" : "over the links")).join(" and ")),
      },
      {
        label: "Nodes",
        fill: (cell, lane) =>
          put(cell, ...(lane.nodes.length ? [lane.nodes.join(", ")] : [["span", "sign below", "✕"], "none"])),
      },
    ],
    (lane) => lane.lane,
    { empty: "No lanes." },
  );
}

const HEALTH = {
  linked: ["✓", "met", "linked"],
  spare: ["✓", "met", "a second address"],
  draining: ["↓", "quiet", "leaving"],
  silent: ["!", "below", "silent"],
  dialling: ["✕", "below", "not reached"],
  refused: ["✕", "below", "refuses us"],
};

function health(cell, node) {
  const [sign, kind, said] = HEALTH[node.state] ?? ["?", "quiet", node.state];
  const alike = node.states.filter((state) => state === node.state).length;
  const some = alike < node.states.length ? `, to ${alike} of ${node.states.length} processes` : "";
  put(cell, ["span", `sign ${kind}`, sign], `${said}${some}`);
}

function forecast(cell, node) {
  const { predicted_ms: predicted, actual_ms: actual } = node.forecasts;
  if (predicted === null) return put(cell, "–");
  const ratio = predicted > 0 ? actual / predicted : null;
  const off = ratio !== null && (ratio > 2 || ratio < 0.5);
  const said = ratio === null ? "" : `${ratio.toFixed(ratio >= 1 ? 1 : 2)} × as long`;
  put(
    cell,
    ms(predicted),
    ["span", "quiet", " → "],
    ["b", "", ms(actual)],
    ["span", off ? "aside over" : "aside", said],
  );
}

/** Jobs, and what became of its time: how many it gave up, and how much went to such as nobody waited for any more. */
function ran(cell, node) {
  const sum = (name) => node.lanes.reduce((total, lane) => total + (lane[name] ?? 0), 0);
  const [dropped, computed, wasted] = [sum("dropped"), sum("compute_s"), sum("wasted_s")];
  const told = [
    ...(dropped ? [`${count(dropped)} dropped`] : []),
    ...(wasted > 0 && computed > 0 ? [`${part(wasted / computed)} of its time wasted`] : []),
  ];
  put(cell, `${count(sum("jobs"))} jobs`, ...(told.length ? [["span", "aside", told.join(", ")]] : []));
}

export function nodesTable(table) {
  return new Table(
    table,
    "Nodes: health, what they serve, and what their predictions are worth",
    [
      { label: "Node", head: true, fill: (cell, node) => put(cell, node.name) },
      { label: "Health", fill: health },
      { label: "Device", fill: (cell, node) => put(cell, node.device || "–") },
      {
        label: "Variants, and how long a batch takes",
        fill: (cell, node) =>
          put(
            cell,
            ...(node.lanes.length
              ? node.lanes.flatMap((lane) => [
                  ["b", "variant", lane.variant],
                  ["span", "rule", line(lane)],
                  ...(lane.stands_back ? [["span", "aside", "stands back: others are quicker"]] : []),
                ])
              : ["–"]),
          ),
      },
      { label: "Predicted → actual", fill: forecast },
      { label: "In hand", numeric: true, fill: (cell, node) => put(cell, count(node.inflight)) },
      {
        label: "Run",
        numeric: true,
        fill: ran,
      },
      {
        label: "Round trip",
        numeric: true,
        fill: (cell, node) => put(cell, node.rtt_us ? ms(node.rtt_us / 1000) : "–"),
      },
    ],
    (node) => `${node.name}`,
    { empty: "No node is known." },
  );
}

/** How many requests were sent again, hedges among them, and how many should have been. */
function secondAttempts({ made, denied, hedges, hedges_won: won }) {
  if (!made && !denied) return "";
  const which = hedges ? `, ${count(hedges)} of them hedges, of which ${count(won)} won` : "";
  return ` · ${count(made)} sent again${which}${denied ? `, ${count(denied)} denied` : ""}`;
}

const QUOTAS = { rate: (value) => `${value}/s`, concurrency: (value) => `${value} at once` };

/** What a caller uses of a quota; a word says where that is nearly all. */
function quota(cell, caller, name) {
  const told = caller.quotas[name];
  if (!told) return put(cell, "no limit");
  const nearly = told.used >= 0.9 * told.limit;
  put(
    cell,
    ["b", nearly ? "over" : "", count(told.used)],
    ["span", "quiet", ` of ${QUOTAS[name](count(told.limit))}`],
    ...(nearly ? [["span", "aside over", told.used < told.limit ? "nearly used up" : "used up"]] : []),
  );
}

export function callersTable(table) {
  return new Table(
    table,
    "Callers: their tiers, what they use of their quotas, and what they were refused",
    [
      { label: "Caller", head: true, fill: (cell, caller) => put(cell, caller.caller) },
      {
        label: "Tiers",
        fill: (cell, { tiers, default_tier: usual }) =>
          put(cell, tiers.length > 1 ? `${tiers.join(", ")}; ${usual} where it asks for none` : tiers.join()),
      },
      { label: "Requests", numeric: true, fill: (cell, caller) => put(cell, rate(caller.rate_per_s)) },
      { label: "Rate", numeric: true, fill: (cell, caller) => quota(cell, caller, "rate") },
      { label: "Under way", numeric: true, fill: (cell, caller) => quota(cell, caller, "concurrency") },
      {
        label: "Refused since the start",
        fill: (cell, { refused }) => {
          const told = Object.entries(refused).map(([reason, times]) => `${count(times)} ${words(reason).toLowerCase()}`);
          put(cell, told.join(", ") || "–");
        },
      },
    ],
    (caller) => caller.caller,
    { empty: "" },
  );
}

const REDIS = { up: "Redis up", none: "without Redis" };

/** One line for each process of the router, and for each that doesn't answer. */
export function processes(list, told) {
  const items = [
    ...told.processes.map((process) => ({
      name: process.name,
      parts: [
        ["b", "", process.name],
        ` up ${age(process.uptime_s)}${process.draining ? ", leaving" : ""} · ${count(process.inflight)} under way · `,
        REDIS[process.redis] ?? ["span", "over", `✕ Redis ${process.redis}`],
        secondAttempts(process.second_attempts),
      ],
    })),
    ...told.missing.map((missing) => ({
      name: missing.name,
      parts: [["span", "sign below", "✕"], ["b", "", missing.name], ` is missing here: ${missing.why}`],
    })),
  ];
  while (list.children.length > items.length) list.lastChild.remove();
  items.forEach((item, index) => put(list.children[index] ?? list.appendChild(el("li")), ...item.parts));
}
