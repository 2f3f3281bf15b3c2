// SPDX-License-Identifier: Apache-2.0
// The browser of samples: filters, the list of groups, and which one is shown.
"use strict";
const samples = {
  KINDS: ["", "single", "multi"],
  PAGE: 200, // groups listed at once
  run: 0, chosen: null, matches: [], filter: {}, search: 0,
  /** A row of the head by names. */
  row(cells) {
    const [step, number, prompt, kind, reward, dead, broken, cut, size, here] = cells;
    return {step, number, prompt, kind, reward, dead, broken, cut, size, here};
  },
  build() {
    const {el} = look, runs = store.head.runs;
    const field = (name, label, options) => {
      const input = options ? el("select", {name}, options.map(([value, text]) => el("option", {value}, text)))
        : el("input", {name, type: name === "text" ? "search" : "number", step: "any", size: 6});
      input.addEventListener(options ? "change" : "input", () => samples.changed());
      return el("label", {}, label, input);
    };
    samples.form = el("form", {class: "filters row", "aria-label": "Filters", onsubmit: (event) => event.preventDefault()},
      runs.length > 1 ? field("run", "run", runs.map((run, i) => [String(i), run.name])) : null,
      field("from", "step from"), field("to", "to"),
      field("kind", "kind", [["", "all"], ["1", "single"], ["2", "multi"]]),
      field("dead", "group", [["", "all"], ["0", "living"], ["1", "dead"]]),
      field("format", "format", [["", "all"], ["1", "broken somewhere"], ["0", "whole everywhere"]]),
      field("cut", "ended", [["", "all"], ["1", "some never ended"], ["0", "all ended"]]),
      field("low", "mean reward from"), field("high", "to"),
      field("here", "texts", [["1", "in this page"], ["", "all groups"]]),
      field("text", "text"),
      el("button", {type: "reset", onclick: () => setTimeout(() => samples.changed())}, "Clear"));
    samples.count = el("p", {class: "soft small", role: "status"});
    samples.list = el("ul", {class: "list", "aria-label": "Groups"});
    samples.more = el("button", {type: "button", onclick: () => samples.fill(samples.list.childElementCount + samples.PAGE)}, "More");
    samples.place = el("div", {class: "group", tabindex: -1, "aria-label": "Chosen group"});
    const step = (by, key, words) => el("button", {type: "button", "aria-keyshortcuts": key, onclick: () => samples.move(by)}, words);
    return el("section", {id: "samples", "aria-label": "Samples"}, samples.form, samples.count,
      el("div", {class: "browser"},
        el("div", {class: "side"}, el("div", {class: "row"}, step(-1, "k", "← previous (k)"), step(1, "j", "next (j) →")), samples.list, samples.more),
        samples.place));
  },
  values() {
    return Object.fromEntries([...new FormData(samples.form)].map(([name, value]) => [name, value.trim()]));
  },
  /** The filter has changed: list what it lets through; texts are searched piece by piece, so the page stays awake. */
  async changed(keep = false) {
    const want = samples.values(), run = Number(want.run || 0), data = store.head.runs[run];
    const search = ++samples.search, shown = samples.list.childElementCount;
    if (!data) return;
    if (run !== samples.run) { samples.run = run; samples.chosen = null; }
    const number = (text) => (text === undefined || text === "" || Number.isNaN(Number(text)) ? null : Number(text));
    const [from, to, low, high] = ["from", "to", "low", "high"].map((name) => number(want[name]));
    let found = data.groups.map(samples.row).filter((row) =>
      (from === null || row.step >= from) && (to === null || row.step <= to) &&
      (low === null || row.reward >= low) && (high === null || row.reward <= high) &&
      (!want.kind || row.kind === Number(want.kind)) && (!want.dead || row.dead === Number(want.dead)) &&
      (!want.format || (row.broken > 0) === (want.format === "1")) &&
      (!want.cut || (row.cut !== null && (row.cut > 0) === (want.cut === "1"))) &&
      (!want.here || row.here || store.head.served));
    if (want.text) {
      const text = want.text.toLowerCase(), matches = [];
      for (const row of found) {
        let hit = data.prompts[row.prompt].toLowerCase().includes(text);
        if (!hit && (row.here || store.head.served)) {
          const group = await store.group(run, row.step, row.number);
          hit = group !== null && group.responses.some((r) => (r.text ?? r.tokens.join("")).toLowerCase().includes(text));
        }
        if (search !== samples.search) return;
        if (hit) matches.push(row);
        samples.count.textContent = `searching: step ${row.step}, ${matches.length} groups so far`;
      }
      found = matches;
    }
    samples.matches = found;
    const left = data.groups_all - data.groups_kept, served = store.head.served;
    samples.count.replaceChildren(`${found.length} of ${data.groups_all} groups match. `,
      left > 0 && !served ? `The texts of ${left} groups are not in this page, to keep it small: every step has the same room, broken formats come first, the rest by lot. ` : "",
      ...samples.whole(data, null));
    samples.fill(keep ? Math.max(shown, samples.PAGE) : samples.PAGE);
    if (!samples.chosen || !keep) samples.choose(found.find((row) => row.step === samples.chosen?.step && row.number === samples.chosen?.number) || found[0], false);
  },
  /** Where the whole of a run or a step is. */
  whole(run, step) {
    const path = step === null ? "" : `/rollouts/${step}.jsonl`;
    if (store.head.served) return [step === null ? "The whole run is in " : "The whole step is in ", look.el("code", {}, run.folder + path)];
    const href = encodeURI(run.link + path).replace(/[?#]/g, encodeURIComponent);
    return [look.el("a", {href: href || ".", target: "_blank", rel: "noreferrer"}, step === null ? "The run's folder" : "The whole step"), "."];
  },
  fill(most) {
    const {el} = look, prompts = store.head.runs[samples.run].prompts;
    samples.list.replaceChildren(...samples.matches.slice(0, most).map((row) => {
      const marks = [samples.KINDS[row.kind], row.dead ? "dead" : "", row.broken ? `${row.broken} broken` : "", row.cut ? `${row.cut} cut` : "", row.here || store.head.served ? "" : "no texts"];
      const button = el("button", {type: "button", onclick: () => samples.choose(row, true)},
        el("span", {class: "soft small"}, `step ${row.step} · reward ${row.reward.toFixed(2)}${marks.filter(Boolean).map((m) => ` · ${m}`).join("")}`),
        el("span", {class: "asked"}, look.plain(look.title(prompts[row.prompt]))));
      button.setAttribute("aria-current", String(samples.same(row, samples.chosen)));
      return el("li", {}, button);
    }));
    samples.more.hidden = samples.matches.length <= most;
    samples.more.textContent = `More (${samples.matches.length - Math.min(most, samples.matches.length)})`;
  },
  same(a, b) { return Boolean(a && b && a.step === b.step && a.number === b.number); },
  async choose(row, focus) {
    samples.chosen = row || null;
    const place = samples.matches.findIndex((match) => samples.same(match, row));
    if (place >= samples.list.childElementCount) samples.fill(place + samples.PAGE);
    [...samples.list.children].forEach((item, i) => item.firstChild.setAttribute("aria-current", String(i === place)));
    if (focus) samples.list.children[place]?.scrollIntoView({block: "nearest"});
    await group.show(samples.place, samples.run, row);
  },
  move(by) {
    const place = samples.matches.findIndex((match) => samples.same(match, samples.chosen));
    const row = samples.matches[Math.max(0, Math.min(samples.matches.length - 1, place + by))];
    if (row && !samples.same(row, samples.chosen)) samples.choose(row, true);
  },
};
