// Questions to the server. Every answer is JSON; one with `error` becomes an exception whose message is for the reader.

export class Refused extends Error {}

async function answerOf(request) {
  let response;
  try {
    response = await request;
  } catch {
    throw new Refused("The page's server does not answer: it has ended. Start it again and load the page.");
  }
  const answer = await response.json().catch(() => ({ error: `The server answered with ${response.status}.` }));
  if (answer.error) throw new Refused(answer.error);
  return answer;
}

export function ask(path, parameters = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "" && value !== undefined && value !== null);
  return answerOf(fetch(`${path}?${new URLSearchParams(given)}`));
}

export function post(path, body, parameters = {}) {
  return answerOf(fetch(`${path}?${new URLSearchParams(parameters)}`, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  }));
}

// Sends a file; `progress` is told the share that is there.
export function send(path, file, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.setRequestHeader("x-clip-name", encodeURIComponent(file.name));
    request.responseType = "json";
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onload = () => {
      const answer = request.response || { error: `The server answered with ${request.status}.` };
      if (answer.error) reject(new Refused(answer.error));
      else resolve(answer);
    };
    request.onerror = () => reject(new Refused(`${file.name || "The clip"} was not taken in: the connection ended before all of it was there. It may be too large, or the page's server has ended.`));
    request.send(file);
  });
}

export const framePath = (round, video, frame, width) =>
  `/frames/${encodeURIComponent(video)}/${frame}.jpg?round=${round}${width ? `&width=${width}` : ""}`;
export const stripPath = (round, video, frame) => `/strips/${encodeURIComponent(video)}/${frame}.jpg?round=${round}`;
export const cropPath = (round, uid) => `/crops/${encodeURIComponent(uid)}.jpg?round=${round}`;

const images = new Map(); // the last ones stay, so that going back and playing do not flicker
const MOST_IMAGES = 120;

export function image(path) {
  let held = images.get(path);
  if (held) {
    images.delete(path);
  } else {
    const picture = new Image();
    held = new Promise((resolve, reject) => {
      picture.onload = () => resolve(picture);
      picture.onerror = () => { images.delete(path); reject(new Refused("This frame cannot be read.")); };
    });
    picture.src = path;
  }
  images.set(path, held);
  while (images.size > MOST_IMAGES) images.delete(images.keys().next().value);
  return held;
}

// A picture that the server may still be making; null when `wanted()` no longer holds.
export async function pictureWhenReady(path, wanted) {
  for (let wait = 150; wanted(); wait = Math.min(wait * 1.5, 1000)) {
    const response = await fetch(path);
    if (response.status === 200) return createImageBitmap(await response.blob());
    if (response.status !== 202) return null;
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
  return null;
}

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export function table(heads, rows) {
  const row = (tag, texts) => element("tr", {}, ...texts.map((text) => element(tag, { textContent: text })));
  return element("div", { className: "scroll" }, element("table", {},
    element("thead", {}, row("th", heads)), element("tbody", {}, ...rows.map((texts) => row("td", texts)))));
}
