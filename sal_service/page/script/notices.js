// What watches tell while the page is open: a notice stays until somebody dismisses it.

const TYPES = { new: "came", update: "better image", end: "left" };
const SHOWN_NOTICES = 3;

function watchTold(message) {
  const key = `${message.watch} ${message.camera} ${message.track ?? message.uri}`;
  if (message.type !== "new" && !app.notices.has(key)) return;
  app.notices.set(key, message);
  drawNotices();
}

// Notices that are there stay where they are and keep the focus; what is new comes first.
function drawNotices() {
  const shown = new Map([...app.notices].slice(-SHOWN_NOTICES));
  const drawn = new Map([...$("notices").querySelectorAll(".notice")].map((node) => [node.dataset.key, node]));
  for (const [key, node] of drawn) if (!shown.has(key)) node.remove();
  for (const [key, message] of shown) {
    const node = drawn.get(key) ?? emptyNotice(key);
    if (!node.isConnected) $("notices").prepend(node);
    fillNotice(node, message);
  }
  const hidden = app.notices.size - shown.size;
  show($("more-notices"), hidden > 0);
  $("hidden-notices").textContent = `and ${count(hidden, "more notice")}`;
  document.title = `${app.notices.size > 0 ? `(${app.notices.size}) ` : ""}${pageTitle()}`;
}

function emptyNotice(key) {
  const open = () => openMessage(app.notices.get(key));
  return el("article", { class: "notice", "data-key": key }, el("button", { type: "button", class: "thumb", onclick: open }),
    el("div", { class: "notice-text" }, el("p", { class: "strong" }), el("p", { class: "faint" })),
    el("div", { class: "actions" }, el("button", { type: "button", class: "show", onclick: open }, "Show"),
      el("button", { type: "button", class: "dismiss", onclick: () => dismiss(key) }, "Dismiss")));
}

function fillNotice(node, message) {
  const text = `${message.name}: ${percent(message.likelihood)} likely`;
  if (node.dataset.message === message.id) return;
  node.dataset.message = message.id;
  node.querySelector(".thumb").replaceChildren(crop(message, ""));
  node.querySelector(".strong").textContent = `Watch ${text}`;
  node.querySelector(".faint").textContent = `${TYPES[message.type]} · ${message.camera ?? "no camera"} · ${clock(message.captured_at)}`;
  for (const [name, verb] of [["thumb", "Open the image"], ["show", "Show"], ["dismiss", "Dismiss"]]) {
    node.querySelector(`.${name}`).setAttribute("aria-label", `${verb}: ${text}`);
  }
}

function dismiss(key) {
  app.notices.delete(key);
  drawNotices();
  ($("notices").querySelector(".dismiss") ?? $("main")).focus();
}

function dismissAll() {
  app.notices.clear();
  drawNotices();
  $("main").focus();
}

function openMessage(message) {
  openDetails({ ...message, metadata: { watch: message.name, gallery: message.gallery, encoders: message.bundle } });
}

$("dismiss-all").addEventListener("click", dismissAll);

// What has the focus must not hide below the notices, which stay at the top.
new ResizeObserver(() => {
  document.documentElement.style.setProperty("--notices", `${$("notices").offsetHeight}px`);
}).observe($("notices"));
