// An action, played over and over as far as its frames are there, with its player in a box and some frames below.

import { element, framePath, image } from "./review_asking.js";
import { FrameView, fitted } from "./review_canvas.js";
import { ItemList } from "./review_items.js";

const TILES = 9;
const LEAST_PACE_MS = 40;
const FRAME_WIDTH = 960;
const FETCHED_AHEAD = 4; // frames of the next action

// `items` and `place` say which; `Segments` moves them.
export class Playing extends ItemList {
  constructor(page) {
    super(page, "/api/actions", "segment-");
    this.frame = new FrameView(this.byId("frame"));
    this.zoom = new FrameView(this.byId("zoom"), { close: true, surroundings: 1.4 });
    this.at = 0; // of the item's frames
    this.plays = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.tab = document.getElementById("segments");
  }

  // Loads the frames of an item one after the other, and plays what is there.
  async load(item) {
    Object.assign(this, { pictures: item.frames.map(() => null), loaded: 0 });
    this.layTiles(item);
    const here = () => this.item === item && !this.tab.hidden;
    for (const [at, frame] of item.frames.entries()) {
      const picture = await image(this.pathOf(item, frame)).catch((error) => { if (here()) this.notice(error.message); return null; });
      if (!here()) return;
      this.pictures[at] = picture;
      this.loaded = at + 1;
      if (picture && this.painted !== item.id) this.begins(item, at);
      else if (at === this.at && !this.playing) this.paintFrame();
      this.paintTiles(item);
    }
    const after = this.items[this.place + 1];
    for (const frame of after ? after.frames.slice(0, FETCHED_AHEAD) : []) image(this.pathOf(after, frame)).catch(() => {});
  }

  // The first picture that is there: from now on it is seen, and may be judged.
  begins(item, at) {
    this.at = at;
    this.painted = item.id;
    this.paintFrame();
    this.tab.classList.remove("waiting");
    document.documentElement.dataset.segment = item.id;
    this.page.wasShown();
    if (this.plays) this.play();
  }

  pathOf(item, frame) { return framePath(this.page.round, item.video, frame, Math.min(item.width, FRAME_WIDTH)); }

  paintFrame() {
    const { item, at } = this;
    const state = {
      image: this.pictures[at], size: [item.width, item.height], boxes: [], box: item.boxes[at], style: item.style, editable: false,
    };
    this.frame.show(state);
    this.byId("zoom").hidden = !item.boxes.some(Boolean);
    if (state.box) this.zoom.show(state);
    const frame = item.frames[at];
    this.byId("where").textContent = `${item.video}   frame ${frame}, ${(frame / item.fps).toFixed(2)} s`;
    const tiles = [...this.byId("strip").children];
    const nearest = tiles.reduce((best, tile) => (Math.abs(tile.at - at) < Math.abs(best.at - at) ? tile : best));
    for (const tile of tiles) tile.classList.toggle("here", tile === nearest);
  }

  layTiles(item) {
    const last = item.frames.length - 1;
    const count = Math.min(TILES, item.frames.length);
    const places = [...Array(count).keys()].map((tile) => Math.round((tile * last) / Math.max(count - 1, 1)));
    this.byId("strip").replaceChildren(...places.map((at) => {
      const seconds = (item.frames[at] - item.frames[0]) / item.fps;
      const tile = element("button", { type: "button", tabIndex: -1, at }, element("canvas", { width: 240, height: 135 }),
        element("span", { textContent: `${seconds.toFixed(2)} s` }));
      tile.onclick = () => this.stepTo(at);
      return tile;
    }));
  }

  paintTiles(item) {
    for (const tile of this.byId("strip").children) {
      const picture = this.pictures[tile.at];
      if (!picture || tile.painted) continue;
      tile.painted = true;
      const canvas = tile.querySelector("canvas");
      const { left, top, scale } = fitted(canvas, item);
      const context = canvas.getContext("2d");
      context.drawImage(picture, left, top, item.width * scale, item.height * scale);
      const box = item.boxes[tile.at];
      if (!box) continue;
      context.strokeStyle = "#ffffff";
      context.lineWidth = 2;
      context.strokeRect(left + box[0] * scale, top + box[1] * scale, (box[2] - box[0]) * scale, (box[3] - box[1]) * scale);
    }
  }

  play() {
    this.stop();
    const { frames, fps } = this.item;
    const seconds = (frames.at(-1) - frames[0]) / Math.max(frames.length - 1, 1) / fps;
    this.playing = setInterval(() => {
      for (let tries = 0; tries < this.loaded; tries += 1) { // frames that cannot be read are left out
        this.at = (this.at + 1) % this.loaded;
        if (this.pictures[this.at]) break;
      }
      this.paintFrame();
    }, Math.max(LEAST_PACE_MS, seconds * 1000));
  }

  stop() {
    clearInterval(this.playing);
    this.playing = null;
  }

  // One frame, standing still; from now on nothing plays by itself.
  stepTo(at) {
    this.plays = false;
    this.stop();
    if (this.painted !== this.item.id || at < 0 || at >= this.item.frames.length) return;
    this.at = at;
    this.paintFrame();
  }
}
