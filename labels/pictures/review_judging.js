// The first tab: items one by one, judged by keyboard. What a person says is sent at once, in order; the page goes on.

import { ask, cropPath, element, framePath, image, pictureWhenReady, stripPath, tell } from "./review_asking.js";
import { FrameView, inside } from "./review_canvas.js";

const SIDE = 4; // frames of the strip on each side
const FIRST_ITEMS = 4; // the first view does not wait for more
const REST_MS = 120; // what is around a label is fetched when a person looks at it, not when they rush past
const CROPS_NEAR = 30;
const MORE_WHEN_LEFT = 15;
const SAVE_AFTER_MS = 400; // a box moved by keys is saved when they rest
const byId = (id) => document.getElementById(id);

export class Judging {
  constructor(page) {
    this.page = page;
    this.items = [];
    this.place = 0;
    this.row = 0; // of the item's rows
    this.offset = 0; // frames of the strip away from the label
    this.next = 0; // where the server's list goes on; null: at its end
    this.filter = {};
    this.sending = Promise.resolve();
    this.shown = 0; // counts what was shown, so that a late answer does not paint over a newer one
    const onBox = (box, isNew) => (isNew ? this.drawn(box) : this.corrected(box));
    this.frame = new FrameView(byId("frame"), { onBox });
    this.zoom = new FrameView(byId("zoom"), { close: true, onBox });
    byId("yes").onclick = () => this.judge("y");
    byId("no").onclick = () => this.judge("n");
    byId("undo").onclick = () => this.undo();
    byId("class").onchange = (event) => { this.reclass(event.target.value); event.target.blur(); };
  }

  get item() { return this.items[this.place]; }
  get label() { return this.item?.rows[this.row]; }
  get frameShown() { return this.label.frame + this.offset * this.item.step; }

  async open(filter = {}) {
    Object.assign(this, { items: [], place: 0, next: 0, filter });
    await this.more(FIRST_ITEMS);
    this.goTo(0);
  }

  async more(count = 40) {
    if (this.next === null || this.fetching) return this.fetching;
    this.fetching = ask("/api/items", { ...this.filter, round: this.page.round, offset: this.next, count });
    try {
      const { items, next } = await this.fetching;
      const known = new Set(this.items.map((item) => item.id));
      this.items.push(...items.filter((item) => !known.has(item.id)));
      this.next = next;
    } finally {
      this.fetching = null;
    }
  }

  async openLabel(uid) {
    const item = await ask("/api/item", { round: this.page.round, label: uid });
    const known = this.items.findIndex((each) => each.id === item.id);
    if (known >= 0) this.items[known] = item;
    else this.items.splice(this.place, 0, item);
    this.goTo(known >= 0 ? known : this.place, uid);
  }

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

  fetchAhead() {
    if (this.items.length - this.place >= MORE_WHEN_LEFT || this.next === null || this.fetching) return;
    this.page.attempt(async () => {
      const wasEmpty = !this.item;
      await this.more();
      if (wasEmpty) this.goTo(this.place);
      else this.tellFacts();
    });
  }

  // The next item without a verdict, else the next one.
  forward() {
    const open = this.items.findIndex((item, place) => place > this.place && !isJudged(item));
    this.goTo(open >= 0 ? open : this.items.length);
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

  // --- what is said ---

  send(path, said, then) {
    this.sending = this.sending.then(() => this.page.attempt(async () => {
      const answer = await tell(path, said, { round: this.page.round });
      if (answer.total !== undefined) this.page.saved(answer.total);
      then?.(answer);
    }));
    return this.sending;
  }

  judge(verdict, only = false) {
    const { item, label } = this;
    if (!item || this.painted !== label.uid) return; // nobody has seen it yet
    this.flush();
    if (only) label.single = true; // what was said of one label stands when the whole track is judged after it
    for (const row of only ? [label] : item.rows.filter((each) => !each.single)) row.verdict = verdict;
    this.send("/api/verdict", { item: item.id, verdict, ...(only ? { only: label.uid } : {}) }, (answer) => take(item, answer.rows));
    const count = only ? 1 : item.count - item.rows.filter((each) => each.single).length;
    this.notice(`${verdict === "y" ? "right" : "wrong"}: ${count === 1 ? "1 label" : `${count} labels`}`);
    if (only && !isJudged(item)) this.along(1);
    else this.forward();
  }

  corrected(box, later = false) {
    const { item, label } = this;
    this.offset = 0;
    label.right_box = box;
    this.paint();
    clearTimeout(this.saveLater);
    this.unsaved = { item, label, box };
    if (later) this.saveLater = setTimeout(() => this.flush(), SAVE_AFTER_MS);
    else this.flush();
  }

  flush() {
    const { unsaved } = this;
    if (!unsaved) return;
    this.unsaved = null;
    const { item, label, box } = unsaved;
    label.verdict = "y";
    this.send("/api/verdict", { item: item.id, only: label.uid, verdict: "y", box }, (answer) => take(item, answer.rows));
    this.notice("box corrected");
    this.tellFacts();
  }

  reclass(name) {
    const { item } = this;
    if (!item || !name || this.painted !== this.label.uid) return;
    for (const row of item.rows) Object.assign(row, { right_class: name, verdict: "y" });
    this.send("/api/verdict", { item: item.id, verdict: "y", class_name: name }, (answer) => take(item, answer.rows));
    this.notice(`${item.count === 1 ? "it is" : `${item.count} labels are`} ${name}`);
    this.tellFacts();
  }

  drawn(box) {
    const { item, frameShown: frame } = this;
    const name = this.label.right_class || this.label.class;
    this.send("/api/drawn", { video: item.video, frame, class_name: name, box }, () => {
      this.notice(`a ${name} was added`);
      this.paint();
    });
  }

  undo() {
    this.flush();
    this.send("/api/undo", {}, async ({ item, labels }) => {
      if (!labels) return this.notice("nothing to take back");
      this.notice(`taken back: ${labels === 1 ? "1 label" : `${labels} labels`}`);
      const isDrawn = !this.items.some((each) => each.id === item);
      if (isDrawn && this.item) return this.paint();
      await this.openLabel(item);
    });
  }

  // --- what is shown ---

  notice(text) {
    byId("notice").textContent = text;
    clearTimeout(this.noticeEnds);
    this.noticeEnds = setTimeout(() => { byId("notice").textContent = ""; }, 2500);
  }

  async paint() {
    const turn = ++this.shown;
    const { item, label } = this;
    byId("judge").classList.toggle("done", !item);
    byId("empty").hidden = Boolean(item);
    if (!item) {
      byId("empty").textContent = this.next !== null ? "Looking for more labels …" : this.items.length
        ? "That was all. The next dataset_cleaner.py run uses what you said; ↑ goes back."
        : "Nothing to judge here: every label has a verdict, or none fits the filter.";
      return;
    }
    const frame = this.frameShown;
    if (this.painted !== this.label.uid) {
      this.painted = document.documentElement.dataset.shown = ""; // what is still on the canvas is another label: it can be neither dragged nor judged
      byId("judge").classList.add("waiting");
      this.frame.release();
      this.zoom.release();
    }
    this.tellFacts();
    this.paintStrip(frame);
    const round = this.page.round;
    const reach = SIDE * item.step;
    const [picture, around] = await Promise.all([
      image(framePath(round, item.video, frame)).catch((error) => { this.notice(error.message); return null; }),
      ask("/api/around", { round, video: item.video, first: Math.max(0, this.label.frame - reach), last: this.label.frame + reach })
        .catch(() => ({ labels: [], drawn: [] })),
    ]);
    if (turn !== this.shown) return;
    this.around = around;
    this.paintFrame(picture, frame);
    this.painted = this.label.uid;
    byId("judge").classList.remove("waiting");
    document.documentElement.dataset.shown = this.painted;
    this.page.wasShown();
    const key = `${item.video} ${label.frame}`;
    if (this.stripOf !== key) {
      const wanted = () => this.label && this.item === item && this.label === label;
      setTimeout(async () => {
        const strip = await pictureWhenReady(stripPath(round, item.video, label.frame), wanted).catch(() => null);
        if (!strip || !wanted()) return;
        Object.assign(this, { stripOf: key, strip });
        this.paintTiles();
      }, REST_MS);
    }
    this.paintTiles();
    setTimeout(() => turn === this.shown && this.fillCrops(), REST_MS);
    this.fetchAhead();
    for (const ahead of this.items.slice(this.place + 1, this.place + 3)) {
      const row = ahead.rows.find((each) => each.uid === ahead.shown);
      image(framePath(round, ahead.video, row.frame)).catch(() => {});
    }
  }

  paintFrame(picture, frame) {
    const { item, label } = this;
    const own = frame === label.frame ? label : item.rows.find((row) => row.frame === frame);
    const boxes = this.boxesIn(frame, own);
    const state = {
      image: picture, size: [item.width, item.height], boxes, box: own ? own.right_box || own.box : null,
      style: own?.style || "kept", editable: own === label,
    };
    this.frame.show(state);
    this.zoom.show({ ...state, box: state.box || label.right_box || label.box, editable: own === label && Boolean(own) });
    byId("where").textContent = `${item.video}   frame ${frame}, ${(frame / item.fps).toFixed(2)} s`;
  }

  boxesIn(frame, own) {
    const drawn = this.around.drawn.filter((each) => each.frame === frame).map((each) => ({ box: each.box, style: "kept" }));
    const others = this.around.labels.filter((each) => each.frame === frame && each.uid !== own?.uid);
    return [...drawn, ...others.map((each) => ({ box: each.right_box || each.box, style: each.style }))];
  }

  paintStrip(frame) {
    const { item, label } = this;
    const tiles = [];
    for (let place = -SIDE; place <= SIDE; place += 1) {
      const at = label.frame + place * item.step;
      const tile = element("button", { type: "button", tabIndex: -1 });
      if (at >= 0 && at < item.frame_count) {
        const seconds = (at - label.frame) / item.fps;
        const canvas = element("canvas", { width: 240, height: 135 });
        tile.append(canvas, element("span", { textContent: place ? `${seconds > 0 ? "+" : "−"}${Math.abs(seconds).toFixed(2)} s` : "here" }));
        tile.classList.toggle("here", at === frame);
        tile.onclick = () => { this.stop(); this.offset = place; this.paint(); };
      } else {
        tile.disabled = true;
      }
      tile.frame = at;
      tiles.push(tile);
    }
    byId("strip").replaceChildren(...tiles);
    const crops = item.rows.length > 1 ? item.rows.map((row, place) => {
      const crop = element("button", { type: "button", tabIndex: -1, title: `frame ${row.frame}` });
      crop.append(element("img", { alt: "" }));
      crop.uid = row.uid;
      crop.classList.toggle("here", place === this.row);
      crop.onclick = () => { this.flush(); this.row = place; this.offset = 0; this.paint(); };
      return crop;
    }) : [];
    const held = byId("crops");
    if (held.dataset.item === item.id && crops.length === held.children.length) {
      [...held.children].forEach((crop, place) => crop.classList.toggle("here", place === this.row));
    } else {
      held.replaceChildren(...crops);
      held.dataset.item = item.id;
    }
    const here = held.children[this.row];
    if (here) held.scrollLeft = here.offsetLeft - held.clientWidth / 2;
  }

  // The crops nearest to the label that is shown, one after the other: a verdict must not wait for them.
  async fillCrops() {
    const turn = this.shown;
    const crops = [...byId("crops").children];
    const near = crops.map((crop, place) => [Math.abs(place - this.row), crop]).sort((one, two) => one[0] - two[0]);
    for (const [, crop] of near.slice(0, CROPS_NEAR)) {
      if (turn !== this.shown) return;
      const picture = crop.firstChild;
      if (picture.getAttribute("src")) continue;
      picture.src = cropPath(this.page.round, crop.uid);
      await picture.decode().catch(() => {});
    }
  }

  paintTiles() {
    if (!this.item || this.stripOf !== `${this.item.video} ${this.label.frame}`) return;
    [...byId("strip").children].forEach((tile, place) => { if (!tile.disabled) this.paintTile(tile, place); });
  }

  paintTile(tile, place) {
    const { item, strip } = this;
    const { frame } = tile;
    const canvas = tile.querySelector("canvas");
    const context = canvas.getContext("2d");
    const scale = Math.min(canvas.width / item.width, canvas.height / item.height);
    const [left, top] = [(canvas.width - item.width * scale) / 2, (canvas.height - item.height * scale) / 2];
    const part = strip.width / (2 * SIDE + 1);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(strip, place * part, 0, part, strip.height, left, top, item.width * scale, item.height * scale);
    const own = item.rows.find((row) => row.frame === frame);
    if (!own) return;
    const [x1, y1, x2, y2] = own.right_box || own.box;
    context.strokeStyle = "#ffffff";
    context.lineWidth = 2;
    const size = Math.max((x2 - x1) * scale, (y2 - y1) * scale, 9) + 6;
    context.strokeRect(left + ((x1 + x2) / 2) * scale - size / 2, top + ((y1 + y2) / 2) * scale - size / 2, size, size);
  }

  tellFacts() {
    const { item, label } = this;
    const name = label.right_class || label.class;
    const many = item.count > 1 ? (item.track ? `a track of ${item.count} labels` : `${item.count} labels in one place`) : "one label";
    byId("question").textContent = `Is this a ${name}?`;
    const said = { y: label.right_box || label.right_class ? "right, corrected" : "right", n: "wrong" }[label.verdict];
    const rule = this.page.rules[label.rule];
    const facts = [
      ["decides", many + (item.duplicates ? `, and ${item.duplicates} of the same seen twice` : "")],
      ["now", element("span", {}, element("span", { className: `swatch ${label.style}` }), decisionWords(label))],
      ...(label.reason ? [["because", rule ? `${rule} (${label.reason})` : label.reason]] : []),
      ["score", label.score.toFixed(2)],
      ["quality", label.quality.toFixed(2)],
      ...(said ? [["you said", said]] : []),
    ];
    byId("facts").replaceChildren(...facts.flatMap(([term, words]) => [element("dt", { textContent: term }), element("dd", {}, words)]));
    const [bar, low, high] = byId("quality").children;
    bar.style.width = `${label.quality * 100}%`;
    [low, high].forEach((mark, place) => { mark.style.left = `${this.page.thresholds[place] * 100}%`; });
    byId("quality").setAttribute("aria-label", `quality ${label.quality}; ignored from ${this.page.thresholds[0]}, kept from ${this.page.thresholds[1]}`);
    const names = this.page.classes.includes(name) ? this.page.classes : [...this.page.classes, name];
    const options = names.map((each, place) => element("option", { value: each, textContent: place < 9 ? `${place + 1}  ${each}` : each }));
    byId("class").replaceChildren(...options);
    byId("class").value = name;
    const open = this.items.slice(this.place).filter((each) => !isJudged(each)).length;
    this.page.progress(open, this.next !== null);
  }

  // --- moving pictures, and a box by keys ---

  play() {
    if (this.playing) return this.stop();
    const { item, label } = this;
    const frames = [];
    for (let place = -SIDE; place <= SIDE; place += 1) {
      const at = label.frame + place * item.step;
      if (at >= 0 && at < item.frame_count) frames.push(at);
    }
    let turn = 0;
    const tick = async () => {
      const frame = frames[turn++ % frames.length];
      const picture = await image(framePath(this.page.round, item.video, frame)).catch(() => null);
      if (this.playing && item === this.item) this.paintFrame(picture, frame);
    };
    this.playing = setInterval(tick, Math.max(60, (item.step / item.fps) * 1000));
    tick();
  }

  stop() {
    if (!this.playing) return;
    clearInterval(this.playing);
    this.playing = null;
    this.paint();
  }

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

const isJudged = (item) => item.rows.every((row) => row.verdict);


function decisionWords(label) {
  const words = { keep: "kept", ignore: "ignored", drop: "dropped" }[label.decision];
  return label.origin === "detected" ? words : `${words}, ${label.origin === "human" ? "a person said so" : label.origin}`;
}

// The server's word on the rows it was told of.
function take(item, rows) {
  const told = new Map(rows.map((row) => [row.uid, row]));
  for (const row of item.rows) {
    const now = told.get(row.uid);
    if (now) Object.assign(row, { verdict: now.verdict, right_box: now.right_box, right_class: now.right_class });
  }
}
