// The last misses: a table whose rows open into their waterfalls, and the way to any request by its trace id.

import { Table, el, put } from "./dom.js";
import { clock, count, ms, shortRoute, words } from "./format.js";
import { verdict } from "./waterfall.js";

const SHOWN = 20;
const LATELY_S = 900;
const keyOf = (record) => `${record.trace_id} ${record.route} ${record.at} ${record.leg}`;

export class Misses {
  constructor(dialog, read) {
    this.dialog = dialog;
    this.read = read;
    this.heading = document.querySelector("#misses-title");
    this.note = document.querySelector("#misses-note");
    this.table = new Table(
      document.querySelector("#misses"),
      "The last requests that missed their objective or failed, newest first",
      [
        { label: "Arrived", head: true, make: (cell, record) => cell.append(this.#button(record)) },
        { label: "Route", fill: (cell, record) => put(cell, shortRoute(record.route)) },
        {
          label: "Took",
          numeric: true,
          fill: (cell, record) =>
            put(
              cell,
              ["b", "", ms(record.first_ms ?? record.total_ms)],
              ["span", "quiet", ` of ${ms(record.objective_ms)}`],
            ),
        },
        { label: "To blame", fill: (cell, record) => blame(cell, record) },
        {
          label: "Node",
          fill: (cell, record) => put(cell, record.node || (record.legs.length ? `${record.legs.length} legs` : "–")),
        },
        { label: "Outcome", fill: outcome },
      ],
      keyOf,
      { empty: "No misses in 15 minutes." },
    );
    document.querySelector("#find").addEventListener("submit", (event) => this.#find(event));
  }

  /** Asks anew where something has missed since. */
  async update(missed, processes) {
    this.prefix = processes > 1 ? "console/" : ""; // a process by itself knows its own requests only
    if (missed === this.seen || this.dialog.isOpen) return;
    const told = await this.read(`${this.prefix}misses?since_s=${LATELY_S}&limit=${SHOWN}`);
    this.seen = missed;
    if (told === null) {
      put(this.note, "This router keeps none.");
      return;
    }
    this.table.show(told.misses);
    put(
      this.note,
      told.seen
        ? `${count(told.seen)} in 15 minutes${told.kept < told.seen ? `, ${count(told.kept)} kept` : ""}${
            told.turned_away ? `, ${count(told.turned_away)} more turned away` : ""
          }; the newest first.`
        : "",
    );
  }

  /** The router is another one: nothing is known of it yet. */
  forget() {
    this.seen = null;
  }

  #button(record) {
    const button = el(
      "button",
      { type: "button", class: "open" },
      clock(new Date(record.at)),
      el("span", { class: "hidden" }, `: ${shortRoute(record.route)} ${verdict(record)}. Show its waterfall`),
    );
    button.addEventListener("click", () => this.#open(record, button));
    return button;
  }

  async #open(record, button) {
    this.dialog.show([record], { from: button, instead: this.heading });
    const told = await this.read(`${this.prefix}traces/${record.trace_id}`);
    const others = (told?.requests ?? []).filter((other) => keyOf(other) !== keyOf(record));
    if (others.length) this.dialog.more([record, ...others]);
  }

  async #find(event) {
    event.preventDefault();
    const form = event.target;
    const trace = form.trace.value.trim().toLowerCase();
    const error = form.querySelector("#find-error");
    put(error);
    if (!/^[0-9a-f]{32}$/.test(trace)) return put(error, "A trace id has 32 hexadecimal digits.");
    const told = await this.read(`${this.prefix}traces/${trace}`);
    if (!told?.requests?.length) return put(error, "Nothing is kept of it.");
    this.dialog.show(told.requests, { from: form.trace, instead: this.heading });
  }
}

function outcome(cell, record, row) {
  row.classList.toggle("failed", ["failed", "fallback"].includes(record.verdict));
  const reason = words(record.reason || record.code).toLowerCase();
  const said = { failed: reason, fallback: `fallback for ${reason}` };
  const late = record.decision?.why === "late" ? ", as planned" : "";
  put(cell, said[record.verdict] ?? `${words(record.verdict)}${late}`);
}

function blame(cell, record) {
  if (!record.blame) return put(cell, "–");
  const spent = new Map(record.stages).get(record.blame);
  put(cell, ["i", `swatch ${record.blame}`, ""], words(record.blame), [
    "span",
    "quiet",
    spent === undefined ? "" : `, ${ms(spent)}`,
  ]);
}
