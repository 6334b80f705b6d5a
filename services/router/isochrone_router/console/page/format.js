// Numbers, names and times as people read them.

const NONE = "–";
const OF = "\u00a0"; // between a number and its unit: they stay on one line

/** "7.15 ms", "38.3 ms", "1.20 s". */
export function ms(value) {
  if (value === null || value === undefined) return NONE;
  if (value >= 1000) return `${(value / 1000).toFixed(2)}${OF}s`;
  return `${value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)}${OF}ms`;
}

/** The same, short for where columns say the unit. */
export function bareMs(value) {
  if (value === null || value === undefined) return NONE;
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** "99.95 %", never rounded up to what it isn't. */
export function percent(fraction) {
  if (fraction === null || fraction === undefined) return NONE;
  const digits = fraction >= 0.99 ? 2 : 1;
  const scale = 10 ** digits;
  return `${(Math.floor(fraction * 100 * scale + 1e-6) / scale).toFixed(fraction === 1 ? 0 : digits)}${OF}%`;
}

/** The same of a part of a whole, where a little is not nothing. */
export const part = (fraction) => (fraction > 0 && fraction < 0.001 ? `< 0.1${OF}%` : percent(fraction));

/** A target as it was written: "99.9 %". */
export const target = (fraction) => `${Number((fraction * 100).toPrecision(8))}${OF}%`;

export const count = (value) => (value === null || value === undefined ? NONE : value.toLocaleString("en"));

export function rate(perSecond) {
  return `${perSecond >= 10 ? perSecond.toFixed(0) : perSecond.toFixed(1)}/s`;
}

export function age(seconds) {
  if (seconds < 100) return `${Math.round(seconds)} s`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

/** "isochrone.v1.Recsys/Rank" is "Recsys/Rank" to people. */
export const shortRoute = (route) => route.slice(route.lastIndexOf(".", route.indexOf("/")) + 1);

/** A cost in whatever the devices' costs are given in: "0.42", "0.00042"; of little ones, no powers of ten. */
export const cost = (value) => (value === null || value === undefined ? NONE : COST.format(value));
const COST = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, useGrouping: false });

export const words = (name) => name.replaceAll("_", " ");

const CLOCK = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hour12: false,
});
export const clock = (date) => CLOCK.format(date);

/** A node's prediction rule: what a batch takes. */
export function line(lane) {
  const base = ms(lane.base_us / 1000);
  const per = lane.per_unit_us >= 1000 ? ms(lane.per_unit_us / 1000) : `${lane.per_unit_us.toFixed(1)}${OF}µs`;
  return `${base} + ${per} per ${singular(lane.unit)} ± ${Math.round(lane.spread * 100)} %`;
}

export const singular = (unit) => (unit ? unit.replace(/s$/, "") : "unit");

export function units(value, unit) {
  const rounded = value.toFixed(value < 9.95 ? 1 : 0); // a mean: 1.2 images are not 1
  return `${rounded} ${rounded === "1.0" ? singular(unit) : unit || "units"}`;
}
