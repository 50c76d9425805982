// What a tab goes through item by item: fetched as it is needed; what a person says is sent at once, in order.

import { ask, tell } from "./review_asking.js";

const MORE_WHEN_LEFT = 15;

// `goTo(place)` and `isJudged(item)` are the tab's own.
export class ItemList {
  constructor(page, path, noticed) {
    Object.assign(this, { page, path, noticed, items: [], place: 0, filter: {} });
    this.next = 0; // where the server's list goes on; null: at its end
    this.sending = Promise.resolve();
  }

  get item() { return this.items[this.place]; }

  async begin(count, filter = {}) {
    Object.assign(this, { items: [], place: 0, next: 0, filter });
    await this.more(count);
    this.goTo(0);
  }

  async more(count = 40) {
    if (this.next === null || this.fetching) return this.fetching;
    this.fetching = ask(this.path, { ...this.filter, round: this.page.round, offset: this.next, count });
    try {
      const { items, next } = await this.fetching;
      const known = new Set(this.items.map((item) => item.id));
      this.items.push(...items.filter((item) => !known.has(item.id)));
      this.next = next;
    } finally {
      this.fetching = null;
    }
  }

  fetchAhead() {
    if (this.items.length - this.place >= MORE_WHEN_LEFT || this.next === null || this.fetching) return;
    this.page.attempt(async () => {
      const wasEmpty = !this.item;
      await this.more();
      if (wasEmpty) this.goTo(this.place);
      else this.tellProgress();
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

  // How much is left, for the page's head.
  tellProgress() {
    const open = this.items.slice(this.place).filter((each) => !this.isJudged(each)).length;
    this.page.progress(this, open, this.next !== null);
  }

  send(path, said, then) {
    this.sending = this.sending.then(() => this.page.attempt(async () => {
      const answer = await tell(path, said, { round: this.page.round });
      if (answer.total !== undefined) this.page.saved(answer.total);
      await then?.(answer);
    }));
    return this.sending;
  }

  notice(text) {
    this.noticed.textContent = text;
    clearTimeout(this.noticeEnds);
    this.noticeEnds = setTimeout(() => { this.noticed.textContent = ""; }, 2500);
  }
}
