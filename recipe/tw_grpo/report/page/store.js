// SPDX-License-Identifier: Apache-2.0
// Where the page's data come from: from blocks of the file itself, or, when it is served, from its server.
"use strict";
const store = {
  head: look.json("head"),
  groups: new Map(), // "run-step-number" -> parsed group; the last few
  /** One group with texts, D_t and w_t; null where the page does not have it. */
  async group(run, step, number) {
    const key = `${run}-${step}-${number}`;
    if (this.groups.has(key)) return this.groups.get(key);
    const bytes = this.head.served ? await this.fetched(`group/${run}/${step}/${number}`) : look.bytes(`g${key}`);
    const group = bytes ? await look.unpacked(bytes) : null;
    if (this.groups.size > 60) this.groups.delete(this.groups.keys().next().value);
    if (group) this.groups.set(key, group);
    return group;
  },
  /** The frames of a group, null where the page does not have them. */
  async strip(run, step, number) {
    if (this.head.served) {
      const bytes = await this.fetched(`strip/${run}/${step}/${number}`);
      return bytes ? JSON.parse(new TextDecoder().decode(bytes)) : null;
    }
    const strip = this.head.runs[run].strips[`${step}-${number}`];
    return strip === undefined ? null : look.json(`s${run}-${strip}`);
  },
  async fetched(path) {
    const answer = await fetch(path);
    return answer.ok ? new Uint8Array(await answer.arrayBuffer()) : null;
  },
  /** Ask the server every two seconds whether there is more; `changed` is called when there is. */
  follow(changed, lost) {
    let version = null;
    const ask = async () => {
      try {
        const now = JSON.parse(new TextDecoder().decode(await this.fetched("version")));
        if (now.version !== version) {
          const head = await fetch("head");
          this.head = {served: true, ...(await head.json())};
          version = now.version;
          changed();
        }
        lost(false);
      } catch { lost(true); }
      setTimeout(ask, 2000);
    };
    ask();
  },
};
