// What is said of an answer: how it was understood, what to bear in mind, how many there are, where it ends.

function drawAnswer() {
  const { answer, question } = app;
  const isDescribed = question?.kind === "description";
  for (const id of ["order", "least"]) show($(id).parentElement, question === null || isDescribed);
  show($("watch-this"), isDescribed && may("admin"));
  $("understood").replaceChildren(...(answer?.understood ?? []).map(understoodTag));
  show($("understood-line"), $("understood").children.length > 0);
  $("notes").replaceChildren(...notesOf(answer, question).map((note) => el("li", {}, note)));
  drawSummary();
  drawEnd();
  drawRefining();
  drawFresh();
  drawTimeline();
}

function understoodTag(term) {
  const rates = Object.entries(term.recognised).map(([name, share]) => (name.replace("=", " ") === term.understood ? "" : `${name} `) + percent(share));
  return el("li", {}, el("span", {}, term.understood, term.sensitive && sensitiveMark()),
    rates.length > 0 && el("small", { class: "faint" }, ` recognised ${rates.join(", ")}`));
}

function notesOf(answer, question) {
  if (answer === null) return [];
  const hasTime = captured().some((end) => end !== null);
  return [...answer.notes, question.kind === "picture" && hasTime && "the time is not a condition of a search by picture"].filter(Boolean);
}

function drawSummary() {
  const { answer, question, hits } = app;
  if (answer === null) {
    $("summary").textContent = "Nothing was searched for yet.";
    return;
  }
  const kind = $("by-track").value === "yes" ? count(hits.length, "person", "people") : count(hits.length, "image");
  const soFar = hasMore() ? " so far" : "";
  const what = { description: "", like: ` like image ${question.hit?.rank} of the answer before`, picture: " like your picture" }[question.kind];
  const only = answer.conditions.map((condition) => ` · only ${condition}`).join("");
  const { name, precision } = answer.bundle;
  $("summary").textContent = `${kind}${soFar}${what}, of ${count(answer.num_images, "image")}${only} · encoders ${name}, ${precision} · times in ${zone}`;
}

const hasMore = () => app.answer !== null && app.answer.next_offset !== null && app.question.kind !== "picture";

// Says where the answer ends, so that nobody thinks that there is more.
function drawEnd() {
  const { answer, question, hits } = app;
  show($("more"), hasMore());
  if (answer === null || hasMore()) {
    $("end").textContent = "";
    return;
  }
  const least = question.kind === "description" && $("least").value;
  if (least) $("end").textContent = hits.length === 0 ? `Nobody is ${percent(least)} likely or more.` : `No more above ${percent(least)}.`;
  else if (answer.next_offset !== null) $("end").textContent = `These are the ${hits.length} most alike.`;
  else $("end").textContent = hits.length === 0 ? "Nobody was found." : "That is all.";
}

function drawRefining() {
  const marks = [...app.marks.values()];
  const right = marks.filter((kind) => kind === "right").length;
  show($("refining"), marks.length > 0 && app.question?.kind === "description");
  $("marked").textContent = `You marked ${right} right and ${marks.length - right} wrong.`;
  for (const node of $("hits").querySelectorAll("[data-mark]")) {
    node.setAttribute("aria-pressed", String(app.marks.get(node.closest("[data-uri]").dataset.uri) === node.dataset.mark));
  }
}

function drawFresh() {
  const { size } = app.fresh;
  show($("fresh"), size > 0 && app.answer !== null);
  $("fresh").textContent = `${count(size, "new person", "new people")} since this search: search again`;
}

function forgetAnswer() {
  Object.assign(app, { question: null, answer: null, hits: [] });
  app.marks.clear();
  app.fresh.clear();
  $("hits").replaceChildren();
  drawAnswer();
}
