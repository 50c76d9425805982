// The page: its tabs, its round, its keys, and what goes wrong.

import { ask, element, post } from "./review_asking.js";
import { Browsing } from "./review_browsing.js";
import { ClipTab } from "./review_clip.js";
import { Judging } from "./review_judging.js";
import { Segments } from "./review_segments.js";

const TABS = ["judge", "segments", "clip", "browse"];
const byId = (id) => document.getElementById(id);
let sending = Promise.resolve();
const page = {
  round: null, classes: [], actions: [], thresholds: [0, 1], rules: {},

  // Runs what may fail; what went wrong is said on the page.
  async attempt(work) {
    try {
      await work();
      byId("trouble").hidden = true;
    } catch (error) {
      byId("trouble").textContent = error.message;
      byId("trouble").hidden = false;
    }
  },

  saved(total) {
    this.total = total;
    this.showSaved();
  },

  progress(list, open, isMore) {
    if (list !== lists[tab]) return;
    this.open = `${open}${isMore ? " and more" : ""} to look at`;
    this.showSaved();
  },

  showSaved() {
    byId("saved").textContent = `${this.total || 0} ${this.total === 1 ? "label" : "labels"} judged and saved · ${this.open || ""}`;
  },

  // What a person says, one after the other, whichever tab it is said in, and of the round that it is said of.
  send(path, body, then = () => {}, refused = () => {}) {
    const { round } = this;
    sending = sending.then(() => this.attempt(async () => {
      let answer;
      try {
        answer = await post(path, body, { round });
      } catch (error) {
        refused();
        throw error;
      }
      if (answer.total !== undefined) this.saved(answer.total);
      await then(answer);
    }));
  },

  wasShown() {
    if (!this.firstView) this.firstView = performance.now();
    document.documentElement.dataset.firstView = Math.round(this.firstView);
  },

  async judgeLabel(uid) {
    openTab("judge");
    await this.attempt(() => judging.openLabel(uid));
  },

  // What an undo took back is shown where it was said.
  async tookBack({ item, labels, of_actions: ofActions }, list) {
    if (!labels) return list.notice("nothing to take back");
    const words = `taken back: ${labels === 1 ? "1 label" : `${labels} labels`}`;
    list.notice(words);
    const where = ofActions ? "segments" : "judge";
    if (byId(`tab-${where}`).hidden) return; // it was said of another round
    if (tab !== where) openTab(where);
    lists[where].notice(words);
    await lists[where].openItem(item).catch(() => {}); // it may be of another round here too
  },

  async judgeThese(filter) {
    openTab("judge");
    await this.attempt(() => judging.open(filter));
  },
};

const judging = new Judging(page);
const segments = new Segments(page);
const lists = { judge: judging, segments };
const clipTab = new ClipTab(page);
const browsing = new Browsing(page);

let tab = "judge";

function openTab(name) {
  tab = name;
  for (const each of TABS) {
    byId(each).hidden = each !== name;
    byId(`tab-${each}`).setAttribute("aria-selected", String(each === name));
  }
  for (const [each, list] of Object.entries(lists)) if (each !== name) list.stop();
  if (name === "browse") browsing.open();
  if (name === "judge") judging.paint();
  if (name === "segments") segments.start();
  document.activeElement?.blur();
}

async function openRound(number) {
  judging.flush();
  const about = await ask("/api/about", number === null ? {} : { round: number });
  Object.assign(page, { round: about.round, classes: about.classes, actions: about.actions, thresholds: about.thresholds, rules: about.rules });
  byId("work").textContent = about.work;
  document.title = `Review: ${about.work}`;
  byId("round").replaceChildren(...about.rounds.map((each) => element("option", { value: each, textContent: each })));
  byId("round").value = about.round;
  clipTab.limits(about);
  page.saved(about.saved);
  const unreadable = Object.values({ ...about.unreadable, ...about.unreadable_actions });
  byId("tab-judge").hidden = byId("tab-browse").hidden = !about.labels && Boolean(about.segments);
  byId("tab-segments").hidden = !about.segments;
  const gone = byId(`tab-${tab}`).hidden;
  if (gone) openTab(about.labels || !about.segments ? "judge" : "segments");
  await Promise.all([judging.open(), segments.open()]);
  if (unreadable.length) throw new Error(`Not shown: ${unreadable.join("; ")}`);
}

for (const name of TABS) byId(`tab-${name}`).onclick = () => openTab(name);
byId("round").onchange = (event) => {
  browsing.offset = 0;
  page.attempt(() => openRound(Number(event.target.value)).then(() => tab === "browse" && browsing.open()));
  event.target.blur();
};
const words = { kept: "kept", interpolated: "kept, interpolated", ignored: "ignored", dropped: "dropped" };
byId("legend").append(...Object.entries(words).map(([style, text]) => element("span", {}, element("i", { className: `swatch ${style}` }), text)));

document.addEventListener("keydown", (event) => {
  if (!lists[tab] || event.target.closest("select, input, textarea")) return;
  if (lists[tab].key(event)) event.preventDefault();
});

page.attempt(() => openRound(null));
