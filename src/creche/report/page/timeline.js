// The timeline: calls on lanes, place by place, drawn on a canvas. Only lanes in sight are drawn, and of
// calls that fall on one pixel only one.

// The last is about how wide a sheet of paper is.
const AXIS = 24, GAP = 20, PAPER = 720;
const timeBox = byId("timeline-box");
const canvas = timeBox?.querySelector("canvas");
const view = { begin: 0, end: Math.max(1, data.ended), top: 0 };
const lanes = [];
const places = [];
let laneHeight = 18, fullHeight = 0, width = 0, height = 0;

function buildLanes() {
  const byStart = Uint32Array.from(data.key.keys()).filter((call) => data.lane[call] >= 0)
    .sort((a, b) => starts[a] - starts[b] || a - b);
  const byPlace = data.places.map(() => []);
  for (const call of byStart) {
    const found = byPlace[data.place[call]];
    while (found.length <= data.lane[call]) found.push([]);
    found[data.lane[call]].push(call);
  }
  const all = byPlace.reduce((sum, one) => sum + one.length, 0);
  laneHeight = Math.max(3, Math.min(18, Math.floor(320 / Math.max(1, all))));
  let y = 0;
  byPlace.forEach((found, index) => {
    if (!found.length) return;
    places.push({ name: data.places[index], y });
    y += GAP;
    for (const calls of found) {
      lanes.push({ calls, y });
      y += laneHeight;
    }
    y += 6;
  });
  fullHeight = y;
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return { of, states: data.states.map((name) => of(name.toLowerCase())) };
}

function tickStep(span, most) {
  const rough = span / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
}

function drawAxis(pen, colour) {
  const step = Math.max(1, tickStep(view.end - view.begin, Math.max(2, width / 110)));
  pen.font = "12px system-ui, sans-serif";
  pen.textBaseline = "middle";
  for (let time = Math.ceil(view.begin / step) * step; time <= view.end; time += step) {
    const x = Math.round((time - view.begin) * scale()) + 0.5;
    pen.fillStyle = colour.of("line");
    pen.fillRect(x, AXIS - 6, 1, height);
    pen.fillStyle = colour.of("muted");
    pen.fillText(axisWords(time, step), Math.min(x + 4, width - 75), AXIS / 2);
  }
}

// As exact as the ticks are close.
function axisWords(time, step) {
  const digits = Math.max(0, Math.min(6, 6 - Math.floor(Math.log10(step))));
  return time >= 60e6 && step >= 1e6 ? seconds(time) : `${(time / 1e6).toFixed(digits)} s`;
}

function scale() {
  return width / (view.end - view.begin);
}

// The first call of a lane that ends after a time; those of one lane do not overlap.
function firstAfter(calls, time) {
  let low = 0, high = calls.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ends[calls[middle]] < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

function drawLane(pen, colour, lane, y) {
  const by = scale(), thick = laneHeight > 6 ? laneHeight - 3 : laneHeight - 1;
  let drawnTo = -1, wasCritical = false;
  for (let index = firstAfter(lane.calls, view.begin); index < lane.calls.length; index++) {
    const call = lane.calls[index];
    if (starts[call] > view.end) break;
    const left = Math.max(0, (starts[call] - view.begin) * by);
    const right = Math.min(width, Math.max(left + 1, (ends[call] - view.begin) * by));
    if (right < drawnTo + 1 && call !== chosen && (wasCritical || !critical[call])) continue;
    drawnTo = right;
    wasCritical = Boolean(critical[call]);
    const wide = right - left > 4 ? right - left - 1 : right - left;
    pen.fillStyle = colour.states[data.state[call]];
    pen.fillRect(left, y, wide, thick);
    if (critical[call]) {
      pen.fillStyle = colour.of("critical");
      const mark = Math.min(3, thick);
      pen.fillRect(left, y + thick - mark, wide, mark);
    }
    if (call === chosen) {
      pen.strokeStyle = colour.of("text");
      pen.lineWidth = 2;
      pen.strokeRect(left - 1, y - 1, wide + 2, thick + 2);
    }
    if (laneHeight >= 15 && wide > 40) {
      pen.fillStyle = colour.of("back");
      pen.font = "11px ui-monospace, monospace";
      pen.fillText(fitted(data.key[call], wide), left + 4, y + thick / 2, wide - 6);
    }
  }
}

function fitted(text, room) {
  const most = Math.floor(room / 7);
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

function drawTimeline() {
  const sharp = window.devicePixelRatio || 1;
  width = "print" in document.documentElement.dataset ? PAPER : timeBox.clientWidth;
  height = AXIS + Math.min(fullHeight, 420);
  view.top = Math.max(0, Math.min(view.top, fullHeight - (height - AXIS)));
  canvas.width = Math.round(width * sharp);
  canvas.height = Math.round(height * sharp);
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  const colour = colours();
  pen.scale(sharp, sharp);
  drawAxis(pen, colour);
  pen.save();
  pen.beginPath();
  pen.rect(0, AXIS, width, height);
  pen.clip();
  for (const lane of lanes) {
    const y = AXIS + lane.y - view.top;
    if (y > -laneHeight && y < height) drawLane(pen, colour, lane, y);
  }
  for (const place of places) {
    const y = AXIS + place.y - view.top + GAP / 2;
    if (y < 0 || y > height) continue;
    pen.fillStyle = colour.of("text");
    pen.font = "600 12px system-ui, sans-serif";
    pen.fillText(place.name, 4, y);
  }
  pen.restore();
  const part = (height - AXIS) / Math.max(1, fullHeight);
  if (part < 1) {
    pen.fillStyle = colour.of("muted");
    pen.fillRect(width - 5, AXIS + view.top * part, 5, (height - AXIS) * part);
  }
}

const redraw = everyFrame(drawTimeline);

function callAt(x, y) {
  const row = y - AXIS + view.top;
  const lane = lanes.find((one) => row >= one.y && row < one.y + laneHeight);
  if (!lane) return -1;
  const slack = 2 / scale(), time = view.begin + x / scale();
  const call = lane.calls[firstAfter(lane.calls, time - slack)];
  return call !== undefined && starts[call] <= time + slack ? call : -1;
}

function look(begin, end) {
  const whole = Math.max(1, data.ended);
  const span = Math.min(whole, Math.max(10, end - begin));
  view.begin = Math.max(0, Math.min(begin, whole - span));
  view.end = view.begin + span;
  redraw();
}

function zoom(by, at = 0.5) {
  const span = view.end - view.begin, middle = view.begin + span * at;
  const wanted = Math.min(Math.max(1, data.ended), Math.max(10, span * by));
  look(middle - wanted * at, middle - wanted * at + wanted);
}

function pan(part) {
  const by = part * (view.end - view.begin);
  look(view.begin + by, view.end + by);
}

const moves = {
  in: () => zoom(0.5), out: () => zoom(2), left: () => pan(-0.25), right: () => pan(0.25),
  all: () => look(0, Math.max(1, data.ended)),
  up: () => { view.top -= 60; redraw(); }, down: () => { view.top += 60; redraw(); },
};
const keys = { "+": "in", "=": "in", "-": "out", "0": "all", Home: "all", ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down" };

function say(call) {
  byId("timeline-said").textContent = call < 0 ? "\u00a0" : `${data.key[call]}: ${stateOf(call)}, at ${seconds(starts[call])}, queued ${seconds(data.queued[call])}, ran ${seconds(data.running[call])}`;
}

function buildTimeline() {
  buildLanes();
  let grabbed = null;
  for (const button of document.querySelectorAll("[data-do]")) button.addEventListener("click", () => moves[button.dataset.do]());
  timeBox.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || !(event.key in keys)) return;
    moves[keys[event.key]]();
    event.preventDefault();
  });
  timeBox.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.metaKey) zoom(event.deltaY > 0 ? 1.25 : 0.8, event.offsetX / width);
    else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan(event.deltaX / width);
    else return;
    event.preventDefault();
  }, { passive: false });
  timeBox.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    grabbed = { x: event.offsetX, y: event.offsetY, begin: view.begin, top: view.top, moved: false };
    timeBox.setPointerCapture(event.pointerId);
  });
  timeBox.addEventListener("pointermove", (event) => {
    if (!grabbed) return say(callAt(event.offsetX, event.offsetY));
    const x = event.offsetX - grabbed.x, y = event.offsetY - grabbed.y;
    grabbed.moved = grabbed.moved || Math.abs(x) + Math.abs(y) > 4;
    if (!grabbed.moved) return undefined;
    const begin = grabbed.begin - x / scale();
    view.top = grabbed.top - y;
    return look(begin, begin + view.end - view.begin);
  });
  timeBox.addEventListener("pointerup", (event) => {
    const call = grabbed && !grabbed.moved ? callAt(event.offsetX, event.offsetY) : -1;
    grabbed = null;
    if (call >= 0) open(call);
  });
  timeBox.addEventListener("pointercancel", () => { grabbed = null; });
  onChoice.push(redraw);
  new ResizeObserver(redraw).observe(timeBox);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  drawTimeline();
}
