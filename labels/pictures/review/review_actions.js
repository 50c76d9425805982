// What is done in a clip, over time: a strip of probabilities for each player or the whole frame, and the intervals.

import { element, table } from "./review_asking.js";

const MOST_INTERVALS = 60;
const DECISIONS = { keep: "kept", ignore: "ignored", drop: "dropped" };
const who = (track) => (track < 0 ? "whole frame" : `player #${track}`);

// The elements that show it; a click on a strip winds the video there, and a line on it says where the video is.
export function actionParts({ actions, seconds }, video) {
  if (!actions) return [];
  const notes = actions.notes.map((text) => element("p", { textContent: text }));
  const strips = actions.strips.map((strip) => stripOf(strip, seconds, video));
  const marks = strips.flatMap((strip) => [...strip.querySelectorAll(".now")]);
  video.ontimeupdate = () => {
    const share = Math.min(1, video.currentTime / (video.duration || seconds || 1));
    for (const mark of marks) mark.style.left = `${share * 100}%`;
  };
  const shown = actions.intervals.slice(0, MOST_INTERVALS);
  const rows = shown.map((each) => [who(each.track), `${each.start_s} to ${each.end_s} s`, each.class, each.score.toFixed(2), DECISIONS[each.decision]]);
  const more = actions.intervals.length - shown.length;
  return [
    element("h3", { textContent: "Actions" }), ...notes, ...strips,
    ...(strips.length ? [element("p", { className: "muted", textContent: `Left to right: 0 to ${seconds} s. The fuller the colour, the likelier the class; the number is its mean.` })] : []),
    ...(rows.length ? [table(["who", "when", "does", "probability", "would be"], rows)] : []),
    ...(more > 0 ? [element("p", { className: "muted", textContent: `and ${more} more` })] : []),
  ];
}

function stripOf({ track, start_s: start, end_s: end, classes, means, values }, seconds, video) {
  const lines = classes.map((name, place) => {
    const bar = element("canvas", { height: 1, width: values[place].length });
    bar.values = values[place];
    bar.style.left = `${(start / seconds) * 100}%`;
    bar.style.width = `${(Math.min(end, seconds) - start) / seconds * 100}%`;
    const lane = element("div", { className: "lane" }, bar, element("i", { className: "now" }));
    lane.onclick = ({ clientX }) => {
      const { left, width } = lane.getBoundingClientRect();
      video.currentTime = ((clientX - left) / width) * (video.duration || seconds);
    };
    lane.setAttribute("role", "img");
    lane.setAttribute("aria-label", `${name}: ${means[place].toFixed(2)} on average`);
    return [element("span", { className: "name", textContent: name, title: name }), lane, element("span", { textContent: means[place].toFixed(2) })];
  });
  return element("div", { className: "actions" }, element("h4", { textContent: who(track) }), ...lines.flat());
}

// Paints the strips once they are in the page, in the colour of what is kept.
export function showStrips(held) {
  const colour = getComputedStyle(document.documentElement).getPropertyValue("--kept").trim();
  for (const bar of held.querySelectorAll(".lane canvas")) {
    const context = bar.getContext("2d");
    context.fillStyle = colour;
    bar.values.forEach((value, at) => {
      context.globalAlpha = value;
      context.fillRect(at, 0, 1, 1);
    });
  }
}
