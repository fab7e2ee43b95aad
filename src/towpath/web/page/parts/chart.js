// A picture of traffic over time: sent above the line, received below it; relayed as areas, one's own as lines.
// Drawn by uPlot, which vendor/ holds.

import { h, say, show } from "./dom.js";
import { clock, day, full, moment, rate } from "../format.js";
import { colour } from "./theme.js";
import { t } from "./words.js";

const SERIES = ["sent", "received", "own_sent", "own_received"];

/**
 * The element's `tell(points, {budget, stepped, span})` draws: points of `at` (Unix seconds), and bytes per second by
 * the names of SERIES (own ones may be missing); the budget in bytes per second or null; whether points are slices of
 * time rather than moments; how many seconds are shown, up to now. `stop()` when it is no longer needed.
 */
export function chart() {
  const canvas = h("div", { class: "chart", role: "img", aria: { label: t("traffic.picture") } });
  const none = h("p", { class: "chart-none" }, t("traffic.none"));
  const readout = h("p", { class: "small muted figures readout", aria: { hidden: "true" } }, "");
  canvas.append(none);
  const element = h("div", null, canvas, readout);
  let plot = null;
  let shape = "";
  let data = null;
  let options = null;

  function draw() {
    const { budget, stepped, span } = options;
    const wanted = JSON.stringify([stepped, span, data.length]);
    if (plot && shape !== wanted) destroy();
    shape = wanted;
    const most = Math.max(1, ...data.slice(1).flat().map(Math.abs));
    const drawn = budget !== null && (budget <= 6 * most || most <= 1) ? budget : null;
    const top = Math.max(most <= 1 ? 1000 : most, drawn ?? 0) * 1.12;
    if (!plot) plot = make(stepped, span, data.length > 3);
    plot.budget = drawn;
    plot.top = top;
    plot.setData(data);
    show(none, most <= 1);
  }

  function make(stepped, span, own) {
    const accent = colour("--accent");
    const other = colour("--other");
    const grid = { stroke: colour("--line"), width: 1 };
    const font = `12px ${getComputedStyle(document.body).fontFamily}`;
    const paths = stepped ? uPlot.paths.stepped({ align: 1 }) : uPlot.paths.linear();
    const area = (alpha) => ({
      stroke: accent,
      width: 1.6,
      fill: soft(accent, alpha),
      paths,
      points: { show: false },
      fillTo: () => 0,
    });
    const line = { stroke: other, width: 1.6, paths, points: { show: false } };
    const axis = { stroke: colour("--muted"), font, grid, ticks: { show: false }, border: { show: false } };
    return new uPlot(
      {
        width: canvas.clientWidth,
        height: canvas.clientHeight,
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
        // Room for half of a time that stands at the very end.
        padding: [8, 24, 0, 0],
        scales: {
          x: { time: true, range: (_, __, max) => [max - span, max] },
          y: { range: (self) => [-self.top, self.top] },
        },
        axes: [
          { ...axis, space: 84, size: 32, values: (_, splits) => splits.map((at) => tick(at, span)) },
          {
            ...axis,
            size: canvas.clientWidth < 480 ? 62 : 78,
            values: (_, splits) => splits.map((value) => (value === 0 ? "" : rate(Math.abs(value)))),
          },
        ],
        series: [{}, area(0.28), area(0.14), ...(own ? [line, line] : [])],
        hooks: {
          draw: [(self) => drawBudget(self)],
          setCursor: [(self) => tellAt(self)],
        },
      },
      data,
      canvas,
    );
  }

  function drawBudget(self) {
    const { ctx, bbox } = self;
    ctx.save();
    ctx.lineWidth = devicePixelRatio;
    ctx.strokeStyle = colour("--edge");
    horizontal(ctx, bbox, self.valToPos(0, "y", true));
    if (self.budget !== null) {
      ctx.strokeStyle = colour("--alert");
      ctx.lineWidth = 1.5 * devicePixelRatio;
      ctx.setLineDash([6 * devicePixelRatio, 5 * devicePixelRatio]);
      for (const value of [self.budget, -self.budget]) horizontal(ctx, bbox, self.valToPos(value, "y", true));
    }
    ctx.restore();
  }

  function tellAt(self) {
    const at = self.cursor.idx;
    if (at === null || at === undefined || self.cursor.left < 0) {
      say(readout, "");
      return;
    }
    const values = SERIES.map((_, index) => Math.abs(data[index + 1]?.[at] ?? 0));
    const when =
      options.span > 86400 ? full(data[0][at]) : options.span > 600 ? moment(data[0][at]) : clock(data[0][at]);
    const key = data.length > 3 ? "traffic.readout_own" : "traffic.readout";
    say(
      readout,
      t(key, {
        when,
        sent: rate(values[0]),
        received: rate(values[1]),
        own_sent: rate(values[2]),
        own_received: rate(values[3]),
      }),
    );
  }

  function destroy() {
    plot?.destroy();
    plot = null;
  }

  const sized = new ResizeObserver(() => plot?.setSize({ width: canvas.clientWidth, height: canvas.clientHeight }));
  sized.observe(canvas);
  const themed = () => {
    destroy();
    if (data) draw();
  };
  addEventListener("themechange", themed);

  element.tell = (points, wanted) => {
    options = wanted;
    const own = points.some((point) => point.own_sent !== undefined && point.own_sent !== null);
    data = [
      points.map((point) => point.at),
      points.map((point) => point.sent),
      points.map((point) => -point.received),
      ...(own ? [points.map((point) => point.own_sent ?? 0), points.map((point) => -(point.own_received ?? 0))] : []),
    ];
    if (points.length && canvas.clientWidth) draw();
  };
  element.describe = (text) => canvas.setAttribute("aria-label", text);
  element.stop = () => {
    sized.disconnect();
    removeEventListener("themechange", themed);
    destroy();
  };
  return element;
}

function horizontal(ctx, box, y) {
  ctx.beginPath();
  ctx.moveTo(box.left, y);
  ctx.lineTo(box.left + box.width, y);
  ctx.stroke();
}

const soft = (rgb, alpha) => rgb.replace(/^rgb\(([^)]*)\)$/, `rgba($1, ${alpha})`);

function tick(at, span) {
  const when = new Date(at * 1000);
  if (span > 2 * 86400) return day(at);
  if (span <= 600) return clock(at);
  return span > 3600 && when.getMinutes() === 0 && when.getHours() === 0 ? day(at) : moment(at, at);
}
