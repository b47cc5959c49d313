// The audit trail, newest lines first, for those who may see it.

let oldestLine = null;

async function readAudit(before = null) {
  const { lines, head } = await ask("GET", `/v1/audit?${new URLSearchParams({ limit: 50, ...(before !== null && { before }) })}`);
  const rows = lines.map((line) => el("tr", {},
    el("td", {}, String(line.sequence)), el("td", { class: "time" }, moment(line.at)), el("td", {}, line.who), el("td", {}, line.action),
    el("td", {}, line.why ?? ""), el("td", { class: "what" }, inWords(line.what))));
  if (before === null) {
    $("audit-lines").replaceChildren(...rows);
    $("audit-head").textContent = head;
  } else $("audit-lines").append(...rows);
  oldestLine = lines.at(-1)?.sequence ?? oldestLine;
  show($("audit-older"), lines.length > 0 && oldestLine > 1);
}

// `description: red, !hat; cameras: door`: what a line says; what is long in part, and nothing of what is empty.
function inWords(what) {
  const text = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  const all = Object.entries(what).filter(([, value]) => value !== null && value.length !== 0).map(([name, value]) => `${name}: ${text(value)}`).join("; ");
  return all.length > 300 ? `${all.slice(0, 299)}…` : all;
}
