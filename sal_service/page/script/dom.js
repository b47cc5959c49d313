// Elements, and words for numbers and moments. Text only ever becomes text nodes: there is no markup from data.

const $ = (id) => document.getElementById(id);

// An element with attributes, listeners (`onclick`), and children; a string becomes text, what is null is left out.
function el(tag, properties = {}, ...children) {
  return furnish(document.createElement(tag), properties, children);
}

function svg(tag, properties = {}, ...children) {
  return furnish(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

function furnish(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const show = (node, isShown) => node.toggleAttribute("hidden", !isShown);
const percent = (share) => `${Math.round(100 * share)}%`;
const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
const spaced = (word) => word.replace(/(?<=[^\d-]{2})-/g, " "); // "upper-colour", but neither "16-30" nor "t-shirt"
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// "2026-11-29 14:03:22" in the zone of the browser.
const sortable = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });
const moment = (text) => (text === null ? "" : sortable.format(new Date(text)));
// Without the date, if it is today's.
function clock(text) {
  const [date, time] = moment(text).split(" ");
  return date === moment(new Date()).slice(0, 10) ? time : moment(text);
}

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

// The value of a field for date and time, in the zone of the browser.
const fieldMoment = (date) => sortable.format(date).slice(0, 16).replace(" ", "T");

function age(seconds) {
  if (seconds < 1.5) return "now";
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86400)} days ago`;
}

// Radio buttons side by side; `options` are [value, label] pairs.
function segments(name, options, chosen, onchange) {
  return options.map(([value, label, title]) =>
    el("label", { class: "segment", title },
      el("input", { type: "radio", name, value, checked: value === chosen, onchange: () => onchange(value) }), label));
}

function chip(label, value, isChecked, onchange, ...before) {
  return el("label", { class: "chip" },
    el("input", { type: "checkbox", value, checked: isChecked, onchange: (event) => onchange(event.target.checked) }), ...before, label);
}

// The sign of a sensitive attribute, with its meaning for those who do not see it.
const sensitiveMark = () => el("span", { class: "mark", title: "sensitive attribute" }, " ◆", el("span", { class: "unseen" }, " sensitive"));

// A picture of the gallery, or why there is none. Only addresses of this service are asked for.
function crop(image, alt, properties = {}) {
  const gone = (text) => el("span", { class: "no-crop" }, text);
  if (image.crop_url === null || !/^\/(?!\/)/.test(image.crop_url)) return gone("no image kept");
  const picture = el("img", { src: image.crop_url, alt, loading: "lazy", decoding: "async", ...properties });
  picture.addEventListener("error", () => picture.replaceWith(gone("image gone")));
  return picture;
}

const place = (image) => [image.camera, moment(image.captured_at)].filter(Boolean).join(" · ");

function complain(text) {
  $("problem").replaceChildren(...(text === "" ? [] : [el("span", {}, text),
    el("button", { type: "button", class: "close", "aria-label": "Dismiss the message", onclick: () => complain("") }, "✕")]));
}

// Runs what nobody asked for: a service that is away is said beside "live", the end of a session where one signs in.
async function quietly(work) {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error;
  }
}

// Runs what a person asked for; what fails is said as the service says it.
async function attempt(work, button = null) {
  complain("");
  if (button !== null) button.setAttribute("aria-busy", "true");
  try {
    return await work();
  } catch (error) {
    if (error.name === "AbortError" || error.isSessionEnd) return null;
    if (!(error instanceof ServiceError)) throw error;
    complain(error.message);
    return null;
  } finally {
    if (button !== null) button.removeAttribute("aria-busy");
  }
}
