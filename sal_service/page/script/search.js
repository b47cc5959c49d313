// Asking: by description, by likeness to an image of the gallery, by an uploaded picture; and the next part of an answer.

let running = null; // the AbortController of the search that has not been answered yet

// A new search by what the form says.
async function searchByDescription() {
  const text = description();
  if (text === "") {
    complain("Describe the person in the field, or choose an attribute.");
    $("sentence").focus();
    return;
  }
  if (asksWithReason() && $("reason").value.trim() === "") {
    complain("A sensitive attribute (◆) is asked for: write the reason.");
    $("reason").focus();
    return;
  }
  if (app.question?.text !== text) app.marks.clear();
  await search({ kind: "description", text });
}

const searchLike = (hit) => search({ kind: "like", hit });
const searchByPicture = (file) => search({ kind: "picture", file });

// Asks `question` again from the first hit, with the filters as they are now.
async function search(question) {
  const answer = await fetchPart(question, 0);
  if (answer === null) return;
  app.question = question;
  app.fresh.clear();
  app.hits = [];
  $("hits").replaceChildren();
  addPart(answer);
  $("answer-title").scrollIntoView({ block: isWide.matches ? "nearest" : "start" });
  await followSwap(answer.bundle);
}

async function searchMore() {
  const known = app.hits.length;
  const answer = await fetchPart(app.question, app.answer.next_offset);
  if (answer === null) return;
  if (answer.bundle.generation !== app.answer.bundle.generation) {
    complain("Other encoders have taken over, and their order of people differs. Search again.");
    return;
  }
  addPart(answer);
  $("hits").querySelectorAll(".hit > button")[known]?.focus();
}

// Other encoders may know other words.
async function followSwap({ generation }) {
  if (generation === app.wordsGeneration) return;
  await readGalleries();
  await readGroups();
}

function addPart(answer) {
  app.answer = answer;
  app.hits.push(...answer.hits);
  addCards(answer.hits);
  drawAnswer();
  if (document.activeElement === document.body) $("answer-title").focus({ preventScroll: true }); // a card had it
}

async function fetchPart(question, offset) {
  if (app.gallery === null) {
    complain(NO_GALLERY);
    return null;
  }
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  $("hits").setAttribute("aria-busy", "true");
  $("summary").textContent = "Searching …";
  const answer = await attempt(() => asking(question, offset, signal).catch(askForReason));
  if (signal.aborted) return null;
  $("hits").removeAttribute("aria-busy");
  if (answer === null) drawSummary();
  return answer;
}

function asking(question, offset, signal) {
  const reason = $("reason").value.trim();
  if (question.kind === "picture") {
    const parameters = new URLSearchParams({ limit: MOST_LIKE_PICTURE, by_track: $("by-track").value === "yes", ...(reason && { reason }) });
    for (const camera of filter.cameras) parameters.append("camera", camera);
    return ask("POST", `${ofGallery("search/image")}?${parameters}`, { file: question.file, signal });
  }
  const common = { where: where(), by_track: $("by-track").value === "yes", limit: PAGE_SIZE, offset, ...(reason && { reason }) };
  if (question.kind === "like") return ask("POST", ofGallery("search"), { json: { ...common, like: [question.hit.uri] }, signal });
  const marked = (kind) => [...app.marks].filter(([, mark]) => mark === kind).map(([uri]) => uri);
  const least = $("least").value === "" ? null : Number($("least").value);
  const json = { ...common, description: question.text, order: $("order").value, min_likelihood: least };
  return ask("POST", ofGallery("search"), { json: { ...json, right: marked("right"), wrong: marked("wrong") }, signal });
}

// The policy may want a reason for what a sentence says: then the field for it is there.
function askForReason(error) {
  if (error instanceof ServiceError && error.parameter === "reason") {
    drawReason(true);
    $("reason").focus();
  }
  throw error;
}

async function searchAgain() {
  if (app.question !== null) await search(app.question);
}

// Newest first is an order of those who may fit, so it begins at a likelihood.
async function changeOrder() {
  if ($("order").value === "newest" && $("least").value === "") $("least").value = "0.5";
  await searchAgain();
}

function mark(hit, kind) {
  if (app.marks.get(hit.uri) === kind) app.marks.delete(hit.uri);
  else app.marks.set(hit.uri, kind);
  drawRefining();
}

function forgetMarks() {
  app.marks.clear();
  drawRefining();
  $("answer-title").focus({ preventScroll: true });
}
