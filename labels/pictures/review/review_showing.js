// What is shown of the label that is judged: its frame, its zoom, what lies around it, and all of it moving.

import { ask, framePath, image, pictureWhenReady, stripPath } from "./review_asking.js";
import { FrameView } from "./review_canvas.js";
import { showFacts } from "./review_facts.js";
import { AroundStrip, SIDE } from "./review_strip.js";

const REST_MS = 120; // what is around a label is fetched when a person looks at it, not when they rush past
const byId = (id) => document.getElementById(id);

// `items`, `place`, `row` and `offset` say what it is; `Judging` moves them.
export class Showing extends AroundStrip {
  constructor(page, onBox) {
    super(page, "/api/items");
    this.row = 0; // of the item's rows
    this.offset = 0; // frames of the strip away from the label
    this.shown = 0; // counts what was shown, so that a late answer does not paint over a newer one
    this.frame = new FrameView(byId("frame"), { onBox });
    this.zoom = new FrameView(byId("zoom"), { close: true, onBox });
  }

  get label() { return this.item?.rows[this.row]; }
  get frameShown() { return this.label.frame + this.offset * this.item.step; }

  showFacts() {
    showFacts(this);
    this.showProgress();
  }

  async paint() {
    const turn = ++this.shown;
    const { item, label } = this;
    byId("judge").classList.toggle("done", !item);
    if (!item) {
      this.showProgress();
      return;
    }
    const frame = this.frameShown;
    if (this.painted !== this.label.uid) {
      this.painted = document.documentElement.dataset.shown = ""; // what is still on the canvas is another label: it can be neither dragged nor judged
      byId("judge").classList.add("waiting");
      this.frame.release();
      this.zoom.release();
    }
    this.showFacts();
    this.paintStrip(frame);
    const round = this.page.round;
    const reach = SIDE * item.step;
    const [picture, around] = await Promise.all([
      image(framePath(round, item.video, frame)).catch((error) => { this.notice(error.message); return null; }),
      ask("/api/around", { round, video: item.video, first: Math.max(0, this.label.frame - reach), last: this.label.frame + reach })
        .catch(() => ({ labels: [], drawn: [] })),
    ]);
    if (turn !== this.shown || item !== this.item) return;
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
}
