// The second tab: who does what when. What is played is judged by keyboard; the page goes on.

import { ask, element } from "./review_asking.js";
import { decisionWords, heldOutTerms, reasonWords, showClasses, showTerms } from "./review_facts.js";
import { Playing } from "./review_playing.js";

const FIRST_ITEMS = 3; // the first view does not wait for more
const ITEMS = 12;

export class Segments extends Playing {
  isJudged(item) { return Boolean(item.verdict); }

  open() { return this.begin(FIRST_ITEMS); }

  more(count = ITEMS) { return super.more(count); }

  async openItem(id) { this.show(await ask("/api/action", { round: this.page.round, label: id })); }

  goTo(place) {
    this.place = Math.max(0, Math.min(place, this.items.length));
    this.at = 0;
    this.start();
    if (!this.item) this.fetchAhead();
  }

  // Shows the item, where its tab is open.
  start() {
    this.stop();
    const { item } = this;
    this.painted = null;
    document.documentElement.dataset.segment = "";
    this.tab.classList.toggle("done", !item);
    this.showProgress();
    if (!item || this.tab.hidden) return;
    this.tab.classList.add("waiting");
    this.showFacts();
    this.load(item);
    this.fetchAhead();
  }

  showFacts() {
    const { item, page } = this;
    const name = item.right_class || item.class;
    const who = item.track < 0 ? "" : ` by player #${item.track}`;
    this.byId("question").textContent = `Is this «${name.replaceAll("_", " ")}»${who}?`;
    const isHuman = item.origin === "human";
    const verdict = { y: item.right_class ? `it is ${item.right_class}` : "right", n: "wrong" }[item.verdict];
    const likeliest = isHuman ? "" : item.likely.map(([each, share]) => `${each} ${share.toFixed(2)}`).join(", ");
    showTerms(this.byId("facts"), [
      ...(item.doubt ? [["doubted", `a student says ${item.doubt.class}, ${item.doubt.score.toFixed(2)}`]] : []),
      ...heldOutTerms(item),
      ["when", `${item.start_s.toFixed(2)} to ${item.end_s.toFixed(2)} s`],
      ["now", element("span", {}, element("span", { className: `swatch ${item.style}` }), decisionWords(item))],
      ...(item.reason ? [["because", reasonWords(item, page.rules)]] : []),
      ...(isHuman ? [] : [["quality", item.quality.toFixed(2)]]),
      ...(likeliest ? [["likeliest", likeliest]] : []),
      ...(verdict ? [["you said", verdict]] : []),
    ]);
    showClasses(this.byId("class"), page.actions, name);
  }

  judge(verdict, name = "") {
    const { item } = this;
    if (!item || this.painted !== item.id) return; // nobody has seen it yet
    const before = { verdict: item.verdict, right_class: item.right_class };
    const right = name || (verdict === "y" ? item.right_class || "" : "");
    Object.assign(item, { verdict, right_class: right === item.class ? "" : right });
    this.page.send("/api/action-verdict", { item: item.id, verdict, class_name: right },
      (answer) => Object.assign(item, { verdict: answer.verdict, right_class: answer.right_class }),
      () => { Object.assign(item, before); this.showProgress(); });
    this.notice(`${item.video}: ${verdict === "y" ? item.right_class || "right" : "wrong"}`);
    this.forward();
  }

  reclass(name) { if (name) this.judge("y", name); }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    if (event.key === "u") return this.undo(), true;
    if (event.key === "ArrowUp") return this.goTo(this.place - 1), true;
    if (!this.item) return false;
    if (event.key === "ArrowDown") return this.goTo(this.place + 1), true;
    if (event.key === "y" || event.key === "n") return event.repeat || this.judge(event.key), true;
    if (event.key === "ArrowLeft") return this.stepTo(this.at - 1), true;
    if (event.key === "ArrowRight") return this.stepTo(this.at + 1), true;
    if (event.key === " ") {
      this.plays = !this.playing;
      if (this.plays && this.painted === this.item.id) this.play();
      else this.stop();
      return true;
    }
    const name = /^[1-9]$/.test(event.key) ? this.page.actions[event.key - 1] : null;
    return name ? (event.repeat || this.reclass(name), true) : false;
  }
}
