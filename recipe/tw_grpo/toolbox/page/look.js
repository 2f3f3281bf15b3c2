// SPDX-License-Identifier: Apache-2.0
// What every page shares: elements without markup, data of the page, the theme. Texts become text nodes, nothing else.
"use strict";
const look = {
  /** An element: look.el("a", {class: "soft", href: "…", onclick: f}, "text", child, …). */
  el(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else element.setAttribute(key, value === true ? "" : value);
    }
    for (const child of children.flat()) if (child !== null && child !== undefined) element.append(child);
    return element;
  },
  /** The page's JSON by its id. */
  json(id) { return JSON.parse(document.getElementById(id).textContent); },
  /** The page's bytes by their id, null where there are none; base64 without a call of the network. */
  bytes(id) {
    const block = document.getElementById(id);
    return block ? Uint8Array.from(atob(block.textContent), (c) => c.charCodeAt(0)) : null;
  },
  /** Parsed JSON of gzip bytes. */
  async unpacked(bytes) {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  },
  /** A text in which marks that turn the direction of writing, and other invisible ones, are seen. */
  plain(text) {
    // eslint-disable-next-line no-control-regex
    return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
      (c) => `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
  },
  number(value, digits = 3) {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    return size !== 0 && (size < 0.001 || size >= 1e5) ? value.toExponential(2) : String(Number(value.toFixed(digits)));
  },
  colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim(); },
  table(rows, attributes = {}) {
    const line = (cells, name) => look.el("tr", {}, cells.map((cell) => look.el(name, {}, cell)));
    return look.el("div", {class: "scroll"}, look.el("table", attributes,
      look.el("thead", {}, line(rows[0], "th")), look.el("tbody", {}, rows.slice(1).map((row) => line(row, "td")))));
  },
  /** Frames side by side in one picture; `strip` is {picture: base64 JPEG, count, shown, video}. */
  strip(strip) {
    const all = strip.shown === strip.count ? `${strip.count} frames` : `${strip.shown} of ${strip.count} frames`;
    const words = `${all} the model saw of ${strip.video}, in order`;
    return look.el("figure", {class: "strip", tabindex: 0, "aria-label": words},
      look.el("img", {src: `data:image/jpeg;base64,${strip.picture}`, alt: words}));
  },
  /** Options A, B, …; the right ones are marked, also for a reader who sees no colour. */
  options(options, right) {
    return look.el("ol", {class: "options"}, options.map((option, i) => {
      const letter = String.fromCharCode(65 + i), good = right.includes(letter);
      return look.el("li", {class: good ? "right" : null}, `${good ? "✓" : "\u2003"} ${letter}. ${look.plain(option)}`,
        good ? look.el("span", {class: "away"}, " (right)") : null);
    }));
  },
  /** The question of a prompt: its first line of words behind the name of who speaks. */
  title(prompt) {
    const lines = prompt.split("\n").map((line) => line.trim()).filter(Boolean);
    return lines[lines.lastIndexOf("user") + 1] || lines[0] || "(no text)";
  },
  /** A prompt without its options, which stand in a list of their own, and without the names of who speaks. */
  asking(prompt, options) {
    let text = prompt;
    if (options.length) {
      const first = text.indexOf(options[0]), last = options[options.length - 1], end = text.indexOf(last, first);
      if (first >= 0 && end >= 0) {
        const before = text.slice(0, text.lastIndexOf("\n", first) + 1 || first), after = text.slice(end + last.length).trim();
        text = `${before.trim()}${after ? `\n… ${after}` : ""}`;
      }
    }
    return text.replace(/\n(assistant|model)\s*$/, "").replace(/^(system\n[^]*?\n)?user\n/, "$1").trim();
  },
  themes: [],
  /** A button that turns dark into light; functions in look.themes are called after it. */
  themeButton() {
    const root = document.documentElement;
    const show = (theme) => { root.dataset.theme = theme; for (const f of look.themes) f(); };
    const button = look.el("button", {type: "button", onclick: () => {
      const theme = root.dataset.theme === "dark" ? "light" : "dark";
      try { localStorage.setItem("theme", theme); } catch { /* a file may have no storage */ }
      show(theme);
    }}, "Dark or light");
    return button;
  },
};
(() => {
  let theme = null;
  try { theme = localStorage.getItem("theme"); } catch { /* a file may have no storage */ }
  document.documentElement.dataset.theme =
    theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
})();
