// The attributes by group, each present, absent or don't care, and what was chosen as an exact description.

const SWATCHES = {
  black: "#16181a", white: "#ffffff", grey: "#8a8f94", gray: "#8a8f94", red: "#d02a2a", orange: "#ee7f1a", yellow: "#f5d11b",
  green: "#2f9347", blue: "#2563c9", navy: "#1c2f66", purple: "#7d3ba8", violet: "#7d3ba8", pink: "#f08bb4", brown: "#7b4d2a",
  beige: "#dcc9a3",
};

// What the gallery can be asked for; of what was chosen, this gallery's words stay.
async function readGroups() {
  app.groups = (await ask("GET", ofGallery("words"))).groups;
  app.wordsGeneration = app.galleries.get(app.gallery).bundle.generation;
  const groups = new Map(app.groups.map((group) => [group.name, group]));
  for (const [name, { values, negated }] of [...app.choices]) {
    const group = groups.get(name);
    const kept = group === undefined ? [] : offeredWords(group).map((word) => word.value).filter((value) => values.includes(value));
    if (kept.length === 0 || (negated && !mayExclude(group))) app.choices.delete(name);
    else app.choices.set(name, { values: kept, negated });
  }
  drawAttributes();
}

const offeredWords = (group) => group.words.filter((word) => word.allowed);
// What is left when others are excluded would be what the policy forbids.
const mayExclude = (group) => group.words.every((word) => word.allowed);

function withheldOf(group) {
  if (offeredWords(group).length === 0) return [spaced(group.name)];
  return group.words.filter((word) => !word.allowed).map((word) => `${spaced(group.name)} ${spaced(word.word)}`);
}

function drawAttributes() {
  const offered = app.groups.filter((group) => offeredWords(group).length > 0);
  const withheld = app.groups.flatMap(withheldOf);
  $("attributes").replaceChildren(...offered.map((group) => (group.kind === "binary" ? binaryGroup(group) : exclusiveGroup(group))));
  $("withheld").textContent = withheld.length === 0 ? "" : `The policy does not allow: ${withheld.join(", ")}.`;
  keepWords();
  drawChosen();
}

const groupHead = (group, id) => el("span", { id, class: "group-name" }, capital(spaced(group.name)), group.sensitive && sensitiveMark());

// Two opposites: any, and each of them; "no-hat" and "hat" are "no" and "yes".
function binaryGroup(group) {
  const id = `group-${app.groups.indexOf(group)}`;
  const [first, second] = group.words;
  const isAbsence = second !== undefined && first.word === `no-${second.word}`;
  const label = (word) => (isAbsence ? (word === second ? "yes" : "no") : spaced(word.word));
  const options = [["", "any"], ...(isAbsence ? [second, first] : group.words).map((word) => [word.value, label(word), titleOf(word)])];
  const chosen = app.choices.get(group.name)?.values[0] ?? "";
  const choose = (value) => {
    if (value === "") app.choices.delete(group.name);
    else app.choices.set(group.name, { values: [value], negated: false });
    drawChosen();
  };
  return el("div", { class: "group binary", role: "radiogroup", "aria-labelledby": id, "data-words": wordsOf(group) },
    el("span", { class: "group-head" }, groupHead(group, id), group.words.some((word) => word.weak) && weakMark(group.words)),
    el("div", { class: "segments" }, ...segments(id, options, chosen, choose)));
}

// Words that exclude each other: any, one of the ticked ones, or none of them.
function exclusiveGroup(group) {
  const id = `group-${app.groups.indexOf(group)}`;
  const choice = () => app.choices.get(group.name) ?? { values: [], negated: false };
  const stance = () => (!app.choices.has(group.name) ? "any" : choice().negated ? "not" : "is");
  const choose = (values, chosen) => {
    if (chosen === "any") app.choices.delete(group.name);
    else app.choices.set(group.name, { values, negated: chosen === "not" });
    for (const radio of node.querySelectorAll("[type=radio]")) radio.checked = radio.value === stance();
    for (const box of node.querySelectorAll("[type=checkbox]")) box.checked = choice().values.includes(box.value);
    drawChosen();
  };
  const tick = (word) => (isTicked) => {
    const values = choice().values.filter((value) => value !== word.value).concat(isTicked ? [word.value] : []);
    choose(values, values.length === 0 ? "any" : stance() === "not" ? "not" : "is");
  };
  const chips = offeredWords(group).map((word) => {
    const box = chip(spaced(word.word), word.value, choice().values.includes(word.value), tick(word), swatch(word));
    box.title = titleOf(word);
    if (word.weak) box.append(weakMark([word]));
    return box;
  });
  const options = [["any", "any"], ["is", "is"], ...(mayExclude(group) ? [["not", "is not"]] : [])];
  const stances = segments(`${id}-stance`, options, stance(), (chosen) => choose(choice().values, chosen));
  const node = el("div", { class: "group exclusive", role: "group", "aria-labelledby": id, "data-words": wordsOf(group) },
    el("div", { class: "group-head" }, groupHead(group, id), el("div", { class: "segments", role: "radiogroup", "aria-labelledby": id }, ...stances)),
    el("div", { class: "chips" }, ...chips));
  return node;
}

function swatch(word) {
  const colour = SWATCHES[word.word];
  if (colour === undefined) return null;
  const spot = el("span", { class: "swatch", "aria-hidden": "true" });
  spot.style.backgroundColor = colour;
  return spot;
}

const weakMark = (words) => el("span", { class: "mark weak", title: words.filter((word) => word.weak).map(titleOf).join("; ") }, "weak");

function titleOf(word) {
  const rate = word.recognised === null ? "not measured" : `recognised in ${percent(word.recognised)} of the test images that show it`;
  return `${word.word}: ${rate}${word.synonyms.length === 0 ? "" : `; also: ${word.synonyms.slice(0, 8).join(", ")}`}`;
}

const wordsOf = (group) => [group.name, ...offeredWords(group).flatMap((word) => [word.word, ...word.synonyms])].join(" ").toLowerCase();

function keepWords() {
  const wanted = $("find-word").value.trim().toLowerCase();
  for (const node of $("attributes").children) show(node, node.dataset.words.includes(wanted));
}

const isAsked = (group) => (app.choices.get(group.name)?.values.length ?? 0) > 0;

function drawChosen() {
  const tags = app.groups.filter(isAsked).map((group) => {
    const { values, negated } = app.choices.get(group.name);
    const words = group.words.filter((word) => values.includes(word.value)).map((word) => spaced(word.word));
    const text = `${group.kind === "exclusive" ? `${spaced(group.name)} ` : ""}${negated ? "not " : ""}${words.join(" or ")}`;
    const drop = () => {
      app.choices.delete(group.name);
      drawAttributes();
      $("sentence").focus();
    };
    return el("li", {}, el("span", {}, text, group.sensitive && sensitiveMark()),
      el("button", { type: "button", class: "close", "aria-label": `Do not ask for ${text}`, onclick: drop }, "✕"));
  });
  $("chosen").replaceChildren(...tags);
  drawReason();
}

const asksWithReason = () => app.groups.some((group) => group.allowed === "with reason" && isAsked(group));

// Whether the sentence seems to name one; the service decides.
function namesSensitiveWord() {
  const said = new Set($("sentence").value.toLowerCase().split(/[\s,;.!|=]+/));
  return app.groups.some((group) => group.allowed === "with reason" && group.words.some(({ word, synonyms }) => [word, ...synonyms].some((name) => said.has(name))));
}

// A reason can be given wherever the policy may ask for one; a sentence may name a sensitive word, too.
function drawReason(isAskedFor = false) {
  const isNeeded = isAskedFor || asksWithReason() || namesSensitiveWord();
  show($("reason-line"), isNeeded || $("reason").value !== "" || app.groups.some((group) => group.allowed === "with reason"));
  $("reason").required = isNeeded;
  $("reason-why").textContent = isNeeded ? "(needed; it goes into the audit trail)" : "(for ◆ attributes; it goes into the audit trail)";
}

// Sentence and attributes as one description, which people can type again: `woman in red, !hat, upper-colour=red|blue`.
function description() {
  const terms = [...app.choices.values()].filter(({ values }) => values.length > 0).map(({ values, negated }) => (negated ? "!" : "") + values.join("|"));
  return [$("sentence").value.trim().replace(/[\s,]+$/, ""), ...terms].filter((part) => part !== "").join(", ");
}
