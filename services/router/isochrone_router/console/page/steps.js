// The last quarter of an hour in steps, put together from answers that each tell of the newest only.

const ROUTE = ["requests", "met", "p50_ms", "p95_ms", "p99_ms"];
const LANE = ["depth", "batch_jobs"];

export class Steps {
  constructor() {
    this.forget();
  }

  /** All of it: the router is another one now. */
  forget() {
    this.boot = null;
    this.numbers = [];
    this.columns = new Map();
  }

  /** The number to ask from. */
  get after() {
    return this.numbers.at(-1) ?? -1;
  }

  /** Takes an answer in; false where it is of another life of the router, and the steps must be asked for anew. */
  take(told) {
    if (this.boot !== null && told.boot !== this.boot) {
      this.forget();
      return false;
    }
    this.boot = told.boot;
    const fresh = told.steps.map((number, index) => [number, index]).filter(([number]) => number > this.after);
    for (const [number, index] of fresh) {
      for (let gap = this.after + 1; this.numbers.length && gap < number; gap++) this.#add(gap, told, null);
      this.#add(number, told, index);
    }
    const surplus = this.numbers.length - told.most_steps;
    if (surplus > 0) {
      this.numbers.splice(0, surplus);
      for (const column of this.columns.values()) column.splice(0, surplus);
    }
    const offsetS = told.at_ms / 1000 - told.now_s;
    this.times = this.numbers.map((number) => (number + 1) * told.step_s + offsetS);
    this.span = { from: told.at_ms / 1000 - told.most_steps * told.step_s, to: told.at_ms / 1000 };
    return true;
  }

  of(name) {
    const columns = name.includes("@") ? LANE : ROUTE;
    return Object.fromEntries(columns.map((column) => [column, this.columns.get(`${name} ${column}`) ?? []]));
  }

  #add(number, told, index) {
    for (const [things, key, columns] of [
      [told.routes, "route", ROUTE],
      [told.lanes, "lane", LANE],
    ]) {
      for (const thing of things) {
        for (const column of columns) {
          const name = `${thing[key]} ${column}`;
          if (!this.columns.has(name))
            this.columns.set(
              name,
              this.numbers.map(() => null),
            );
          this.columns.get(name).push(index === null ? null : thing.steps[column][index]);
        }
      }
    }
    this.numbers.push(number);
    for (const column of this.columns.values()) if (column.length < this.numbers.length) column.push(null);
  }
}
