// SPDX-License-Identifier: Apache-2.0
// Which curves there are. Runs that differ in their seed only are one row: its mean, and a band of one deviation.
"use strict";
const panels = {
  // title, [series, name] pairs, and: spread or range (the band of the first, in a page of one run), band (words on it),
  // validation (measure of each), percent, about
  CHARTS: [
    {title: "Reward of a response", lines: [["reward", "mean"]], spread: "reward_std", validation: ["score"], constant: true,
      band: "The band is one standard deviation within groups."},
    {title: "Exact set", percent: true, lines: [["acc", "all"], ["single_acc", "single"], ["multi_acc", "multi"]],
      validation: ["acc", "single_acc", "multi_acc"]},
    {title: "Soft accuracy (Eq. 7)", percent: true, validation: ["soft_acc", "single_soft_acc", "multi_soft_acc"],
      lines: [["soft_acc", "all"], ["single_soft_acc", "single"], ["multi_soft_acc", "multi"]]},
    {title: "Format", percent: true, lines: [["format", "share of responses"]], validation: ["format"]},
    {title: "Dead groups", percent: true, lines: [["dead_group_rate", "share of groups"]],
      about: "All rewards of a prompt equal: no gradient."},
    {title: "Spread of the reward within a group (Figure 3a)", lines: [["reward_std", "standard deviation"]]},
    {title: "Response length (Figure 3b)", lines: [["response_length", "mean"]],
      range: ["response_length_min", "response_length_max"], about: "Tokens.", band: "The band goes from the shortest to the longest."},
    {title: "D_t by step (Figure A3)", lines: [["divergence_content", "content"], ["divergence_padding", "padding"]],
      about: "Nats, mean over tokens before and after the shortest response of the group has ended."},
    {title: "w_t by step", lines: [["weight_content", "content"], ["weight_padding", "padding"]]},
    {title: "Entropy", lines: [["entropy", "of the next token"], ["answer_entropy", "of the answers in a group"]], about: "Nats."},
    {title: "Gradient norm", lines: [["grad_norm", "before clipping"]]},
    {title: "Failed prompts", lines: [["failed_prompts", "prompts"], ["failed_responses", "responses"]]},
    {title: "Sampler and actor: correlation", lines: [["agreement", "of their probabilities"]]},
    {title: "Sampler and actor: difference", lines: [["probs_diff", "mean of |difference| of probabilities"]]},
    {title: "Seconds of a step", lines: [["seconds", "whole step"]]},
  ],
  smoothing: true,
  /** Runs by row: [{name, runs, colour}]. */
  rows(runs) {
    const rows = new Map();
    for (const run of runs) rows.set(run.row, [...(rows.get(run.row) || []), run]);
    return [...rows.values()].map((of, i) => ({
      runs: of,
      name: of.length > 1 ? `${of[0].estimator}, ${of.length} seeds (${of.map((r) => r.name).join(", ")})` : of[0].name,
      colour: curves.COLOURS[i % curves.COLOURS.length],
    }));
  },
  /** Mean and deviation of several [xs, ys], one of each seed of a row. */
  seeds(series) {
    const [x, ...ys] = curves.joined(series), mean = [], low = [], high = [];
    x.forEach((_, i) => {
      const known = ys.map((y) => y[i]).filter((y) => y !== null);
      const m = known.length ? known.reduce((a, b) => a + b, 0) / known.length : null;
      const s = known.length > 1 ? Math.sqrt(known.reduce((a, b) => a + (b - m) ** 2, 0) / (known.length - 1)) : 0;
      mean.push(m); low.push(m === null ? null : m - s); high.push(m === null ? null : m + s);
    });
    return {x, y: mean, low, high};
  },
  lines(chart, rows) {
    const lines = [], many = rows.length > 1;
    rows.forEach((row) => chart.lines.forEach(([name, label], n) => {
      const colour = many ? row.colour : curves.COLOURS[n], dash = curves.DASHES[n];
      const full = many ? `${row.name}: ${label}` : label;
      const width = panels.smoothing ? Math.max(...row.runs.map((run) => run.smooth)) : 1;
      const smooth = (y) => curves.smooth(y, width);
      if (row.runs.length > 1) {
        const {x, y, low, high} = panels.seeds(row.runs.map((run) => [run.series.step, run.series[name] || []]));
        const band = n ? {} : {low: smooth(low), high: smooth(high)}; // several bands hide one another
        lines.push({name: full, x, y: smooth(y), colour, dash, ...band});
      } else {
        const {series} = row.runs[0], x = series.step, y = series[name] || [];
        const line = {name: full, x, y: smooth(y), colour, dash};
        if (n === 0 && !many && chart.spread) {
          const spread = smooth(series[chart.spread]);
          const shifted = (sign) => line.y.map((v, i) => (v === null || spread[i] === null ? null : v + sign * spread[i]));
          Object.assign(line, {low: shifted(-1), high: shifted(1)});
        } else if (n === 0 && !many && chart.range) {
          const [low, high] = chart.range.map((r) => smooth(series[r]));
          Object.assign(line, {low, high});
        }
        if (width > 1 && !many) lines.push({name: `${full}, single steps`, x, y, colour, faint: true});
        lines.push(line);
      }
      const measure = (chart.validation || [])[n];
      if (!measure) return;
      for (const source of new Set(row.runs.flatMap((run) => Object.keys(run.validation)))) {
        const points = row.runs.map((run) => (run.validation[source] || {})[measure] || []);
        const {x, y} = panels.seeds(points.map((p) => [p.map(([step]) => step), p.map(([, value]) => value)]));
        lines.push({name: `validation ${full} (${source})`, x, y, colour, dash: [1, 5], points: true});
      }
    }));
    return lines;
  },
  /** Seconds of the parts, stacked, for one run. */
  times(run) {
    const names = Object.keys(run.times), x = run.series.step;
    let below = x.map(() => 0);
    const width = panels.smoothing ? run.smooth : 1;
    return names.map((name, i) => {
      const values = curves.smooth(run.times[name], width), low = below;
      below = below.map((v, k) => v + (values[k] || 0));
      return {name: `up to ${name}`, x, y: below, low, high: below, colour: curves.COLOURS[i % 6], dash: curves.DASHES[i % 6]};
    }).reverse();
  },
  build(runs) {
    const rows = panels.rows(runs), cards = [];
    for (const chart of panels.CHARTS) {
      const levels = chart.constant ? panels.constants(runs) : [];
      const band = rows.some((row) => row.runs.length > 1) ? "The band is one standard deviation between seeds, of the first line." : runs.length === 1 ? chart.band : null;
      cards.push(curves.card(panels.lines(chart, rows), {...chart, about: [chart.about, band].filter(Boolean).join(" "), levels, sync: "step"}));
    }
    if (runs.length === 1) cards.push(curves.card(panels.times(runs[0]),
      {title: "Seconds by part of a step", about: "Stacked; what verl times outside the step, such as testing, on top of it.", sync: "step"}));
    return [...cards, ...maps.cards(runs)];
  },
  constants(runs) {
    const levels = new Map();
    for (const run of runs) if (run.best_constant !== null) levels.set(run.best_constant.toFixed(2), run.best_constant);
    return [...levels.values()].map((y) => ({y, name: `best constant answer ${y.toFixed(2)}`}));
  },
};
