// SPDX-License-Identifier: Apache-2.0
// Two logs, question by question: a list by what changed, and both answers to the chosen one.
"use strict";
const comparison = {
  PAGE: 200,
  head: look.json("head"), matches: [], chosen: null, asked: 0, search: 0,
  row(cells, place) {
    const [question, kind, category, a, b, letters_a, letters_b, strip] = cells;
    return {place, question, kind, category, a, b, letters_a, letters_b, strip};
  },
  change(row) {
    if (row.b > row.a) return "gained";
    if (row.b < row.a) return "lost";
    return row.letters_a === row.letters_b ? "same" : "other";
  },
  build() {
    const {el} = look, {head} = comparison, names = (key) => [...new Set(head.rows.map((cells) => comparison.row(cells)[key]).filter(Boolean))].sort();
    const select = (name, label, options) => el("label", {}, label, el("select", {name, onchange: () => comparison.changed()}, options.map(([value, text]) => el("option", {value}, text))));
    const all = (values) => [["", "all"], ...values.map((value) => [value, value])];
    comparison.form = el("form", {class: "row", "aria-label": "Filters", onsubmit: (event) => event.preventDefault()},
      select("change", "B against A", [["", "all"], ["gained", "gained"], ["lost", "lost"], ["other", "other answer, same score"], ["same", "same answer"]]),
      select("kind", "kind", all(names("kind"))), names("category").length > 1 ? select("category", "category", all(names("category"))) : null,
      el("label", {}, "text", el("input", {name: "text", type: "search", oninput: () => comparison.changed()})),
      el("button", {type: "reset", onclick: () => setTimeout(() => comparison.changed())}, "Clear"));
    comparison.count = el("p", {class: "soft small", role: "status"});
    comparison.list = el("ul", {class: "list", "aria-label": "Questions"});
    comparison.more = el("button", {type: "button", onclick: () => comparison.fill(comparison.list.childElementCount + comparison.PAGE)}, "More");
    comparison.place = el("div", {"aria-label": "Chosen question"});
    const step = (by, key, words) => el("button", {type: "button", "aria-keyshortcuts": key, onclick: () => comparison.move(by)}, words);
    document.body.append(
      el("header", {}, el("div", {class: "row"}, el("h1", {class: "grow"}, "B against A"), look.themeButton()),
        el("p", {class: "small soft"}, `A: ${look.plain(head.a)}`, el("br"), `B: ${look.plain(head.b)}`, el("br"),
          `Rule: ${head.rule}. Only samples both logs have (${head.only[0]} are in A only, ${head.only[1]} in B only). Intervals: 95 %, bootstrap clustered by video; p: McNemar's exact test.`)),
      el("main", {}, el("section", {}, look.table(head.table)),
        head.notes.length ? el("ul", {class: "notes small"}, head.notes.map((note) => el("li", {}, look.plain(note)))) : "",
        comparison.form, comparison.count, el("div", {class: "browser"},
          el("div", {class: "side"}, el("div", {class: "row"}, step(-1, "k", "← previous (k)"), step(1, "j", "next (j) →")), comparison.list, comparison.more), comparison.place)));
    addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
      if (event.key === "j" || event.key === "n") comparison.move(1);
      else if (event.key === "k" || event.key === "p") comparison.move(-1);
    });
    comparison.changed();
  },
  async question(place) { return look.unpacked(look.bytes(`q${place}`)); },
  async changed() {
    const want = Object.fromEntries(new FormData(comparison.form)), search = ++comparison.search, {head} = comparison;
    let found = head.rows.map(comparison.row).filter((row) => (!want.change || comparison.change(row) === want.change) &&
      (!want.kind || row.kind === want.kind) && (!want.category || row.category === want.category));
    const text = want.text.trim().toLowerCase();
    if (text) {
      const matches = [];
      for (const row of found) {
        const question = await comparison.question(row.place);
        if (search !== comparison.search) return;
        if ([question.question, ...question.options, ...question.answers.map((a) => a.text)].some((t) => t.toLowerCase().includes(text))) matches.push(row);
      }
      found = matches;
    }
    comparison.matches = found;
    const left = head.all - head.rows.length;
    comparison.count.textContent = `${found.length} of ${head.all} questions match.${left ? ` ${left} questions whose score did not change are not in this page, to keep it small.` : ""}`;
    comparison.fill(comparison.PAGE);
    comparison.choose(found.find((row) => row.place === comparison.chosen?.place) || found[0]);
  },
  fill(most) {
    const {el} = look;
    comparison.list.replaceChildren(...comparison.matches.slice(0, most).map((row) => {
      const words = {gained: "gained", lost: "lost", other: "other answer", same: "same"}[comparison.change(row)];
      const button = el("button", {type: "button", onclick: () => comparison.choose(row)},
        el("span", {class: "soft small"}, `${words} · ${look.number(row.a, 2)} → ${look.number(row.b, 2)}${row.category ? ` · ${look.plain(row.category)}` : ""}`),
        el("span", {class: "asked"}, look.plain(look.title(row.question))));
      button.setAttribute("aria-current", String(row.place === comparison.chosen?.place));
      return el("li", {}, button);
    }));
    comparison.more.hidden = comparison.matches.length <= most;
  },
  async choose(row) {
    const {el} = look, ask = ++comparison.asked, place = comparison.place;
    comparison.chosen = row || null;
    [...comparison.list.children].forEach((item, i) => item.firstChild.setAttribute("aria-current", String(comparison.matches[i] === row)));
    if (!row) { place.replaceChildren(el("p", {class: "soft"}, "No question matches these filters.")); return; }
    const question = await comparison.question(row.place);
    if (ask !== comparison.asked) return;
    const right = question.right.split(",");
    const cards = question.answers.map((answer, i) => el("article", {class: "panel"},
      el("div", {class: "row small"}, el("h3", {}, "AB"[i]), "predicted",
        ...(answer.predicted ? answer.predicted.split(",") : []).map((l) => el("span", {class: `tag ${right.includes(l) ? "good" : "bad"}`}, `${right.includes(l) ? "✓" : "✗"} ${look.plain(l)}`)),
        answer.predicted ? null : el("span", {class: "soft"}, "no answer read"),
        el("span", {class: "tag"}, `soft ${look.number(answer.soft, 2)}`), answer.exact ? el("span", {class: "tag good"}, "exact") : null,
        answer.malformed ? el("span", {class: "tag bad"}, answer.malformed) : null, el("span", {class: "soft"}, `line ${answer.line}`)),
      el("p", {class: "said", dir: "ltr"}, look.plain(answer.text))));
    place.replaceChildren(...[row.strip === null ? el("p", {class: "soft small"}, `no frames of ${look.plain(question.video)} in this page`) : look.strip(look.json(`s${row.strip}`)),
      el("p", {class: "said question"}, look.plain(look.asking(question.question, question.options))), question.options.length ? look.options(question.options, right) : el("p", {}, `right: ${look.plain(question.right)}`), el("div", {class: "two"}, cards)]);
  },
  move(by) {
    const place = comparison.matches.indexOf(comparison.chosen), next = comparison.matches[Math.max(0, Math.min(comparison.matches.length - 1, place + by))];
    if (!next || next === comparison.chosen) return;
    if (comparison.matches.indexOf(next) >= comparison.list.childElementCount) comparison.fill(comparison.matches.indexOf(next) + comparison.PAGE);
    comparison.choose(next);
    comparison.list.children[comparison.matches.indexOf(next)]?.scrollIntoView({block: "nearest"});
  },
};
comparison.build();
