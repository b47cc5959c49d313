// Watches: what one would have meant, starting and deleting them, and what they told.

let estimated = null; // the question of the estimate that is shown, as JSON

async function readWatches() {
  app.watches = (await ask("GET", "/v1/watches")).watches;
  $("watch-list").replaceChildren(...app.watches.map(watchCard));
  show($("watches-none"), app.watches.length === 0);
}

// The form as it is when the panel opens: the description of the search, and an end.
function openWatches() {
  const chosen = new Set([...$("watch-cameras").querySelectorAll("input:checked")].map((box) => box.value));
  const known = app.gallery === null ? [] : app.galleries.get(app.gallery).cameras;
  $("watch-cameras").replaceChildren(...known.map((camera) => chip(camera, camera, chosen.has(camera), forgetEstimate)));
  if ($("watch-description").value === "") $("watch-description").value = description();
  if ($("watch-reason").value === "") $("watch-reason").value = $("reason").value;
  if ($("watch-end").value === "") $("watch-end").value = fieldMoment(new Date(Date.now() + 8.64e7));
  return readWatches();
}

function watchQuestion() {
  const cameras = [...$("watch-cameras").querySelectorAll("input:checked")].map((box) => box.value);
  return { gallery: app.gallery, description: $("watch-description").value.trim(), cameras };
}

async function previewWatch() {
  if (!$("watch-description").reportValidity()) return;
  const question = watchQuestion();
  const reason = $("watch-reason").value.trim();
  const preview = await ask("POST", "/v1/watches/preview", { json: { ...question, ...(reason && { reason }) } });
  estimated = JSON.stringify(question);
  drawEstimate(preview);
}

function drawEstimate({ hours, tracks, thresholds, notes }) {
  const span = `${Number(hours.toFixed(1))} h`;
  const perDay = 24 / Math.max(hours, 1e-9);
  const row = ({ min_likelihood, alarms, wrong }) => el("tr", {},
    el("td", {}, el("label", { class: "choice" }, el("input", { type: "radio", name: "least-likely", value: min_likelihood, onchange: () => allowWatch(true) }),
      percent(min_likelihood))),
    el("td", {}, alarms.toLocaleString("en")), el("td", {}, rounded(wrong)), el("td", {}, rounded(alarms * perDay)), el("td", { class: "strong" }, rounded(wrong * perDay)));
  const heads = ["Fires from", `Alarms in ${span}`, "of these wrong", "Alarms a day", "Wrong a day"];
  allowWatch(false);
  $("watch-estimate").replaceChildren(
    el("h3", {}, "What it would have meant"),
    el("p", { class: "faint" }, `In the last ${span} that the cameras have: ${count(tracks, "track")}. How many alarms are wrong is estimated from the likelihoods. Choose the likelihood from which the watch fires.`),
    ...(notes.length === 0 ? [] : [el("ul", { class: "notes" }, ...notes.map((note) => el("li", {}, note)))]),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Alarms by likelihood" },
      el("table", { class: "numbers" }, el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))), el("tbody", {}, ...thresholds.map(row)))));
}

function rounded(number) {
  if (number > 0 && number < 0.05) return "<0.1";
  return number >= 10 || number === 0 ? Math.round(number).toLocaleString("en") : number.toFixed(1);
}

// An estimate is of one description and its cameras.
function forgetEstimate() {
  if (estimated === null || estimated === JSON.stringify(watchQuestion())) return;
  estimated = null;
  $("watch-estimate").replaceChildren();
  allowWatch(false);
}

function allowWatch(isAllowed) {
  $("watch-create").disabled = !isAllowed;
  show($("watch-hint"), !isAllowed);
}

async function createWatch() {
  const webhook = $("watch-webhook").value.trim();
  const topic = $("watch-topic").value.trim();
  const watch = await ask("POST", "/v1/watches", { json: {
    ...watchQuestion(),
    name: $("watch-name").value.trim(),
    min_likelihood: Number($("watch-estimate").querySelector("input:checked").value),
    once_per_track: $("watch-once").checked,
    reason: $("watch-reason").value.trim(),
    expires_at: new Date($("watch-end").value).toISOString(),
    deliver: [...(webhook ? [{ kind: "webhook", url: webhook }] : []), ...(topic ? [{ kind: "mqtt", topic }] : [])],
  } });
  $("watch-form").reset();
  forgetEstimate();
  await openWatches();
  $(`watch-${watch.id}`)?.focus();
}

function watchCard(watch) {
  const told = el("ul", { class: "messages", "aria-live": "polite" });
  const counts = [`fired ${watch.fired}`, `waiting ${watch.waiting}`, `delivered ${watch.delivered}`, watch.dead > 0 && `given up ${watch.dead}`];
  const goes = watch.deliver.map((target) => (target.kind === "mqtt" ? `MQTT ${target.topic}` : target.url));
  const messages = el("button", { type: "button", "aria-label": `Last messages of ${watch.name}` }, "Last messages");
  messages.addEventListener("click", () => attempt(async () => told.replaceChildren(...await messagesOf(watch)), messages));
  return el("li", { class: "watch panel", id: `watch-${watch.id}`, tabindex: "-1" },
    el("div", { class: "camera-head" }, el("h3", {}, watch.name), el("span", { class: `state ${watch.active ? "good" : "idle"}` }, watch.active ? "active" : "ended"),
      messages, deleteButton(watch)),
    el("p", { class: "strong" }, watch.description),
    el("p", {}, `from ${percent(watch.min_likelihood)} likely · ${watch.cameras.join(", ") || "all cameras"} · gallery ${watch.gallery} · ${watch.active ? "ends" : "ended"} ${moment(watch.expires_at)}`),
    el("p", { class: "faint" }, `${counts.filter(Boolean).join(" · ")} · ${goes.length === 0 ? "told here only" : `also to ${goes.join(", ")}`}`),
    el("p", { class: "faint" }, `${watch.reason} (${watch.created_by}, ${moment(watch.created_at)})`), told);
}

// The first press asks, the second one deletes.
function deleteButton(watch) {
  const button = el("button", { type: "button", "aria-label": `Delete ${watch.name}` }, "Delete");
  const calm = () => {
    button.classList.remove("danger");
    button.textContent = "Delete";
    button.setAttribute("aria-label", `Delete ${watch.name}`);
  };
  button.addEventListener("blur", calm);
  button.addEventListener("keydown", (event) => event.key === "Escape" && calm());
  button.addEventListener("click", () => {
    if (!button.classList.contains("danger")) {
      button.classList.add("danger");
      button.textContent = "Delete for good";
      button.setAttribute("aria-label", `Delete ${watch.name} for good`);
      return;
    }
    attempt(async () => {
      await ask("DELETE", `/v1/watches/${encodeURIComponent(watch.id)}`);
      await readWatches();
      $("main").focus();
    }, button);
  });
  return button;
}

async function messagesOf(watch) {
  const { messages } = await ask("GET", `/v1/watches/${encodeURIComponent(watch.id)}/messages`);
  if (messages.length === 0) return [el("li", { class: "faint" }, "It has not told anything yet.")];
  return messages.slice(0, 20).map((message) => el("li", {},
    el("button", { type: "button", class: "thumb", "aria-label": `Open the image of ${place(message)}`, onclick: () => openMessage(message) }, crop(message, "")),
    el("span", {}, `${TYPES[message.type]} · ${percent(message.likelihood)} · ${place(message)}${message.track ? ` · track ${message.track}` : ""}`)));
}
