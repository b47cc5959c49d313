// What watches tell while the page is open: a notice stays until somebody dismisses it.

const TYPES = { new: "came", update: "better image", end: "left" };
const SHOWN_NOTICES = 3;

function watchTold(message) {
  const key = `${message.watch} ${message.camera} ${message.track ?? message.uri}`;
  if (message.type !== "new" && !app.notices.has(key)) return;
  app.notices.delete(key);
  app.notices.set(key, message);
  drawNotices();
}

function drawNotices() {
  const newest = [...app.notices].reverse();
  const hidden = newest.length - SHOWN_NOTICES;
  $("notices").replaceChildren(...newest.slice(0, SHOWN_NOTICES).map(([key, message]) => notice(key, message)),
    ...(hidden > 0 ? [el("p", { class: "notice-rest" }, `and ${count(hidden, "more notice")} `,
      el("button", { type: "button", onclick: dismissAll }, "Dismiss all"))] : []));
  document.title = `${newest.length > 0 ? `(${newest.length}) ` : ""}${pageTitle()}`;
}

function notice(key, message) {
  const text = `${message.name}: ${percent(message.likelihood)} likely`;
  return el("article", { class: "notice", "data-watch": message.watch },
    el("button", { type: "button", class: "thumb", "aria-label": `Open the image: ${text}`, onclick: () => openMessage(message) }, crop(message, "")),
    el("div", { class: "notice-text" }, el("p", { class: "strong" }, "Watch ", el("span", {}, text)),
      el("p", { class: "faint" }, `${TYPES[message.type]} · ${place(message)}`)),
    el("div", { class: "actions" }, el("button", { type: "button", "aria-label": `Show ${text}`, onclick: () => openMessage(message) }, "Show"),
      el("button", { type: "button", "aria-label": `Dismiss ${text}`, onclick: () => dismiss(key) }, "Dismiss")));
}

function dismiss(key) {
  app.notices.delete(key);
  drawNotices();
  ($("notices").querySelector(".actions button:last-child") ?? $("main")).focus();
}

function dismissAll() {
  app.notices.clear();
  drawNotices();
  $("main").focus();
}

function openMessage(message) {
  openDetails({ ...message, metadata: { watch: message.name, gallery: message.gallery, encoders: message.bundle } });
}

// What has the focus must not hide below the notices, which stay at the top.
new ResizeObserver(() => {
  document.documentElement.style.setProperty("--notices", `${$("notices").offsetHeight}px`);
}).observe($("notices"));
