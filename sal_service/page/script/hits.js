// People (or images) as cards, and one of them at full size.

// Cards that are there stay: each picture is asked for once, since looking at it goes into the audit trail.
function addCards(hits) {
  const isRanked = app.question.kind === "description" && $("order").value === "likelihood";
  for (const hit of hits) {
    if (isRanked && isUnlikely(hit) && $("hits").querySelector(".divider") === null) $("hits").append(divider());
    $("hits").append(card(hit));
  }
}

const isUnlikely = (hit) => hit.likelihood !== null && hit.likelihood < UNLIKELY;

function divider() {
  const limit = percent(UNLIKELY);
  const before = $("hits").children.length === 0 ? `Nobody is ${limit} likely or more.` : `No more above ${limit}.`;
  return el("li", { class: "divider" }, `${before} These probably do not fit:`);
}

function card(hit) {
  const name = nameOf(hit);
  const open = el("button", { type: "button", class: "crop", "aria-label": `Open ${name}`, onclick: () => openDetails(hit) }, crop(hit, name));
  return el("li", { class: `hit${isUnlikely(hit) ? " unlikely" : ""}`, "data-uri": hit.uri, id: `hit-${hit.rank}` }, open,
    el("div", { class: "hit-text" },
      el("p", { class: "likelihood" }, likelihoodText(hit), el("span", { class: "rank", title: "rank" }, `#${hit.rank}`)),
      evidence(hit), facts(hit), others(hit)),
    actions(hit));
}

const likelihoodText = (hit) => (hit.likelihood === null
  ? el("span", {}, hit.score.toFixed(2), el("small", {}, " alike"))
  : el("span", {}, percent(hit.likelihood), el("small", {}, isUnlikely(hit) ? " unlikely" : " likely")));

const nameOf = (hit) => `${hit.rank === undefined ? `watch ${hit.name}` : `person ${hit.rank}`}${hit.likelihood === null ? "" : `, ${percent(hit.likelihood)} likely`}${place(hit) && `, ${place(hit)}`}`;

function evidence(hit) {
  const terms = new Map((app.answer?.understood ?? []).map((term) => [term.text, term]));
  const rows = Object.entries(hit.evidence).map(([text, share]) => {
    const bar = el("span", { class: "bar" });
    bar.style.inlineSize = percent(share);
    const term = terms.get(text);
    return el("li", {}, el("span", { class: "term" }, term?.understood ?? text, term?.sensitive && sensitiveMark()), el("span", { class: "share" }, percent(share)),
      el("span", { class: "track", "aria-hidden": "true" }, bar));
  });
  return rows.length === 0 ? null : el("ul", { class: "evidence", "aria-label": "How likely each part holds" }, ...rows);
}

function facts(hit) {
  const seen = [hit.camera, hit.track && `track ${hit.track}`].filter(Boolean).join(" · ");
  return el("p", { class: "facts" }, seen && el("span", {}, seen), hit.captured_at && el("time", { datetime: hit.captured_at }, moment(hit.captured_at)));
}

const SHOWN_OTHERS = 4;

function others(hit) {
  if (hit.others.length === 0) return null;
  const hidden = hit.others.length - SHOWN_OTHERS;
  const pictures = hit.others.slice(0, SHOWN_OTHERS).map((other, number) =>
    el("button", { type: "button", class: "thumb", "aria-label": `Open other image ${number + 1} of ${nameOf(hit)}`, onclick: () => openDetails(hit, other) }, crop(other, "")));
  return el("div", { class: "others" }, ...pictures, hidden > 0 && el("span", { class: "faint small" }, `+${hidden}`));
}

function actions(hit) {
  const marking = (kind, label) => app.question?.kind === "description" && el("button", { type: "button", class: "marking", "data-mark": kind, "aria-pressed": "false",
    "aria-label": `${label}: ${nameOf(hit)}`, onclick: () => mark(hit, kind) }, label);
  return el("div", { class: "actions" },
    el("button", { type: "button", "aria-label": `More like ${nameOf(hit)}`, onclick: () => searchLike(hit) }, "More like this"),
    marking("right", "Right"), marking("wrong", "Wrong"));
}

// A hit at full size with all that is known of it; `image` is the one of its images to show.
function openDetails(hit, image = hit) {
  $("details-title").textContent = capital(nameOf(hit));
  const rows = [["Likelihood", image !== hit && image.likelihood !== null && percent(image.likelihood)], ["Camera", image.camera], ["Track", image.track], ["Time", moment(image.captured_at)],
    ["Box", image.box && `${image.box.join(", ")} (left, top, width, height)`], ["Score", hit.score?.toFixed(3)],
    ...Object.entries(image.metadata ?? {}), ["Image", image.uri]];
  const strip = [hit, ...(hit.others ?? [])];
  const pictures = strip.length === 1 ? null : el("div", { class: "others" }, ...strip.map((other, number) =>
    el("button", { type: "button", class: "thumb", "aria-label": `Image ${number + 1} of ${strip.length}`, "aria-current": other === image ? "true" : null,
      onclick: () => {
        openDetails(hit, other);
        $("details-body").querySelectorAll(".thumb")[number].focus();
      } }, crop(other, ""))));
  const like = el("button", { type: "button", class: "primary", onclick: () => {
    $("details").close();
    searchLike({ ...hit, uri: image.uri });
  } }, "More like this");
  $("details-body").replaceChildren(el("div", { class: "detail" }, el("div", { class: "large" }, crop(image, nameOf(hit))),
    el("div", { class: "stack" }, evidence(image), el("dl", {}, ...rows.filter(([, value]) => value).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
      pictures, el("p", {}, hit.rank !== undefined && like))));
  if (!$("details").open) $("details").showModal();
}
