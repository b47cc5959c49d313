// What the service tells while the page is open: new people, the state of cameras, watches.

let events = null;
let reopening = null;
let refreshing = null;

function openEvents() {
  closeEvents();
  events = new EventSource("/v1/events");
  const on = (kind, work) => events.addEventListener(kind, (event) => work(JSON.parse(event.data)));
  on("kept", ({ gallery, image }) => imageKept(gallery, image));
  on("camera", cameraTold);
  on("watch", watchTold);
  on("lost", () => quietly(async () => {
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
  await quietly(() => ask("GET", "/v1/session"));
  if (app.session !== null) openEvents();
}

function drawLive(text, state) {
  $("live").textContent = text;
  $("live").className = `live ${state}`;
}

function imageKept(gallery, image) {
  refreshing ??= setTimeout(refreshGalleries, 3000);
  const isAskedFor = filter.cameras.size === 0 || filter.cameras.has(image.camera);
  if (app.answer === null || gallery !== app.gallery || !isAskedFor) return;
  app.fresh.add(image.track === null ? image.uri : `${image.camera} ${image.track}`);
  drawFresh();
}

// How much the galleries hold, at most every three seconds.
async function refreshGalleries() {
  refreshing = null;
  if (app.session !== null) await quietly(readGalleries);
}
