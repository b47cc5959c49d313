// What the service tells while the page is open: new people, the state of cameras, watches.

let events = null;
let reopening = null;

function openEvents() {
  closeEvents();
  events = new EventSource("/v1/events");
  const on = (kind, work) => events.addEventListener(kind, (event) => work(JSON.parse(event.data)));
  on("kept", ({ gallery, image }) => imageKept(gallery, image));
  on("camera", cameraTold);
  on("watch", watchTold);
  on("lost", () => attempt(async () => {
    await readCameras();
    await readGalleries();
  }));
  events.addEventListener("open", () => drawLive("live", "good"));
  events.addEventListener("error", () => {
    drawLive("reconnecting", "warn");
    if (events.readyState === EventSource.CLOSED) reopening = setTimeout(reopenEvents, 3000);
  });
}

function closeEvents() {
  clearTimeout(reopening);
  events?.close();
  events = null;
  drawLive("", "");
}

// A refused connection may be the end of the session, which any request finds out.
async function reopenEvents() {
  try {
    await ask("GET", "/v1/session");
  } catch (error) {
    if (error.isSessionEnd) return;
  }
  if (app.session !== null) openEvents();
}

function drawLive(text, state) {
  $("live").textContent = text;
  $("live").className = `live ${state}`;
}

function imageKept(gallery, image) {
  const known = app.galleries.get(gallery);
  if (known === undefined) return;
  known.images += 1;
  if (image.camera !== null && !known.cameras.includes(image.camera)) {
    known.cameras = [...known.cameras, image.camera].sort();
    if (gallery === app.gallery) drawFilters();
  }
  if (gallery !== app.gallery) return;
  drawGalleryFacts();
  if (filter.cameras.size > 0 && !filter.cameras.has(image.camera)) return;
  if (app.answer !== null) app.fresh.add(image.track === null ? image.uri : `${image.camera} ${image.track}`);
  drawFresh();
}
