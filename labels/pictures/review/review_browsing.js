// The third tab: the labels of a round, by class, score, decision, reason, origin and video.

import { ask, cropPath, element } from "./review_asking.js";

const ROWS = 60;
const FILTERS = ["class_name", "decision", "rule", "origin", "video_id"];
const byId = (id) => document.getElementById(id);

export class Browsing {
  constructor(page) {
    this.page = page;
    this.form = byId("filters");
    this.offset = 0;
    this.form.onsubmit = (event) => event.preventDefault();
    this.form.oninput = () => { this.offset = 0; this.open(); };
    this.form.onreset = () => setTimeout(() => { this.offset = 0; this.wanted = {}; this.open(); });
    byId("back").onclick = () => { this.offset -= ROWS; this.open(); };
    byId("on").onclick = () => { this.offset += ROWS; this.open(); };
    byId("judge-these").onclick = () => this.page.judgeThese(this.filter());
  }

  filter() {
    return Object.fromEntries(FILTERS.map((name) => [name, this.form.elements[name].value]).filter(([, value]) => value));
  }

  open() {
    const values = Object.fromEntries(["low", "high", "sort"].map((name) => [name, this.form.elements[name].value]));
    const turn = (this.turn = (this.turn || 0) + 1);
    return this.page.attempt(async () => {
      const asked = { ...this.filter(), ...values, round: this.page.round, offset: Math.max(0, this.offset) };
      const { labels, total, counts } = await ask("/api/browse", asked);
      if (turn !== this.turn) return;
      for (const name of FILTERS) this.choices(this.form.elements[name], counts[name]);
      byId("found").textContent = `${total.toLocaleString("en")} ${total === 1 ? "label" : "labels"}`;
      byId("judge-these").disabled = !total;
      const last = Math.min(this.offset + ROWS, total);
      byId("page").textContent = total ? `${this.offset + 1} to ${last}` : "";
      byId("back").disabled = this.offset <= 0;
      byId("on").disabled = last >= total;
      byId("labels").tBodies[0].replaceChildren(...labels.map((label) => this.row(label)));
    });
  }

  choices(select, counts) {
    const chosen = select.value;
    const words = Object.entries(counts);
    if (chosen && !(chosen in counts)) words.push([chosen, 0]);
    const options = words.map(([word, count]) => element("option", { value: word, textContent: `${word.replaceAll("_", " ")} (${count})` }));
    select.replaceChildren(element("option", { value: "", textContent: "any" }), ...options);
    select.value = chosen;
  }

  row(label) {
    const verdict = { y: label.right_box || label.right_class ? "right, corrected" : "right", n: "wrong" }[label.verdict] || "";
    const decision = element("td", {}, element("span", { className: `swatch ${label.style}` }), { keep: "kept", ignore: "ignored", drop: "dropped" }[label.decision]);
    const words = [label.video, label.frame, label.class, label.score.toFixed(2), label.quality.toFixed(2)];
    const row = element("tr", { tabIndex: 0, title: "judge this label" },
      element("td", {}, element("img", { loading: "lazy", alt: "", src: cropPath(this.page.round, label.uid) })),
      ...words.map((text) => element("td", { textContent: text })),
      decision,
      element("td", { className: "wide", textContent: label.reason }),
      element("td", { textContent: label.origin }),
      element("td", { textContent: verdict }));
    row.onclick = () => this.page.judgeLabel(label.uid);
    row.onkeydown = (event) => { if (event.key === "Enter") this.page.judgeLabel(label.uid); };
    return row;
  }
}
