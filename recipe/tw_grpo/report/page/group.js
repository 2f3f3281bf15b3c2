// SPDX-License-Identifier: Apache-2.0
// One group: its frames, question and options, the responses side by side with their weights, D_t below them.
"use strict";
const group = {
  SHADES: 8, MOST: 1500, // tokens of a response drawn before a button asks for the rest
  asked: 0,
  async show(place, run, row) {
    const {el} = look, ask = ++group.asked, data = store.head.runs[run];
    if (!row) { curves.clear(place); place.replaceChildren(el("p", {class: "soft"}, "No group matches these filters.")); return; }
    const [found, strip] = await Promise.all([store.group(run, row.step, row.number), store.strip(run, row.step, row.number)]);
    if (ask !== group.asked) return; // another was chosen meanwhile
    curves.clear(place);
    const head = el("div", {class: "row"}, el("h2", {class: "grow"}, `Step ${row.step}, prompt ${row.number + 1}`),
      el("span", {class: `tag ${row.dead ? "bad" : "good"}`}, row.dead ? "dead group: no gradient" : "living group"),
      el("span", {class: "tag"}, `mean reward ${row.reward.toFixed(3)}`), el("span", {class: "small"}, ...samples.whole(data, row.step)));
    if (!found) {
      place.replaceChildren(head, el("p", {}, look.plain(look.title(data.prompts[row.prompt]))),
        el("p", {class: "soft"}, "The responses of this group are not in this page, to keep it small; they are in the run's folder."));
      return;
    }
    const frames = strip ? look.strip(strip) : el("p", {class: "soft small"}, `frames of ${found.video || "this prompt"} are not in this page`);
    const asked = [el("p", {class: "said question"}, look.plain(look.asking(found.prompt, found.options)))];
    if (found.options.length) asked.push(look.options(found.options, found.right.split(",")));
    const letters = new Set(found.right.split(","));
    const low = Math.min(...(found.w || [1])), high = Math.max(...(found.w || [1]));
    const scale = {low, high: high > low ? high : low + 1};
    const tip = el("div", {class: "tip", role: "status", hidden: true});
    const cards = found.responses.map((response, i) => group.response(found, response, i, letters, scale, tip));
    const below = group.positions(found);
    place.replaceChildren(head, frames, ...asked, found.w ? group.legend(scale) : el("p", {class: "soft small"}, "This run has no token weights."),
      el("div", {class: "responses"}, cards), ...below, tip);
    group.hovering(place, found, tip);
    curves.draw();
  },
  legend({low, high}) {
    const boxes = Array.from({length: group.SHADES + 1}, (_, i) => look.el("span", {class: `t s${i}`}, "\u2003"));
    return look.el("p", {class: "small soft legend"}, `token weight w_t  ${look.number(low, 2)} `, ...boxes, ` ${look.number(high, 2)}; point at a token, or tab to a response and use ← →`);
  },
  response(found, response, i, letters, scale, tip) {
    const {el} = look, predicted = response.predicted ? response.predicted.split(",") : [];
    const exact = response.exact === 1, weights = response.w || found.w;
    const facts = [
      ["reward", look.number(response.score)], ["soft", look.number(response.soft)], ["exact", look.number(response.exact)],
      ["format", response.format === null ? "–" : response.format ? "whole" : "broken"],
      ["advantage", response.advantage === null ? "–" : (response.advantage > 0 ? "+" : "") + look.number(response.advantage)],
      ["tokens", String(response.tokens ? response.tokens.length : response.length || "–")],
    ];
    const answer = predicted.length ? predicted.flatMap((letter) => [el("span", {class: `tag ${letters.has(letter) ? "good" : "bad"}`}, `${letters.has(letter) ? "✓" : "✗"} ${look.plain(letter)}`), " "]) : [el("span", {class: "soft"}, "no answer read")];
    const text = el("p", {class: "said tokens", dir: "ltr", tabindex: 0, "data-response": i, "aria-label": `Response ${i + 1}`});
    if (response.tokens) group.fill(text, response.tokens, weights, scale, group.MOST);
    else text.append(look.plain(response.text));
    return el("article", {class: "response panel"},
      el("div", {class: "row small"}, el("strong", {}, `Response ${i + 1}`), el("span", {}, "predicted ", ...answer),
        exact ? el("span", {class: "tag good"}, "exact") : null,
        response.ended === false ? el("span", {class: "tag bad"}, "never ended") : null,
        response.ended === true ? el("span", {class: "tag"}, "ended") : null),
      el("dl", {class: "facts small"}, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))), text);
  },
  fill(text, tokens, weights, {low, high}, most) {
    const spans = document.createDocumentFragment();
    for (let t = text.querySelectorAll(".t").length; t < Math.min(tokens.length, most); t++) {
      const span = document.createElement("span");
      const shade = weights && weights[t] !== undefined ? Math.round((weights[t] - low) / (high - low) * group.SHADES) : 0;
      span.className = `t s${Math.max(0, Math.min(group.SHADES, shade))}`;
      span.textContent = look.plain(tokens[t]);
      span.dataset.t = t;
      spans.append(span);
    }
    text.append(spans);
    if (tokens.length > most) {
      const button = look.el("button", {type: "button", onclick: () => { button.remove(); group.fill(text, tokens, weights, {low, high}, Infinity); }}, `${tokens.length - most} more tokens`);
      text.append(button);
    }
  },
  positions(found) {
    if (!found.d) return [];
    const x = found.d.map((_, t) => t), ends = found.responses.map((r) => (r.tokens ? r.tokens.length : r.length)).filter((n) => n && n < x.length);
    const cards = [["d", "D_t along the positions", "red", "D_t"], ["w", "w_t along the positions", "blue", "w_t"]].filter(([key]) => found[key]).map(([key, title, colour, name]) =>
      curves.card([{name, x, y: found[key], colour, dash: []}], {title, axis: "position t", marks: ends, height: 150, sync: "t",
        about: key === "d" ? "Nats. Upright marks: a response has ended." : null}));
    return [look.el("div", {class: "grid two"}, cards)];
  },
  /** What is said of a token, and the cursor of the charts below at its position. */
  tell(found, span, tip, box) {
    const t = Number(span.dataset.t), response = found.responses[Number(span.closest("[data-response]").dataset.response)];
    const d = (response.d || found.d || [])[t], w = (response.w || found.w || [])[t];
    tip.textContent = `t ${t} “${look.plain(response.tokens[t]).replace(/\n/g, "↵")}”  D_t ${look.number(d, 4)} nats  w_t ${look.number(w)}`;
    tip.hidden = false;
    tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - tip.offsetWidth - 16))}px`;
    tip.style.top = `${box.bottom + 6 > innerHeight - 40 ? box.top - tip.offsetHeight - 6 : box.bottom + 6}px`;
    for (const plot of curves.plots) if (plot.options.sync === "t" && plot.chart)
      plot.chart.setCursor({left: plot.chart.valToPos(t, "x"), top: plot.chart.height / 2}, false);
  },
  hovering(place, found, tip) {
    const at = (span) => {
      place.querySelector(".t.here")?.classList.remove("here");
      if (!span) { tip.hidden = true; return; }
      span.classList.add("here");
      group.tell(found, span, tip, span.getBoundingClientRect());
    };
    place.onpointerover = (event) => at(event.target.closest?.("[data-t]"));
    place.onpointerleave = () => at(null);
    place.onkeydown = (event) => {
      const text = event.target.closest?.("[data-response]"), by = {ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9}[event.key];
      if (event.key === "Escape") at(null);
      if (!text || !by) return;
      const spans = [...text.querySelectorAll("[data-t]")], now = spans.findIndex((span) => span.classList.contains("here"));
      const next = spans[Math.max(0, Math.min(spans.length - 1, now + by))];
      if (next) { at(next); next.scrollIntoView({block: "nearest"}); event.preventDefault(); }
    };
  },
};
