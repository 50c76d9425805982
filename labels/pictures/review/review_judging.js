// The first tab: items one by one, judged by keyboard. What a person says is sent at once; the page goes on.

import { ask } from "./review_asking.js";
import { inside } from "./review_canvas.js";
import { Showing } from "./review_showing.js";
import { SIDE } from "./review_strip.js";

const FIRST_ITEMS = 4; // the first view does not wait for more
const SAVE_AFTER_MS = 400; // a box moved by keys is saved when they rest

export class Judging extends Showing {
  constructor(page) {
    super(page, (box, isNew) => (isNew ? this.drawn(box) : this.corrected(box)));
  }

  isJudged(item) { return item.rows.every((row) => row.verdict); }

  open(filter) { return this.begin(FIRST_ITEMS, filter); }

  async openLabel(uid) { this.show(await ask("/api/item", { round: this.page.round, label: uid }), uid); }

  goTo(place, uid) {
    this.stop();
    clearTimeout(this.saveLater);
    this.flush();
    this.place = Math.max(0, Math.min(place, this.items.length));
    const shown = uid || this.item?.shown;
    this.row = Math.max(0, this.item?.rows.findIndex((row) => row.uid === shown) ?? 0);
    this.offset = 0;
    this.frame.close = false;
    this.paint();
    if (!this.item) this.fetchAhead();
  }

  along(by) {
    this.stop();
    if (this.item.rows.length > 1) {
      this.flush();
      this.row = Math.max(0, Math.min(this.row + by, this.item.rows.length - 1));
    } else {
      const frame = this.frameShown + by * this.item.step;
      if (frame >= 0 && frame < this.item.frame_count) this.offset = Math.max(-SIDE, Math.min(this.offset + by, SIDE));
    }
    this.paint();
  }

  // --- verdicts ---

  // Sends a verdict on an item; the page shows it as said already, and no longer where it is refused.
  record(item, verdict, restore) {
    this.page.send("/api/verdict", { item: item.id, ...verdict }, (answer) => take(item, answer.rows), restore);
  }

  // A function that gives rows back what was said of them until now.
  remembered(rows) {
    const before = rows.map(({ verdict, right_box, right_class, single }) => ({ verdict, right_box, right_class, single }));
    return () => {
      rows.forEach((row, place) => Object.assign(row, before[place]));
      if (this.item) this.paint();
    };
  }

  judge(verdict, only = false) {
    const { item, label } = this;
    if (!item || this.painted !== label.uid) return; // nobody has seen it yet
    this.flush();
    const restore = this.remembered(item.rows);
    if (only) label.single = true; // what was said of one label stands when the whole track is judged after it
    for (const row of only ? [label] : item.rows.filter((each) => !each.single)) row.verdict = verdict;
    this.record(item, { verdict, ...(only ? { only: label.uid } : {}) }, restore);
    const count = only ? 1 : item.count - item.rows.filter((each) => each.single).length;
    this.notice(`${verdict === "y" ? "right" : "wrong"}: ${count === 1 ? "1 label" : `${count} labels`}`);
    if (only && !this.isJudged(item)) this.along(1);
    else this.forward();
  }

  corrected(box, later = false) {
    const { item, label } = this;
    const restore = this.unsaved?.restore || this.remembered([label]);
    this.offset = 0;
    label.right_box = box;
    this.paint();
    clearTimeout(this.saveLater);
    this.unsaved = { item, label, box, restore };
    if (later) this.saveLater = setTimeout(() => this.flush(), SAVE_AFTER_MS);
    else this.flush();
  }

  flush() {
    const { unsaved } = this;
    if (!unsaved) return;
    this.unsaved = null;
    const { item, label, box, restore } = unsaved;
    label.verdict = "y";
    this.record(item, { only: label.uid, verdict: "y", box }, restore);
    this.notice("box corrected");
    this.showFacts();
  }

  reclass(name) {
    const { item } = this;
    if (!item || !name || this.painted !== this.label.uid) return;
    const restore = this.remembered(item.rows);
    for (const row of item.rows) Object.assign(row, { right_class: name, verdict: "y" });
    this.record(item, { verdict: "y", class_name: name }, restore);
    this.notice(`${item.count === 1 ? "it is" : `${item.count} labels are`} ${name}`);
    this.showFacts();
  }

  drawn(box) {
    const { item, frameShown: frame } = this;
    const name = this.label.right_class || this.label.class;
    this.page.send("/api/drawn", { video: item.video, frame, class_name: name, box }, () => {
      this.notice(`a ${name} was added`);
      this.paint();
    });
  }

  undo() {
    this.flush();
    super.undo();
  }

  // An item whose verdict was taken back; what was drawn is none.
  async openItem(id) {
    if (!this.items.some((each) => each.id === id) && this.item) return this.paint();
    await this.openLabel(id);
  }

  // --- keys ---

  nudge(right, down, corner) {
    if (this.painted !== this.label.uid) return;
    const [x1, y1, x2, y2] = this.label.right_box || this.label.box;
    const box = corner ? [x1, y1, x2 + right, y2 + down] : [x1 + right, y1 + down, x2 + right, y2 + down];
    this.corrected(inside(box, [this.item.width, this.item.height], !corner), true);
  }

  key(event) {
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const arrow = arrows[event.key];
    if (event.ctrlKey || event.metaKey) return false;
    if (event.key === "u") return this.undo(), true;
    if (event.key === "ArrowUp" && !event.shiftKey && !event.altKey) return this.goTo(this.place - 1), true;
    if (!this.item) return false;
    if (arrow && (event.shiftKey || event.altKey)) return this.nudge(...arrow, event.altKey), true;
    if (event.altKey) return false;
    if (event.key === "y" || event.key === "n") return event.repeat || this.judge(event.key), true;
    if (event.key === "Y" || event.key === "N") return event.repeat || this.judge(event.key.toLowerCase(), true), true;
    if (event.key === "ArrowDown") return this.goTo(this.place + 1), true;
    if (arrow) return this.along(arrow[0]), true;
    if (event.key === " ") return this.play(), true;
    if (event.key === "z") {
      this.frame.close = !this.frame.close;
      return this.paint(), true;
    }
    if (event.key === "a") {
      this.stop();
      this.frame.drawing = this.zoom.drawing = true;
      return this.notice("draw a box around what is missing"), true;
    }
    if (event.key === "Escape") {
      this.frame.cancel();
      this.zoom.cancel();
      return true;
    }
    const name = /^[1-9]$/.test(event.key) ? this.page.classes[event.key - 1] : null;
    return name ? (this.reclass(name), true) : false;
  }
}

// The server's word on the rows it was told of.
function take(item, rows) {
  const told = new Map(rows.map((row) => [row.uid, row]));
  for (const row of item.rows) {
    const now = told.get(row.uid);
    if (now) Object.assign(row, { verdict: now.verdict, right_box: now.right_box, right_class: now.right_class });
  }
}
