// The second tab: a clip goes up, and what the current models say of it comes back.

import { ask, element, send } from "./review_asking.js";

const LOOK_AGAIN_MS = 500;
const STEPS = ["reading the clip", "loading the model", "labelling", "cleaning", "drawing"];
const byId = (id) => document.getElementById(id);

export class ClipTab {
  constructor(page) {
    this.page = page;
    byId("file").onchange = (event) => {
      const [file] = event.target.files;
      event.target.value = "";
      if (file) this.give(file);
    };
    const drop = byId("drop");
    drop.ondragover = (event) => { event.preventDefault(); drop.classList.add("over"); };
    drop.ondragleave = () => drop.classList.remove("over");
    drop.ondrop = (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      const [file] = event.dataTransfer.files;
      if (file) this.give(file);
    };
  }

  limits({ clip_mb: megabytes, clip_s: seconds }) {
    this.megabytes = megabytes;
    byId("clip-limit").textContent = `At most ${megabytes} MB; its first ${seconds} seconds are labelled.`;
  }

  say(text, share = null, isBad = false) {
    byId("clip-state").textContent = text;
    byId("clip-state").classList.toggle("bad", isBad);
    const bar = byId("clip-progress");
    bar.hidden = share === null;
    bar.value = share ?? 0;
  }

  async give(file) {
    if (this.busy) return;
    this.busy = true;
    byId("file").disabled = true;
    byId("clip-result").hidden = true;
    byId("clip-video").removeAttribute("src");
    try {
      if (file.size > this.megabytes * 2 ** 20) {
        throw new Error(`${file.name}: larger than ${this.megabytes} MB; cut it shorter, or lower its quality`);
      }
      if (!file.size) throw new Error(`${file.name}: an empty file`);
      this.say(`taking in ${file.name} …`, 0);
      const { clip } = await send("/api/clip", file, (share) => this.say(`taking in ${file.name} …`, share * 0.3));
      await this.follow(clip);
    } catch (error) {
      this.say(error.message, null, true);
    } finally {
      this.busy = false;
      byId("file").disabled = false;
    }
  }

  async follow(key) {
    for (;;) {
      const clip = await ask(`/api/clip/${key}`);
      if (clip.state === "failed") throw new Error(clip.error);
      if (clip.state === "done") return this.show(key, clip);
      const step = STEPS.indexOf(clip.step);
      this.say(clip.state === "waiting" ? "waiting for its turn …" : `${clip.step || "starting"} …`, 0.3 + (0.7 * (step + 1)) / (STEPS.length + 1));
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
    }
  }

  show(key, { name, result }) {
    this.say("");
    byId("clip-name").textContent = name;
    byId("clip-video").src = `/clips/${key}/overlay.mp4`;
    const head = element("tr", {}, ...["class", "kept", "ignored", "dropped", "in frames", "tracks"].map((text) => element("th", { textContent: text })));
    const rows = Object.entries(result.counts).map(([label, count]) => element("tr", {}, ...[
      label, count.keep, count.ignore, count.drop, `${count.frames} of ${result.frames}`, count.tracks,
    ].map((text) => element("td", { textContent: text }))));
    byId("clip-counts").replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows));
    byId("clip-counts").hidden = !rows.length;
    const labeller = result.round === null ? "motion, because no student is trained yet" : `the student of round ${result.round}`;
    const length = `${result.seconds} s, ${result.frames} frames of ${result.width} × ${result.height} pixels`;
    byId("clip-words").textContent = `${rows.length ? "" : "Nothing was found. "}Labelled by ${labeller}: ${length}`
      + `${result.whole ? "" : `, the first of a longer clip`}. Kept boxes are solid, interpolated dotted, ignored thin, dropped dashed.`;
    byId("clip-result").hidden = false;
  }
}
