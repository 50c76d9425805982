// The page: its tabs, its round, its keys, and what goes wrong.

import { ask, element } from "./review_asking.js";
import { Browsing } from "./review_browsing.js";
import { ClipTab } from "./review_clip.js";
import { Judging } from "./review_judging.js";

const TABS = ["judge", "clip", "browse"];
const byId = (id) => document.getElementById(id);
const page = {
  round: null, classes: [], thresholds: [0, 1], rules: {},

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
    this.tellSaved();
  },

  progress(open, isMore) {
    this.open = `${open}${isMore ? " and more" : ""} to look at`;
    this.tellSaved();
  },

  tellSaved() {
    byId("saved").textContent = `${this.total || 0} ${this.total === 1 ? "label" : "labels"} judged and saved · ${this.open || ""}`;
  },

  wasShown() {
    if (!this.firstView) this.firstView = performance.now();
    document.documentElement.dataset.firstView = Math.round(this.firstView);
  },

  async judgeLabel(uid) {
    openTab("judge");
    await this.attempt(() => judging.openLabel(uid));
  },

  async judgeThese(filter) {
    openTab("judge");
    await this.attempt(() => judging.open(filter));
  },
};

const judging = new Judging(page);
const clipTab = new ClipTab(page);
const browsing = new Browsing(page);

let tab = "judge";

function openTab(name) {
  tab = name;
  for (const each of TABS) {
    byId(each).hidden = each !== name;
    byId(`tab-${each}`).setAttribute("aria-selected", String(each === name));
  }
  if (name !== "judge") judging.stop();
  if (name === "browse") browsing.open();
  if (name === "judge") judging.paint();
  document.activeElement?.blur();
}

async function openRound(number) {
  const about = await ask("/api/about", number === null ? {} : { round: number });
  Object.assign(page, { round: about.round, classes: about.classes, thresholds: about.thresholds, rules: about.rules });
  byId("work").textContent = about.work;
  document.title = `Review: ${about.work}`;
  byId("round").replaceChildren(...about.rounds.map((each) => element("option", { value: each, textContent: each })));
  byId("round").value = about.round;
  clipTab.limits(about);
  page.saved(about.saved);
  const unreadable = Object.values(about.unreadable);
  await judging.open();
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
  if (tab !== "judge" || event.target.closest("select, input, textarea")) return;
  if (judging.key(event)) event.preventDefault();
});

page.attempt(() => openRound(null));
