// SPDX-License-Identifier: Apache-2.0
// D_t and w_t by position, and by position and step: the paper's Figure A2, and what Figure A3 is the mean of.
"use strict";
const maps = {
  // cividis at nine places: one scale for every reader, as bright as it is large
  SCALE: [[0, 32, 76], [0, 48, 110], [54, 75, 108], [87, 93, 109], [112, 113, 115], [141, 137, 119], [171, 162, 116], [206, 191, 102], [255, 233, 69]],
  PARTS: [["paper", "first 300 groups"], ["first", "first fifth of the steps"], ["last", "last fifth of the steps"]],
  centres(edges) { return edges.slice(1).map((edge, i) => (edge + edges[i] - 1) / 2); },
  cards(runs) {
    const known = runs.filter((run) => run.positions), many = runs.length > 1;
    if (!known.length) return [];
    const cards = [];
    for (const [key, title] of [["w", "w_t by position (Figure A2)"], ["d", "D_t by position"]]) {
      const lines = [];
      known.forEach((run, r) => maps.PARTS.forEach(([part, name], n) => {
        if (many && part !== "paper") return;
        const profile = run.positions.profiles[part], x = maps.centres(run.positions.edges);
        const label = part === "paper" ? `first ${run.positions.paper_groups} groups` : name;
        const line = {name: many ? `${run.name}: ${label}` : label, x, y: profile[key],
          colour: curves.COLOURS[many ? r % 6 : n], dash: curves.DASHES[many ? 0 : n]};
        if (key === "w" && part === "paper" && !many) {
          const shifted = (sign) => profile.w.map((w, i) => (w === null ? null : w + sign * profile.w_std[i]));
          Object.assign(line, {low: shifted(-1), high: shifted(1)});
        }
        lines.push(line);
      }));
      cards.push(curves.card(lines, {title, axis: "position t",
        about: key === "w" ? "Mean over groups; the band is one standard deviation." : "Nats, mean over groups."}));
    }
    if (!many) for (const [key, title, unit] of [["w", "w_t by position and step", ""], ["d", "D_t by position and step", " nats"]])
      cards.push(maps.map(known[0].positions, key, title, unit));
    return cards;
  },
  colour(share) {
    const at = Math.max(0, Math.min(1, share)) * (maps.SCALE.length - 1), i = Math.min(maps.SCALE.length - 2, Math.floor(at));
    return maps.SCALE[i].map((c, k) => Math.round(c + (maps.SCALE[i + 1][k] - c) * (at - i)));
  },
  map(positions, key, title, unit) {
    const values = positions.map[key], {edges, steps} = positions, flat = values.flat().filter((v) => v !== null);
    const low = flat.reduce((a, b) => Math.min(a, b), Infinity), high = flat.reduce((a, b) => Math.max(a, b), -Infinity);
    const canvas = look.el("canvas", {class: "map", width: edges.length - 1, height: values.length, role: "img",
      "aria-label": `Map: ${title}. From ${look.number(low)} to ${look.number(high)}${unit}`});
    const context = canvas.getContext("2d"), picture = context.createImageData(edges.length - 1, values.length);
    values.forEach((row, y) => row.forEach((value, x) => {
      if (value === null) return;
      picture.data.set([...maps.colour((value - low) / (high - low || 1)), 255], 4 * (y * row.length + x));
    }));
    context.putImageData(picture, 0, 0);
    const said = look.el("p", {class: "small", "aria-live": "polite"}, `dark ${look.number(low)}, bright ${look.number(high)}${unit}`);
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      const x = Math.min(edges.length - 2, Math.floor((event.clientX - box.left) / box.width * (edges.length - 1)));
      const y = Math.min(values.length - 1, Math.floor((event.clientY - box.top) / box.height * values.length));
      if (x < 0 || y < 0) return;
      said.textContent = `step ${steps[y].join(" to ")}, t ${edges[x]} to ${edges[x + 1] - 1}: ${look.number(values[y][x])}${unit}`;
    });
    return look.el("article", {class: "card panel"}, look.el("h3", {}, title),
      look.el("p", {class: "soft small"}, `Steps from ${steps[0][0]} at the top to ${steps[steps.length - 1][1]}, positions to the right.`), canvas, said);
  },
};
