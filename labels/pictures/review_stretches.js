// The second tab: who does what when. Each action is played over and over until a person says whether it is one.

import { ask, element, framePath, image } from "./review_asking.js";
import { FrameView } from "./review_canvas.js";
import { ItemList } from "./review_items.js";

const FIRST_ITEMS = 3; // the first view does not wait for more
const ITEMS = 12;
const TILES = 9;
const LEAST_PACE_MS = 40;
const FRAME_WIDTH = 960;
const byId = (id) => document.getElementById(`stretch-${id}`);
const DECISIONS = { keep: "kept", ignore: "ignored", drop: "dropped" };
const ORIGINS = { human: "a person", detected: "the labeller" };

export class Stretches extends ItemList {
  constructor(page) {
    super(page, "/api/actions", byId("notice"));
    this.frame = new FrameView(byId("frame"));
    this.zoom = new FrameView(byId("zoom"), { close: true, surroundings: 1.4 });
    this.at = 0; // of the item's frames
    this.plays = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    byId("yes").onclick = () => this.judge("y");
    byId("no").onclick = () => this.judge("n");
    byId("undo").onclick = () => this.undo();
    byId("class").onchange = (event) => { this.reclass(event.target.value); event.target.blur(); };
  }

  isJudged(item) { return Boolean(item.verdict); }

  open() { return this.begin(FIRST_ITEMS); }

  more(count = ITEMS) { return super.more(count); }

  async openItem(id) { this.show(await ask("/api/action", { round: this.page.round, label: id })); }

  goTo(place) {
    this.place = Math.max(0, Math.min(place, this.items.length));
    this.at = 0;
    this.painted = null;
    document.documentElement.dataset.stretch = "";
    this.start();
    if (!this.item) this.fetchAhead();
  }

  // --- what is shown ---

  start() {
    this.stop();
    const { item } = this;
    byId("empty").hidden = Boolean(item);
    byId("empty").textContent = this.next !== null ? "Looking for more actions …" : this.items.length
      ? "That was all. The next dataset_cleaner.py run uses what you said; ↑ goes back."
      : "No action of this round is left to judge.";
    document.getElementById("stretches").classList.toggle("done", !item);
    this.tellProgress();
    if (!item || document.getElementById("stretches").hidden) return;
    document.getElementById("stretches").classList.toggle("waiting", this.painted !== item.id);
    this.tellFacts();
    this.load(item);
    this.fetchAhead();
  }

  // All frames of an item, one after the other; it plays what is there.
  async load(item) {
    this.pictures = item.frames.map(() => null);
    this.layTiles(item);
    const first = item.frames.slice(0, 2).map((frame) => image(this.framePathOf(item, frame)).catch(() => null));
    await Promise.all(first);
    for (const [at, frame] of item.frames.entries()) {
      const picture = await image(this.framePathOf(item, frame)).catch((error) => { this.notice(error.message); return null; });
      if (this.item !== item) return;
      this.pictures[at] = picture;
      this.paintTiles(item);
      if (at === 0) {
        this.paintFrame();
        this.painted = item.id;
        document.getElementById("stretches").classList.remove("waiting");
        document.documentElement.dataset.stretch = item.id;
        this.page.wasShown();
        if (this.plays) this.play();
      }
    }
    const after = this.items[this.place + 1];
    for (const frame of after ? after.frames.slice(0, 4) : []) image(this.framePathOf(after, frame)).catch(() => {});
  }

  framePathOf(item, frame) { return framePath(this.page.round, item.video, frame, Math.min(item.width, FRAME_WIDTH)); }

  paintFrame() {
    const { item, at } = this;
    const state = {
      image: this.pictures[at], size: [item.width, item.height], boxes: [], box: item.boxes[at], style: item.style, editable: false,
    };
    this.frame.show(state);
    byId("zoom").hidden = !item.boxes.some(Boolean);
    if (state.box) this.zoom.show(state);
    const frame = item.frames[at];
    byId("where").textContent = `${item.video}   frame ${frame}, ${(frame / item.fps).toFixed(2)} s`;
    for (const tile of byId("strip").children) tile.classList.toggle("here", tile.at === this.nearestTile(at));
  }

  tilePlaces(item) {
    const count = Math.min(TILES, item.frames.length);
    return [...Array(count).keys()].map((tile) => Math.round((tile * (item.frames.length - 1)) / Math.max(count - 1, 1)));
  }

  nearestTile(at) {
    return this.tilePlaces(this.item).reduce((best, place) => (Math.abs(place - at) < Math.abs(best - at) ? place : best));
  }

  layTiles(item) {
    byId("strip").replaceChildren(...this.tilePlaces(item).map((at) => {
      const tile = element("button", { type: "button", tabIndex: -1, at }, element("canvas", { width: 240, height: 135 }),
        element("span", { textContent: `${((item.frames[at] - item.frames[0]) / item.fps).toFixed(2)} s` }));
      tile.onclick = () => { this.halt(); this.at = at; this.paintFrame(); };
      return tile;
    }));
  }

  paintTiles(item) {
    for (const tile of byId("strip").children) {
      const picture = this.pictures[tile.at];
      if (!picture || tile.painted) continue;
      tile.painted = true;
      const canvas = tile.querySelector("canvas");
      const scale = Math.min(canvas.width / item.width, canvas.height / item.height);
      const [width, height] = [item.width * scale, item.height * scale];
      const [left, top] = [(canvas.width - width) / 2, (canvas.height - height) / 2];
      const context = canvas.getContext("2d");
      context.drawImage(picture, left, top, width, height);
      const box = item.boxes[tile.at];
      if (!box) continue;
      context.strokeStyle = "#ffffff";
      context.lineWidth = 2;
      context.strokeRect(left + box[0] * scale, top + box[1] * scale, (box[2] - box[0]) * scale, (box[3] - box[1]) * scale);
    }
  }

  play() {
    this.stop();
    const { item } = this;
    const pace = item.frames.length > 1 ? ((item.frames.at(-1) - item.frames[0]) / (item.frames.length - 1) / item.fps) * 1000 : 1000;
    this.playing = setInterval(() => {
      const there = this.pictures.indexOf(null); // it plays as far as it is loaded
      this.at = (this.at + 1) % (there > 0 ? there : item.frames.length);
      if (this.pictures[this.at]) this.paintFrame();
    }, Math.max(LEAST_PACE_MS, pace));
  }

  stop() {
    clearInterval(this.playing);
    this.playing = null;
  }

  halt() { // a person wants it to stand still, here and from now on
    this.plays = false;
    this.stop();
  }

  tellFacts() {
    const { item, page } = this;
    if (!item) return;
    const name = item.right_class || item.class;
    const who = item.track < 0 ? "" : ` by player #${item.track}`;
    byId("question").textContent = `Is this «${name.replaceAll("_", " ")}»${who}?`;
    const rule = page.rules[item.rule];
    const said = { y: item.right_class ? `it is ${item.right_class}` : "right", n: "wrong" }[item.verdict];
    const facts = [
      ...(item.doubt ? [["doubted", `a student says ${item.doubt.class}, ${item.doubt.score.toFixed(2)}`]] : []),
      ["when", `${item.start_s.toFixed(2)} to ${item.end_s.toFixed(2)} s`],
      ["said by", ORIGINS[item.origin] || item.origin],
      ["now", element("span", {}, element("span", { className: `swatch ${item.style}` }), DECISIONS[item.decision])],
      ...(item.reason ? [["because", rule ? `${rule} (${item.reason})` : item.reason]] : []),
      ...(item.origin === "human" ? [] : [["quality", item.quality.toFixed(2)]]),
      ...(item.origin === "human" || !item.likely.length ? [] : [["likeliest", item.likely.map(([each, share]) => `${each} ${share.toFixed(2)}`).join(", ")]]),
      ...(said ? [["you said", said]] : []),
    ];
    byId("facts").replaceChildren(...facts.flatMap(([term, words]) => [element("dt", { textContent: term }), element("dd", {}, words)]));
    const names = page.actions.includes(name) ? page.actions : [...page.actions, name];
    byId("class").replaceChildren(...names.map((each, place) => element("option", { value: each, textContent: place < 9 ? `${place + 1}  ${each}` : each })));
    byId("class").value = name;
  }

  // --- what is said ---

  judge(verdict, name = "") {
    const { item } = this;
    if (!item || this.painted !== item.id) return; // nobody has seen it yet
    const right = name || (verdict === "y" ? item.right_class || "" : "");
    Object.assign(item, { verdict, right_class: right === item.class ? "" : right });
    this.send("/api/action-verdict", { item: item.id, verdict, class_name: right }, (answer) => {
      Object.assign(item, { verdict: answer.verdict, right_class: answer.right_class });
    });
    this.notice(verdict === "y" ? item.right_class || "right" : "wrong");
    this.forward();
  }

  reclass(name) { if (name) this.judge("y", name); }

  undo() {
    this.send("/api/undo", {}, (answer) => this.page.tookBack(answer, this));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    if (event.key === "u") return this.undo(), true;
    if (event.key === "ArrowUp") return this.goTo(this.place - 1), true;
    if (!this.item) return false;
    if (event.key === "ArrowDown") return this.goTo(this.place + 1), true;
    if (event.key === "y" || event.key === "n") return event.repeat || this.judge(event.key), true;
    if (event.key === " ") {
      this.plays = !this.plays;
      if (this.plays) this.play();
      else this.stop();
      return true;
    }
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      this.halt();
      const at = this.at + (event.key === "ArrowLeft" ? -1 : 1);
      if (this.pictures?.[at]) {
        this.at = at;
        this.paintFrame();
      }
      return true;
    }
    const name = /^[1-9]$/.test(event.key) ? this.page.actions[event.key - 1] : null;
    return name ? (this.reclass(name), true) : false;
  }
}
