// SPDX-License-Identifier: Apache-2.0
// The page: its head, three views, keys, and what happens when a served run goes on.
"use strict";
const main = {
  views: {},
  head(runs) {
    const {el} = look, run = runs[0];
    const title = runs.length === 1 ? `${run.estimator || "estimator unknown"} · seed ${run.seed ?? "unknown"} · ${main.steps(run)}` : `${runs.length} runs`;
    return [
      el("div", {class: "row"}, el("h1", {class: "grow"}, runs.length ? title : "No step is finished yet"), main.live, look.themeButton()),
      runs.length === 1 ? el("p", {class: "verdict"}, run.verdict) : null,
    ].filter(Boolean);
  },
  steps(run) {
    const of = run.steps_asked && run.steps_asked !== run.last_step ? ` of ${run.steps_asked}` : "";
    return `step ${run.last_step}${of}${run.seconds_left ? `, ${main.clock(run.seconds_left)} left` : ""}`;
  },
  clock(seconds) {
    const [h, m] = [Math.floor(seconds / 3600), Math.round(seconds % 3600 / 60)];
    return h ? `${h} h ${m} min` : m ? `${m} min` : `${Math.round(seconds)} s`;
  },
  overview(runs) {
    const {el} = look, parts = [];
    const said = new Map(); // note -> names of the runs it is said of
    for (const run of runs) for (const note of [...run.notes, ...(run.page_notes || [])]) said.set(note, [...(said.get(note) || []), run.name]);
    const notes = [...said].map(([note, names]) => (runs.length > 1 ? `${names.join(", ")}: ${note}` : note));
    notes.push(...(store.head.waiting || []));
    if (notes.length) parts.push(el("ul", {class: "notes small", "aria-label": "Notes"}, notes.map((note) => el("li", {}, look.plain(note)))));
    const failed = runs.flatMap((run) => run.failed);
    if (failed.length) parts.push(el("details", {}, el("summary", {}, `${failed.length} records that could not be used`), el("ul", {class: "mono"}, failed.map((line) => el("li", {}, look.plain(line))))));
    const facts = runs.length ? [["", ...runs.map((run) => run.name)], ...(runs.length > 1 ? [["estimator", ...runs.map((run) => String(run.estimator))], ["seed", ...runs.map((run) => String(run.seed ?? "–"))], ["verdict", ...runs.map((run) => run.verdict)]] : []),
      ["steps", ...runs.map(main.steps)], ...runs[0].facts.map(([name], i) => [name, ...runs.map((run) => run.facts[i][1])])] : [];
    if (runs.length === 1) parts.push(el("div", {class: "row tables"}, look.table(runs[0].rises), look.table(facts)));
    else if (runs.length) parts.push(look.table(facts));
    return parts;
  },
  settings(runs) {
    const {el} = look, names = [...new Set(runs.flatMap((run) => Object.keys(run.settings)))].sort();
    const value = (run, name) => run.settings[name] ?? "not set", different = new Set(names.filter((name) => new Set(runs.map((run) => value(run, name))).size > 1));
    const rows = (of) => [["setting", ...runs.map((run) => run.name)], ...of.map((name) => [look.plain(name), ...runs.map((run) => look.plain(value(run, name)))])];
    const same = names.filter((name) => !different.has(name));
    const parts = [];
    if (runs.length > 1) parts.push(el("h2", {}, "Settings in which the runs differ"), different.size ? look.table(rows([...different]), {class: "settings different"}) : el("p", {class: "soft"}, "None."));
    if (same.length) parts.push(el("details", {open: runs.length === 1}, el("summary", {}, runs.length > 1 ? `${same.length} that are the same` : `${same.length} settings`), look.table(rows(same), {class: "settings"})));
    return parts.length ? parts : [el("p", {class: "soft"}, "run.json has no settings.")];
  },
  show(name) {
    for (const [key, view] of Object.entries(main.views)) {
      view.hidden = key !== name;
      document.getElementById(`tab-${key}`).setAttribute("aria-selected", String(key === name));
    }
    main.view = name;
    curves.draw();
    if (name === "samples" && !samples.chosen) samples.changed();
  },
  /** Whatever changes with the data; the filter, the view and the chosen group stay. */
  refresh() {
    const {runs} = store.head, y = scrollY;
    main.header.replaceChildren(...main.head(runs));
    main.top.replaceChildren(...main.overview(runs));
    curves.clear(main.grid);
    main.grid.replaceChildren(...panels.build(runs));
    main.views.settings.replaceChildren(...main.settings(runs));
    curves.draw();
    if (samples.chosen || main.view === "samples") samples.changed(true);
    scrollTo(0, y);
  },
  start() {
    const {el} = look;
    main.live = el("span", {class: "tag", role: "status", hidden: !store.head.served}, "waiting");
    main.header = el("header", {});
    main.top = el("div", {});
    main.grid = el("div", {class: "grid"});
    const smooth = el("label", {}, el("input", {type: "checkbox", checked: true, onchange: (event) => {
      panels.smoothing = event.target.checked;
      curves.clear(main.grid);
      main.grid.replaceChildren(...panels.build(store.head.runs));
      curves.draw();
    }}), "running mean over a tenth of the steps");
    main.views = {
      curves: el("section", {id: "curves", role: "tabpanel", "aria-labelledby": "tab-curves"}, main.top, smooth, main.grid),
      samples: Object.assign(samples.build(), {hidden: true}),
      settings: el("section", {id: "settings", role: "tabpanel", "aria-labelledby": "tab-settings"}),
    };
    const names = Object.keys(main.views);
    const tabs = names.map((name) => el("button", {type: "button", role: "tab", id: `tab-${name}`, "aria-controls": name, onclick: () => main.show(name)}, name[0].toUpperCase() + name.slice(1)));
    document.body.append(main.header, el("main", {}, el("nav", {class: "row", role: "tablist", "aria-label": "Views"}, tabs), ...Object.values(main.views)));
    main.refresh();
    main.show("curves");
    look.themes.push(() => curves.redraw());
    addEventListener("resize", () => { clearTimeout(main.later); main.later = setTimeout(() => curves.draw(), 150); });
    addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
      if (main.view === "samples" && (event.key === "j" || event.key === "n")) samples.move(1);
      else if (main.view === "samples" && (event.key === "k" || event.key === "p")) samples.move(-1);
      else if (["1", "2", "3"].includes(event.key)) main.show(names[Number(event.key) - 1]);
    });
    if (store.head.served) store.follow(() => main.refresh(), (lost) => {
      main.live.textContent = lost ? "the server does not answer" : "live";
      main.live.className = `tag ${lost ? "bad" : "good"}`;
    });
  },
};
main.start();
