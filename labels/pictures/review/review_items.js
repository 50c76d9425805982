// What a tab goes through item by item: fetched as it is needed; what a person says is sent at once, in order.

import { ask } from "./review_asking.js";

const MORE_WHEN_LEFT = 15;
const NOTICE_MS = 2500;

// `goTo(place)`, `stop()`, `isJudged(item)`, `judge(verdict)` and `reclass(name)` are the tab's own; `prefix` begins the
// ids of its elements.
export class ItemList {
  constructor(page, path, prefix = "") {
    Object.assign(this, { page, path, items: [], place: 0, filter: {}, turn: 0 });
    this.next = 0; // where the server's list goes on; null: at its end
    this.byId = (id) => document.getElementById(prefix + id);
    this.byId("yes").onclick = () => this.judge("y");
    this.byId("no").onclick = () => this.judge("n");
    this.byId("undo").onclick = () => this.undo();
    this.byId("class").onchange = (event) => { this.reclass(event.target.value); event.target.blur(); };
  }

  get item() { return this.items[this.place]; }

  // The list from its start; answers to what was asked before count no more.
  async begin(count, filter = {}) {
    this.stop();
    Object.assign(this, { items: [], place: 0, next: 0, filter, fetching: null, turn: this.turn + 1 });
    const { turn } = this;
    await this.more(count);
    if (turn === this.turn) this.goTo(0);
  }

  async more(count = 40) {
    if (this.next === null || this.fetching) return this.fetching;
    const { turn } = this;
    this.fetching = ask(this.path, { ...this.filter, round: this.page.round, offset: this.next, count });
    try {
      const { items, next, more = next !== null } = await this.fetching;
      if (turn !== this.turn) return;
      const known = new Set(this.items.map((item) => item.id));
      this.items.push(...items.filter((item) => !known.has(item.id)));
      Object.assign(this, { next, isMore: more });
    } finally {
      if (turn === this.turn) this.fetching = null;
    }
  }

  fetchAhead() {
    if (this.items.length - this.place >= MORE_WHEN_LEFT || this.next === null || this.fetching) return;
    this.page.attempt(async () => {
      const { turn } = this;
      const wasEmpty = !this.item;
      await this.more();
      if (turn !== this.turn) return;
      if (wasEmpty) this.goTo(this.place);
      else this.showProgress();
    });
  }

  // An item that may be known already, shown.
  show(item, ...shown) {
    const known = this.items.findIndex((each) => each.id === item.id);
    if (known >= 0) this.items[known] = item;
    else this.items.splice(this.place, 0, item);
    this.goTo(known >= 0 ? known : this.place, ...shown);
  }

  // The next item without a verdict, else the end.
  forward() {
    const open = this.items.findIndex((item, place) => place > this.place && !this.isJudged(item));
    this.goTo(open >= 0 ? open : this.items.length);
  }

  undo() { this.page.send("/api/undo", {}, (answer) => this.page.tookBack(answer, this)); }

  // How much is left, for the page's head; and what stands where an item would, at the end.
  showProgress() {
    const open = this.items.filter((each) => !this.isJudged(each)).length;
    this.page.progress(this, open, this.isMore);
    this.byId("empty").hidden = Boolean(this.item);
    this.byId("empty").textContent = this.next !== null ? "Looking for more …" : this.items.length
      ? `${open ? `These were all; ${open} wait for a verdict` : "That was all"}. The next dataset_cleaner.py run uses what you said; ↑ goes back.`
      : "Nothing to judge here: all has a verdict, or nothing fits the filter.";
  }

  notice(text) {
    this.byId("notice").textContent = text;
    clearTimeout(this.noticeEnds);
    this.noticeEnds = setTimeout(() => { this.byId("notice").textContent = ""; }, NOTICE_MS);
  }
}
