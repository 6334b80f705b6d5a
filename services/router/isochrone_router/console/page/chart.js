// Charts by uPlot: quantiles of a route with its objective, and the small ones of lanes.

const uPlot = globalThis.uPlot;
export const CAP = 3; // objectives; what is beyond is said in words, so that one outlier doesn't flatten the rest
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const all = new Set();

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => all.forEach((chart) => chart.redraw()));

const resized = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    const width = Math.floor(contentRect.width);
    if (width > 0 && target.chart && target.chart.width !== width) {
      target.chart.setSize({ width, height: target.chart.height });
    }
  }
});

function made(parent, options, data) {
  const chart = new uPlot({ ...options, width: Math.max(40, Math.floor(parent.clientWidth)) }, data, parent);
  chart.root.setAttribute("aria-hidden", "true");
  parent.chart = chart;
  all.add(chart);
  resized.observe(parent);
  return chart;
}

const line = (color, more = {}) => ({
  stroke: () => css(color),
  width: 1.5,
  points: { show: false },
  spanGaps: false,
  ...more,
});
const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hour12: false });

/** p50, p95 and p99 over time with the objective's line. `told` hears which step is pointed at, or null. */
export class QuantileChart {
  constructor(parent, objectiveMs, told) {
    this.objectiveMs = objectiveMs;
    const axis = { stroke: () => css("--quiet"), font: "11px system-ui", ticks: { show: false } };
    const grid = { stroke: () => css("--line"), width: 1 };
    this.chart = made(
      parent,
      {
        height: 150,
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
        padding: [8, 4, 0, 0],
        scales: { x: { time: true }, y: { range: (_, low, high) => [0, this.#top(high)] } },
        axes: [
          {
            ...axis,
            grid: { show: false },
            size: 22,
            space: 70,
            values: (_, at) => at.map((s) => time.format(s * 1e3)),
          },
          { ...axis, grid, size: 38, space: 34, values: (_, values) => values.map((v) => `${v}`) },
        ],
        series: [{}, line("--p50", { width: 2 }), line("--p95", { dash: [6, 3] }), line("--p99", { dash: [2, 2] })],
        hooks: { setCursor: [(chart) => told(chart.cursor.idx ?? null)], draw: [(chart) => this.#objective(chart)] },
      },
      [[], [], [], []],
    );
  }

  #top(high) {
    const most = this.objectiveMs ? Math.min(high ?? 0, CAP * this.objectiveMs) : (high ?? 0);
    return Math.max(most * 1.05, (this.objectiveMs ?? 1) * 1.25);
  }

  /** The line that it is all about, from edge to edge whether there were requests or not. */
  #objective(chart) {
    if (this.objectiveMs === null) return;
    const { left, width } = chart.bbox;
    const y = Math.round(chart.valToPos(this.objectiveMs, "y", true)) + 0.5;
    chart.ctx.save();
    chart.ctx.strokeStyle = css("--objective");
    chart.ctx.lineWidth = 1.5 * devicePixelRatio;
    chart.ctx.setLineDash([10 * devicePixelRatio, 4 * devicePixelRatio]);
    chart.ctx.beginPath();
    chart.ctx.moveTo(left, y);
    chart.ctx.lineTo(left + width, y);
    chart.ctx.stroke();
    chart.ctx.restore();
  }

  show(times, { p50_ms, p95_ms, p99_ms }, { from, to }) {
    this.chart.setData([times, p50_ms, p95_ms, p99_ms], false);
    this.chart.setScale("x", { min: from, max: to });
  }
}

/** A small one without axes. */
export class Spark {
  constructor(parent, color) {
    this.chart = made(
      parent,
      {
        height: 26,
        legend: { show: false },
        cursor: { show: false },
        padding: [2, 0, 2, 0],
        scales: { x: { time: true }, y: { range: (_, low, high) => [0, Math.max(1, high ?? 0)] } },
        axes: [{ show: false }, { show: false }],
        series: [{}, line(color, { width: 1.5, spanGaps: true })],
      },
      [[], []],
    );
  }

  show(times, values, { from, to }) {
    this.chart.setData([times, values], false);
    this.chart.setScale("x", { min: from, max: to });
  }
}
