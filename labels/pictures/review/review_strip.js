// The seconds around a label, frame by frame, and the crops of all labels that one verdict decides.

import { cropPath, element } from "./review_asking.js";
import { fitted } from "./review_canvas.js";
import { ItemList } from "./review_items.js";

export const SIDE = 4; // frames of the strip on each side
const CROPS_NEAR = 30;
const byId = (id) => document.getElementById(id);

// What is shown it reads from `this`: item, label, row, page. `Showing` builds on it.
export class AroundStrip extends ItemList {
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
    const { scale, left, top } = fitted(canvas, item);
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
}
