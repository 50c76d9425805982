// The second tab: a clip goes up, and what the current models say of it comes back.

import { actionParts, showStrips } from "./review_actions.js";
import { ask, element, send, table } from "./review_asking.js";

const LOOK_AGAIN_MS = 500;
const STEPS = ["reading the clip", "looking for boxes", "recognising actions", "drawing"];
const byId = (id) => document.getElementById(id);

export class ClipTab {
  constructor(page) {
    this.page = page;
    byId("file").onchange = (event) => {
      const [file] = event.target.files;
      event.target.value = "";
      if (file) this.give(file);
    };
    byId("clip-video").onloadedmetadata = ({ target: video }) => { // room below for the controls, not over the timeline
      video.style.aspectRatio = `${video.videoWidth} / ${video.videoHeight + video.videoWidth * 0.09}`;
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

  showState(text, share = null, isBad = false) {
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
      this.showState(`taking in ${file.name} …`, 0);
      const { clip } = await send("/api/clip", file, (share) => this.showState(`taking in ${file.name} …`, share * 0.3));
      await this.follow(clip);
    } catch (error) {
      this.showState(error.message, null, true);
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
      this.showState(clip.state === "waiting" ? "waiting for its turn …" : `${clip.step || "starting"} …`, 0.3 + (0.7 * (step + 1)) / (STEPS.length + 1));
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
    }
  }

  show(key, { name, result }) {
    this.showState("");
    byId("clip-name").textContent = name;
    byId("clip-video").src = `/clips/${key}/overlay.mp4`;
    byId("clip-words").textContent = clipWords(result);
    byId("clip-actions").replaceChildren(...actionParts(result, byId("clip-video")));
    byId("clip-players").replaceChildren(...playerParts(result));
    byId("clip-boxes").replaceChildren(...boxParts(result));
    byId("clip-result").hidden = false;
    showStrips(byId("clip-actions"));
  }
}

function clipWords({ models, seconds, frames, width, height, whole }) {
  const of = (round) => `the student of round ${round}`;
  const detector = !models.detector ? "no boxes were looked for, because no student finds boxes yet"
    : models.detector_round === null ? "boxes by motion, because no student is trained yet" : `boxes by ${of(models.detector_round)}`;
  const recogniser = models.recogniser ? `actions by ${of(models.recogniser_round)}` : "no actions, because no student tells actions yet";
  return `${seconds} s${whole ? "" : " from the start of a longer clip"}, ${frames} frames of ${width} × ${height} pixels: ${detector}; ${recogniser}.`;
}

function boxParts({ counts, frames, models }) {
  if (!models.detector) return [];
  const rows = Object.entries(counts).map(([label, count]) => [label, count.keep, count.ignore, count.drop, `${count.frames} of ${frames}`, count.tracks]);
  const heading = element("h3", { textContent: "Boxes" });
  if (!rows.length) return [heading, element("p", { textContent: "Nothing was found." })];
  const legend = "Kept boxes are solid, interpolated dotted, ignored thin, dropped dashed.";
  return [heading, table(["class", "kept", "ignored", "dropped", "kept in frames", "tracks"], rows), element("p", { className: "muted", textContent: legend })];
}

function playerParts({ players, actions, frames }) {
  if (!players.length) return [];
  const does = ({ track }) => {
    const own = (actions?.intervals || []).filter((each) => each.track === track && each.decision !== "drop");
    const longest = own.sort((one, two) => two.end_s - two.start_s - (one.end_s - one.start_s))[0];
    return longest ? `${longest.class} (${longest.score.toFixed(2)})` : "";
  };
  const rows = players.map((each) => [`#${each.track}`, `${each.start_s} to ${each.end_s} s`, `${each.frames} of ${frames}`, each.score.toFixed(2), does(each)]);
  return [element("h3", { textContent: "Players" }), table(["player", "seen", "in frames", "mean score", "mostly does"], rows)];
}
