// SPDX-License-Identifier: Apache-2.0
// The tables of an evaluation, in the look of the other pages.
"use strict";
document.body.append(
  look.el("header", {}, look.el("div", {class: "row"}, look.el("h1", {class: "grow"}, "Evaluation"), look.themeButton())),
  look.el("main", {}, look.json("tables").map(([title, rows]) => look.el("section", {}, look.el("h2", {}, title), look.table(rows)))));
