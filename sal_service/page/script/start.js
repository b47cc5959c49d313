// Who is asking, which view is shown, and what the buttons do.

const VIEWS = {
  search: { open: drawTimeline },
  cameras: { open: readCameras },
  watches: { open: openWatches, role: "admin" },
  audit: { open: () => readAudit(), role: "admin" },
};

const viewName = () => {
  const name = location.hash.slice(1);
  return name in VIEWS && (VIEWS[name].role === undefined || may(VIEWS[name].role)) ? name : "search";
};
const pageTitle = () => (app.session === null ? "sal" : `${$(viewName()).dataset.title} · sal`);

function showView() {
  if (app.session === null) return null;
  const chosen = viewName();
  for (const name of Object.keys(VIEWS)) show($(name), name === chosen);
  for (const link of $("views").children) {
    if (link.hash === `#${chosen}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  drawNotices();
  return attempt(VIEWS[chosen].open);
}

async function enter(session) {
  app.session = session;
  show($("sign-in"), false);
  show($("views"), true);
  for (const link of $("views").children) show(link, link.dataset.role === undefined || may(link.dataset.role));
  show($("sign-out"), !session.open_to_all);
  $("user").textContent = session.open_to_all ? "no sign-in needed" : session.name;
  if (!may("search")) {
    complain("Your token may add images, but not search. Sign in with another one.");
    return;
  }
  await showView();
  await attempt(async () => {
    await readGalleries();
    if (app.gallery !== null) await readGroups();
    drawAnswer();
    drawHealth(await ask("GET", "/v1/health"));
    openEvents();
    await readCameras();
  });
}

// Nothing of what was seen stays on the screen.
function leave(why) {
  closeEvents();
  running?.abort();
  app.session = null;
  app.notices.clear();
  forgetAnswer();
  drawNotices();
  for (const id of ["camera-list", "watch-list", "watch-estimate", "audit-lines", "details-body"]) $(id).replaceChildren();
  $("details").close();
  for (const name of Object.keys(VIEWS)) show($(name), false);
  for (const id of ["views", "sign-out"]) show($(id), false);
  $("user").textContent = "";
  show($("sign-in"), true);
  complain(why);
  $("token").focus();
}

async function signIn() {
  const session = await ask("POST", "/v1/session", { json: { token: $("token").value.trim() } });
  $("token").value = "";
  await enter(session);
  $("sentence").focus();
}

function drawHealth({ ready, problems, version, devices }) {
  const parts = devices.map(({ part, device, precision }) => `${part} on ${device}${precision === null ? "" : `, ${precision}`}`);
  $("health").textContent = [`sal ${version}`, ...parts].join(" · ");
  if (!ready) complain(`The service is not ready: ${problems.join("; ")}.`);
}

const onClick = (id, work) => $(id).addEventListener("click", (event) => attempt(work, event.currentTarget));
const onSubmit = (id, work) => $(id).addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(work, event.submitter);
});

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  $("main").focus();
});
onSubmit("sign-in-form", signIn);
onSubmit("question", searchByDescription);
onSubmit("watch-form", createWatch);
onClick("sign-out", async () => {
  await ask("DELETE", "/v1/session");
  location.reload();
});
onClick("clear", () => {
  app.choices.clear();
  drawAttributes();
});
onClick("by-picture", () => $("picture").click());
onClick("more", searchMore);
onClick("fresh", searchAgain);
onClick("refine", searchAgain);
onClick("forget-marks", forgetMarks);
onClick("watch-this", () => {
  $("watch-description").value = app.question.text;
  forgetEstimate();
  addEventListener("hashchange", () => $("watch-name").focus(), { once: true });
  location.hash = "watches";
});
onClick("watch-preview", previewWatch);
onClick("audit-new", () => readAudit());
onClick("audit-older", () => readAudit(oldestLine));
$("picture").addEventListener("change", () => {
  const [file] = $("picture").files;
  $("picture").value = "";
  if (file) attempt(() => searchByPicture(file));
});
$("gallery").addEventListener("change", (event) => attempt(() => chooseGallery(event.target.value)));
$("order").addEventListener("change", changeOrder);
for (const id of ["least", "by-track"]) $(id).addEventListener("change", searchAgain);
$("sentence").addEventListener("input", () => drawReason());
$("find-word").addEventListener("input", keepWords);
$("find-word").addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault());
for (const name of ["input", "change"]) $("watch-form").addEventListener(name, forgetEstimate);
$("details").querySelector(".close").addEventListener("click", () => $("details").close());
$("details").addEventListener("click", (event) => event.target === $("details") && $("details").close());
addEventListener("hashchange", showView);
addEventListener("resize", () => !$("search").hidden && drawTimeline());

// Where there is room, the filters stand open beside the answer.
const openFilters = () => ($("filters").open = isWide.matches);
isWide.addEventListener("change", openFilters);
openFilters();
drawTimeSteps();

try {
  await enter(await ask("GET", "/v1/session"));
} catch (error) {
  leave(error.status === 401 ? "" : error.message);
}
