// A frame with its boxes on a canvas. The judged box can be dragged: its edges, its corners, or all of it.

const REACH_PX = 9;
const LINES = { kept: [2, []], interpolated: [2, [2, 3]], ignored: [1.3, []], dropped: [2, [6, 4]] };
const colours = getComputedStyle(document.documentElement);
const colourOf = (style) => colours.getPropertyValue(`--${style}`).trim() || "#ffffff";

export function drawBox(context, [x1, y1, x2, y2], style, strong) {
  const [width, dash] = LINES[style] || [2, []];
  const rectangle = [x1 - 1, y1 - 1, Math.max(x2 - x1 + 2, 3), Math.max(y2 - y1 + 2, 3)];
  context.setLineDash([]);
  context.strokeStyle = "rgb(0 0 0 / 75%)";
  context.lineWidth = width + (strong ? 3 : 2);
  context.strokeRect(...rectangle);
  context.setLineDash(dash);
  context.strokeStyle = strong ? "#ffffff" : colourOf(style);
  context.lineWidth = width;
  context.strokeRect(...rectangle);
  if (strong) {
    context.strokeStyle = colourOf(style);
    context.strokeRect(rectangle[0] - 2.5, rectangle[1] - 2.5, rectangle[2] + 5, rectangle[3] + 5);
  }
  context.setLineDash([]);
}

export class FrameView {
  // `onBox(box, isNew)` is called when a drag ends. Boxes are [x1, y1, x2, y2] in pixels of the frame.
  // Close up, the box with what lies around it is `surroundings` times as large as the box.
  constructor(canvas, { close = false, surroundings = 5, onBox = () => {} } = {}) {
    Object.assign(this, { canvas, close, surroundings, onBox, image: null, size: [16, 9], boxes: [], box: null, style: "kept" });
    this.editable = this.drawing = false;
    new ResizeObserver(() => this.draw()).observe(canvas);
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#release(event));
    canvas.addEventListener("pointercancel", () => this.cancel());
  }

  show(state) {
    Object.assign(this, state);
    this.#drag = null;
    this.#window = null;
    this.draw();
  }

  cancel() {
    if (this.#drag) this.box = this.#drag.before;
    this.#drag = null;
    this.drawing = false;
    this.draw();
  }

  // Nothing can be taken hold of until the next `show`.
  release() {
    this.cancel();
    this.editable = false;
  }

  #drag = null;
  #window = null; // the part of the frame that is seen; it stays while a box is dragged

  view() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const [frameWidth, frameHeight] = this.size;
    if (!this.#window || this.#window.width !== width || this.#window.height !== height) {
      let [left, top, scale] = [0, 0, Math.min(width / frameWidth, height / frameHeight)];
      let [centreX, centreY] = [frameWidth / 2, frameHeight / 2];
      if (this.close && this.box) {
        const [x1, y1, x2, y2] = this.box;
        const sides = Math.max((x2 - x1) * this.surroundings, (y2 - y1) * this.surroundings * (width / height), frameWidth / 16, 40);
        scale = Math.max(scale, width / sides);
        [centreX, centreY] = [(x1 + x2) / 2, (y1 + y2) / 2];
      }
      left = width / 2 - centreX * scale;
      top = height / 2 - centreY * scale;
      this.#window = { left, top, scale, width, height };
    }
    return this.#window;
  }

  draw() {
    const { canvas, image } = this;
    const density = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(canvas.clientWidth * density), Math.round(canvas.clientHeight * density)];
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.setTransform(density, 0, 0, density, 0, 0);
    context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    const { left, top, scale } = this.view();
    if (image) {
      context.imageSmoothingEnabled = scale < 4;
      context.drawImage(image, left, top, this.size[0] * scale, this.size[1] * scale);
    }
    const onCanvas = (box) => [left + box[0] * scale, top + box[1] * scale, left + box[2] * scale, top + box[3] * scale];
    context.globalAlpha = 0.75;
    for (const other of this.boxes) drawBox(context, onCanvas(other.box), other.style, false);
    context.globalAlpha = 1;
    if (!this.box) return;
    const box = onCanvas(this.box);
    drawBox(context, box, this.style, true);
    if (this.editable && box[2] - box[0] > 26 && box[3] - box[1] > 26) {
      for (const x of [box[0], box[2]]) for (const y of [box[1], box[3]]) {
        context.fillStyle = "#000000";
        context.fillRect(x - 5, y - 5, 10, 10);
        context.fillStyle = "#ffffff";
        context.fillRect(x - 3.5, y - 3.5, 7, 7);
      }
    }
  }

  #at(event) {
    const { left, top, scale } = this.view();
    const edge = this.canvas.getBoundingClientRect();
    return [(event.clientX - edge.left - left) / scale, (event.clientY - edge.top - top) / scale];
  }

  // Which sides of the box a point takes hold of: [left, top, right, bottom], all of them inside; null beside it.
  #grip([x, y]) {
    if (!this.editable || !this.box) return null;
    const [x1, y1, x2, y2] = this.box;
    const reach = REACH_PX / this.view().scale;
    if (x < x1 - reach || x > x2 + reach || y < y1 - reach || y > y2 + reach) return null;
    const inner = (low, high) => Math.min(reach, (high - low) / 4);
    const grip = [x < x1 + inner(x1, x2), y < y1 + inner(y1, y2), x > x2 - inner(x1, x2), y > y2 - inner(y1, y2)];
    return grip.some(Boolean) ? grip : [true, true, true, true];
  }

  #press(event) {
    const point = this.#at(event);
    const grip = this.drawing ? null : this.#grip(point);
    if (event.button !== 0 || (!grip && !this.drawing)) return;
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    this.#drag = { point, grip, before: this.box, isNew: this.drawing, start: this.box };
  }

  #move(event) {
    const point = this.#at(event);
    if (!this.#drag) {
      const grip = this.#grip(point);
      const all = grip && grip.every(Boolean);
      const cursors = { 12: "nwse-resize", 3: "nwse-resize", 6: "nesw-resize", 9: "nesw-resize", 5: "ew-resize" };
      const key = grip ? grip.reduce((sum, held, place) => sum + (held ? 2 ** place : 0), 0) : 0;
      const cursor = { 1: "ew-resize", 4: "ew-resize", 2: "ns-resize", 8: "ns-resize" }[key] || cursors[key];
      this.canvas.style.cursor = this.drawing ? "crosshair" : all ? "move" : cursor || "default";
      return;
    }
    const { point: from, grip, start, isNew } = this.#drag;
    const box = isNew
      ? [Math.min(from[0], point[0]), Math.min(from[1], point[1]), Math.max(from[0], point[0]), Math.max(from[1], point[1])]
      : start.map((value, place) => value + (grip[place] ? point[place % 2] - from[place % 2] : 0));
    this.box = inside(box, this.size, !isNew && grip.every(Boolean));
    this.draw();
  }

  #release(event) {
    if (!this.#drag) return;
    this.#move(event);
    const { before, isNew } = this.#drag;
    const box = this.box;
    this.#drag = null;
    this.drawing = false;
    const moved = !before || isNew || box.some((value, place) => Math.abs(value - before[place]) > 0.05);
    if (isNew && (box[2] - box[0] < 2 || box[3] - box[1] < 2)) {
      this.box = before;
      this.draw();
    } else if (moved) {
      this.onBox(box, isNew);
    }
  }
}

// Where a frame ({ width, height }) lies in a canvas when it is as large as it may be.
export function fitted(canvas, { width, height }) {
  const scale = Math.min(canvas.width / width, canvas.height / height);
  return { scale, left: (canvas.width - width * scale) / 2, top: (canvas.height - height * scale) / 2 };
}

// A box that lies in the frame and is at least a pixel wide and high; `whole`: it is moved, not made smaller.
export function inside([x1, y1, x2, y2], [width, height], whole = false) {
  if (whole) {
    const [right, down] = [Math.max(-x1, Math.min(0, width - x2)), Math.max(-y1, Math.min(0, height - y2))];
    return [x1 + right, y1 + down, x2 + right, y2 + down];
  }
  const low = (value, most) => Math.max(0, Math.min(value, most));
  [x1, x2] = [low(Math.min(x1, x2), width - 1), low(Math.max(x1, x2), width)];
  [y1, y2] = [low(Math.min(y1, y2), height - 1), low(Math.max(y1, y2), height)];
  return [x1, y1, Math.max(x2, x1 + 1), Math.max(y2, y1 + 1)];
}
