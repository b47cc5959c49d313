// The hits of an answer by camera and time. The cards say the same, so the drawing is one picture for a screen reader.

const LANE = 24;
const MOST_LANES = 12;
const HALF_A_NAME = 28; // pixels, so that the last one is not cut off
const TICKS = [1e4, 3e4, 6e4, 3e5, 9e5, 3.6e6, 1.08e7, 4.32e7, 8.64e7, 6.048e8, 2.592e9]; // ms: ten seconds to thirty days

function drawTimeline() {
  const seen = app.hits.filter((hit) => hit.captured_at !== null).map((hit) => ({ hit, time: Date.parse(hit.captured_at), camera: hit.camera ?? "no camera" }));
  const lanes = [...new Set(seen.map(({ camera }) => camera))].sort().slice(0, MOST_LANES);
  show($("timeline"), seen.length > 1);
  if (seen.length < 2) return;
  const times = seen.map(({ time }) => time);
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const margin = Math.max(1000, (last - first) * 0.02);
  const [start, end] = [first - margin, last + margin];
  const width = Math.max(280, $("timeline-lanes").clientWidth);
  const label = Math.min(110, width * 0.28);
  const x = (time) => label + ((time - start) / (end - start)) * (width - label - 8);
  const y = (camera) => lanes.indexOf(camera) * LANE + LANE / 2;
  const height = lanes.length * LANE;
  const shown = seen.filter(({ camera }) => lanes.includes(camera)).reverse(); // the likeliest on top
  const hidden = new Set(seen.map(({ camera }) => camera)).size - lanes.length;
  const summary = lanes.map((camera) => `${camera}: ${count(seen.filter((one) => one.camera === camera).length, "hit")}`).join(", ");
  $("timeline-span").textContent = `${spanText(first, last)}${hidden > 0 ? ` · ${count(hidden, "more camera")}` : ""}`;
  $("timeline-lanes").replaceChildren(svg("svg", { width, height: height + 20, viewBox: `0 0 ${width} ${height + 20}`, role: "img", "aria-label": `Hits by camera. ${summary}` },
    ...lanes.map((camera) => svg("g", {}, svg("line", { class: "lane", x1: label, x2: width, y1: y(camera), y2: y(camera) }),
      svg("text", { class: "lane-name", x: 0, y: y(camera) + 4 }, shortened(camera, Math.floor(label / 7.5))))),
    ...ticksBetween(start, end, (width - label) / 70).map((time) => svg("g", {}, svg("line", { class: "tick", x1: x(time), x2: x(time), y1: 0, y2: height }),
      svg("text", { class: "tick-name", x: Math.min(x(time), width - HALF_A_NAME), y: height + 15 }, tickName(time, end - start)))),
    ...shown.map(({ hit, time, camera }) => dot(hit, x(time), y(camera)))));
}

function spanText(first, last) {
  const [start, end] = [moment(new Date(first)), moment(new Date(last))];
  return `${start} to ${start.slice(0, 10) === end.slice(0, 10) ? end.slice(11) : end}`;
}

function dot(hit, cx, cy) {
  const go = () => {
    const node = $(`hit-${hit.rank}`);
    node.scrollIntoView({ block: "center" });
    node.querySelector("button").focus({ preventScroll: true });
  };
  const r = hit.likelihood === null ? 5 : 3.5 + 4 * hit.likelihood;
  return svg("circle", { class: `dot${isUnlikely(hit) ? " unlikely" : ""}`, cx, cy, r, onclick: go }, svg("title", {}, nameOf(hit)));
}

const shortened = (text, most) => (text.length <= most ? text : `${text.slice(0, Math.max(1, most - 1))}…`);

// Round moments of local time, at most `most` of them.
function ticksBetween(start, end, most) {
  const step = TICKS.find((candidate) => (end - start) / candidate <= most) ?? (end - start) / most;
  const shift = new Date(start).getTimezoneOffset() * 6e4;
  const times = [];
  for (let time = Math.ceil((start - shift) / step) * step + shift; time <= end; time += step) times.push(time);
  return times;
}

function tickName(time, span) {
  const text = moment(new Date(time));
  if (span > 2 * 8.64e7) return text.slice(5, 10);
  return span > 6e5 ? text.slice(11, 16) : text.slice(11, 19);
}
