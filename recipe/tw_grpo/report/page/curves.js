// SPDX-License-Identifier: Apache-2.0
// Charts over uPlot: lines with bands, names, units and a table of the numbers for who does not see them.
"use strict";
const curves = {
  COLOURS: ["blue", "red", "green", "purple", "orange", "sky"],
  DASHES: [[], [7, 4], [2, 3], [10, 3, 2, 3], [4, 2], [1, 2]],
  plots: [],
  /** Mean over `width` values around each; null stays null. */
  smooth(values, width) {
    const reach = Math.floor(width / 2);
    return values.map((value, i) => {
      if (value === null || width < 2) return value;
      const near = values.slice(Math.max(0, i - reach), i + reach + 1).filter((v) => v !== null);
      return near.reduce((a, b) => a + b, 0) / near.length;
    });
  },
  /** Several [xs, ys] on one x axis: all x in order, and one array of y for each, null where it has none. */
  joined(series) {
    const xs = [...new Set(series.flatMap(([x]) => x))].sort((a, b) => a - b);
    const at = new Map(xs.map((x, i) => [x, i]));
    return [xs, ...series.map(([x, y]) => {
      const line = new Array(xs.length).fill(null);
      x.forEach((value, i) => { line[at.get(value)] = y[i] ?? null; });
      return line;
    })];
  },
  /**
   * A card with a chart. `lines`: {name, x, y, colour, dash, faint, points, low, high}; low and high are a band.
   * `options`: {title, unit, axis (name of x), percent, log, levels: [{name, y}], marks: [x, …], height}.
   */
  card(lines, options) {
    const shown = lines.filter((line) => line.y.some((y) => y !== null && y !== undefined));
    const card = look.el("article", {class: "card panel"}, look.el("h3", {}, options.title));
    if (options.about) card.append(look.el("p", {class: "soft small"}, options.about));
    if (!shown.length) {
      card.append(look.el("p", {class: "soft"}, options.none || "not in the files of this run"));
      return card;
    }
    const place = look.el("div", {class: "chart", role: "img", "aria-label": curves.words(shown, options)});
    card.append(place, curves.numbers(shown, options));
    const plot = {place, lines: shown, options, chart: null};
    curves.plots.push(plot);
    return card;
  },
  words(lines, options) {
    const said = lines.filter((line) => !line.faint).map((line) => {
      const known = line.y.filter((y) => y !== null && y !== undefined);
      const [first, last] = [known[0], known[known.length - 1]].map((y) => look.number(y));
      return `${line.name}: first ${first}, last ${last}`;
    });
    return `Chart: ${options.title}. ${said.join("; ")}`;
  },
  /** The same numbers as a table, made when it is opened. */
  numbers(lines, options) {
    const details = look.el("details", {class: "small"}, look.el("summary", {}, "Numbers"));
    details.addEventListener("toggle", () => {
      if (!details.open || details.childElementCount > 1) return;
      const named = lines.filter((line) => !line.faint);
      const [x, ...ys] = curves.joined(named.map((line) => [line.x, line.y]));
      const rows = x.map((value, i) => [String(value), ...ys.map((y) => look.number(y[i], 4))]);
      details.append(look.table([[options.axis || "step", ...named.map((line) => line.name)], ...rows]));
    });
    return details;
  },
  turn: 0,
  /** Draw whatever stands in the page and is not drawn, a chart at a time, so that the page stays awake. */
  async draw() {
    const turn = ++curves.turn;
    for (const plot of [...curves.plots]) {
      const width = plot.place.clientWidth;
      if (!width || (plot.chart && plot.width === width)) continue;
      plot.chart?.destroy();
      plot.width = width;
      plot.chart = curves.make(plot, width);
      await new Promise((go) => setTimeout(go));
      if (turn !== curves.turn) return; // a later call draws the rest
    }
  },
  redraw() {
    for (const plot of curves.plots) plot.width = 0;
    curves.draw();
  },
  clear(within) {
    curves.plots = curves.plots.filter((plot) => {
      if (!within.contains(plot.place)) return true;
      plot.chart?.destroy();
      return false;
    });
  },
  make({place, lines, options}, width) {
    const series = [{label: options.axis || "step"}], data = [], bands = [];
    const add = (x, y, more) => { data.push([x, y]); series.push(more); return series.length - 1; };
    for (const line of lines) {
      const stroke = look.colour(line.colour);
      if (line.low) {
        const hidden = {show: true, stroke: "transparent", width: 0, points: {show: false}, label: ""};
        const high = add(line.x, line.high, hidden), low = add(line.x, line.low, hidden);
        bands.push({series: [high, low], fill: curves.faded(stroke, 0.16)});
      }
      const few = line.points || line.x.length <= 12;
      add(line.x, line.y, {
        label: line.name, stroke: line.faint ? curves.faded(stroke, 0.35) : stroke, dash: line.dash,
        width: line.faint ? 1 : 2, points: {show: few, size: line.points ? 8 : 5, fill: stroke}, spanGaps: true,
        value: (_, y) => look.number(y),
      });
    }
    const axis = {stroke: look.colour("soft"), grid: {stroke: look.colour("line"), width: 0.5},
      ticks: {stroke: look.colour("line"), width: 0.5}, font: "12px system-ui, sans-serif"};
    const values = options.percent ? (_, ticks) => ticks.map((t) => `${Math.round(t * 1000) / 10}%`) :
      (_, ticks) => ticks.map((t) => look.number(t));
    const range = (_, low, high) => {
      if (options.percent) return [Math.min(0, low), Math.max(1, high)];
      if (low === null || high - low > 1e-9 * Math.abs(high)) return uPlot.rangeNum(low, high, 0.1, true);
      return low === 0 ? [0, 1] : [low - Math.abs(low) / 20, low + Math.abs(low) / 20]; // a flat line, in the middle
    };
    const chart = new uPlot({
      width, height: options.height || 210, series, bands,
      scales: {x: {time: false}, y: {range}},
      axes: [{...axis, label: options.axis || "step", labelSize: 20, labelFont: axis.font, size: 34},
        {...axis, values, size: 62}],
      cursor: {sync: options.sync ? {key: options.sync} : undefined, points: {size: 6}},
      legend: {show: true, live: true}, hooks: {draw: [(u) => curves.levels(u, options)], ...options.hooks},
    }, curves.joined(data), place);
    place.querySelectorAll(".u-legend .u-series").forEach((row, i) => {
      const name = series[i];
      if (name.label === "" || (i && lines.some((line) => line.faint && line.name === name.label))) row.hidden = true;
    });
    return chart;
  },
  /** Dashed levels across the chart, and upright marks. */
  levels(u, options) {
    const {ctx, bbox} = u, line = (x0, y0, x1, y1) => { ctx.beginPath(); ctx.moveTo(x0, y0); ctx.lineTo(x1, y1); ctx.stroke(); };
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = look.colour("grey");
    ctx.lineWidth = devicePixelRatio;
    ctx.textAlign = "right";
    ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    for (const level of options.levels || []) {
      const y = u.valToPos(level.y, "y", true);
      if (y < bbox.top || y > bbox.top + bbox.height) continue;
      line(bbox.left, y, bbox.left + bbox.width, y);
      ctx.fillText(level.name, bbox.left + bbox.width - 4 * devicePixelRatio, y + 13 * devicePixelRatio);
    }
    for (const mark of options.marks || []) {
      const x = u.valToPos(mark, "x", true);
      line(x, bbox.top, x, bbox.top + bbox.height);
    }
    ctx.restore();
  },
  faded(colour, alpha) {
    const [r, g, b] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
    return `rgba(${r}, ${g}, ${b}, ${alpha})`;
  },
};
