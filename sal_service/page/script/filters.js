// Camera and time, and the gallery that is asked.

const STEPS = [["any", "any time"], ["hour", "last hour"], ["today", "today"], ["day", "last 24 h"], ["week", "7 days"], ["span", "from … until"]];
const NO_GALLERY = "The service holds no gallery yet.";
const filter = { step: "any", cameras: new Set() };

function drawTimeSteps() {
  $("time-steps").replaceChildren(...segments("time-step", STEPS, filter.step, (step) => {
    filter.step = step;
    show($("time-span"), step === "span");
  }));
}

// The chips stay, and with them the focus, as long as the cameras are the same.
function drawCameraChoice() {
  const known = app.galleries.get(app.gallery).cameras;
  const drawn = [...$("camera-choice").querySelectorAll("input")].map((box) => box.value);
  filter.cameras = new Set([...filter.cameras].filter((camera) => known.includes(camera)));
  if (known.length > 0 && known.join("\n") === drawn.join("\n")) return;
  const tick = (camera) => (isTicked) => (isTicked ? filter.cameras.add(camera) : filter.cameras.delete(camera));
  $("camera-choice").replaceChildren(...known.map((camera) => chip(camera, camera, filter.cameras.has(camera), tick(camera))));
  if (known.length === 0) $("camera-choice").textContent = "The gallery names no camera.";
}

// The first and the last moment to take, or null; relative steps count from now.
function captured() {
  const now = Date.now();
  const today = new Date(now).setHours(0, 0, 0, 0);
  const first = { hour: now - 3.6e6, today, day: now - 8.64e7, week: now - 6.048e8 }[filter.step];
  if (first !== undefined) return [new Date(first).toISOString(), null];
  if (filter.step !== "span") return [null, null];
  return ["from", "until"].map((id) => ($(id).value === "" ? null : new Date($(id).value).toISOString()));
}

function where() {
  const [captured_from, captured_until] = captured();
  return { cameras: [...filter.cameras], captured_from, captured_until };
}

function drawGalleries() {
  const names = [...app.galleries.keys()];
  const drawn = [...$("gallery").options].map((option) => option.value);
  if (names.join("\n") !== drawn.join("\n")) $("gallery").replaceChildren(...names.map((name) => el("option", { value: name }, name)));
  $("gallery").value = app.gallery;
  drawGalleryFacts();
  drawCameraChoice();
}

function drawGalleryFacts() {
  const { images, tracks, captured: range, bundle, swapping } = app.galleries.get(app.gallery);
  const facts = [count(images, "image"), count(tracks, "track"), range && spanText(...range), `encoders: ${bundle.name}`];
  $("gallery-facts").textContent = [...facts, swapping && `${swapping} takes over`].filter(Boolean).join(" · ");
}

async function readGalleries() {
  const { galleries } = await ask("GET", "/v1/galleries");
  app.galleries = new Map(galleries.map((gallery) => [gallery.name, gallery]));
  if (!app.galleries.has(app.gallery)) app.gallery = galleries[0]?.name ?? null;
  if (app.gallery === null) {
    complain(NO_GALLERY);
    return;
  }
  drawGalleries();
}

async function chooseGallery(name) {
  app.gallery = name;
  forgetAnswer();
  drawGalleries();
  await readGroups();
}
