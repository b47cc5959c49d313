// Cameras: what each does, how old its newest frame is, and what was lost.

const STATES = { live: "good", reading: "good", connecting: "warn", lost: "bad", stopped: "idle", ended: "idle" };

async function readCameras() {
  const { cameras } = await ask("GET", "/v1/cameras");
  app.cameras = new Map(cameras.map((camera) => [camera.name, camera]));
  drawCameras();
}

function cameraTold(camera) {
  app.cameras.set(camera.name, camera);
  drawCameras();
}

// Cards stay where they are and keep the focus: only what they say changes.
function drawCameras() {
  show($("cameras-none"), app.cameras.size === 0);
  const lost = [...app.cameras.values()].filter((camera) => camera.condition === "lost").length;
  $("lost").textContent = lost === 0 ? "" : ` ${lost} lost`;
  const drawn = new Map([...$("camera-list").children].map((node) => [node.dataset.camera, node]));
  for (const [name, node] of drawn) if (!app.cameras.has(name)) node.remove();
  for (const [name, camera] of [...app.cameras].sort(([one], [other]) => one.localeCompare(other))) {
    const node = drawn.get(name) ?? emptyCamera(name);
    if (!node.isConnected) $("camera-list").append(node);
    fillCamera(node, camera);
  }
}

function emptyCamera(name) {
  const turn = el("button", { type: "button", class: "turn" });
  turn.addEventListener("click", () => attempt(async () => {
    const verb = app.cameras.get(name).running ? "stop" : "start";
    cameraTold(await ask("POST", `/v1/cameras/${encodeURIComponent(name)}/${verb}`));
  }, turn));
  return el("li", { class: "camera panel", "data-camera": name },
    el("div", { class: "camera-head" }, el("h2", {}, name), el("span", { class: "state" }), may("admin") && turn),
    el("p", { class: "faint source" }), el("dl", { class: "counts" }), el("ul", { class: "notes" }));
}

function fillCamera(node, camera) {
  const state = node.querySelector(".state");
  state.className = `state ${STATES[camera.condition] ?? "idle"}`;
  state.textContent = camera.condition;
  node.querySelector(".source").textContent = `${camera.source} → gallery ${camera.gallery}`;
  const turn = node.querySelector(".turn");
  if (turn !== null) {
    turn.textContent = camera.running ? "Stop" : "Start";
    turn.setAttribute("aria-label", `${turn.textContent} camera ${camera.name}`);
  }
  const counts = [["newest frame", newestFrame(camera)], ["frames", camera.received], ["dropped", shareOf(camera.dropped, camera.received)],
    ["detections", camera.people], ["tracks", camera.tracks], ["images kept", camera.kept],
    ["given up", camera.given_up], ["reconnects", camera.reconnects], ["lost", `${Math.round(camera.lost_seconds)} s`]];
  node.querySelector(".counts").replaceChildren(...counts.map(([name, value]) => el("div", {}, el("dt", {}, name),
    el("dd", {}, typeof value === "number" ? value.toLocaleString("en") : value))));
  node.querySelector(".notes").replaceChildren(...camera.notes.map((note) => el("li", {}, note)));
}

const newestFrame = ({ age_seconds }) => (age_seconds === null ? "none" : age(age_seconds));
const shareOf = (part, whole) => (part === 0 ? "0" : `${part.toLocaleString("en")} (${part < whole / 100 ? "<1%" : percent(part / Math.max(1, whole))})`);

// Events tell what a camera does, not how far it is: that is read while somebody looks.
setInterval(() => {
  if (app.session !== null && !$("cameras").hidden && !document.hidden) quietly(readCameras);
}, 2000);
