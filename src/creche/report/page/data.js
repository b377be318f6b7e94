// What the page knows, and how it is put in words. All text gets into the page as text: by `make`, which
// appends strings as text nodes, or by `textContent`. Times are in microseconds.

const data = JSON.parse(document.getElementById("data").textContent);
const count = data.key.length;
const critical = new Uint8Array(count);
for (const call of data.critical) critical[call] = 1;
const starts = new Float64Array(count);
const ends = new Float64Array(count);
for (let call = 0; call < count; call++) {
  starts[call] = data.submitted[call] + data.blocked[call] + data.queued[call];
  ends[call] = starts[call] + data.running[call] + data.backoff[call];
}

const SVG = "http://www.w3.org/2000/svg";
const SVG_NAMES = new Set(["svg", "g", "rect", "path", "text", "title", "marker", "defs"]);

function byId(id) {
  return document.getElementById(id);
}

function make(name, attributes, ...children) {
  const element = SVG_NAMES.has(name) ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function link(call) {
  return make("a", { class: "key", href: `#call-${call}` }, data.key[call]);
}

function stateOf(call) {
  return data.states[data.state[call]];
}

function stateWord(call) {
  return make("span", { class: `state ${stateOf(call).toLowerCase()}` }, stateOf(call));
}

function why(call) {
  return call in data.why ? data.texts[data.why[call]] : "";
}

function seconds(micros) {
  if (micros < 1) return "0 s";
  if (micros < 999500) return `${Number((micros / 1000).toPrecision(3))} ms`;
  if (micros < 60e6) return `${(micros / 1e6).toFixed(2)} s`;
  const whole = Math.round(micros / 1e6);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

function number(value) {
  return value.toLocaleString("en");
}

// Calls on the other ends of the lines: who waited for a call, whom its body submitted.
const followers = new Map();
const children = new Map();
function add(map, from, to) {
  if (map.has(from)) map.get(from).push(to);
  else map.set(from, [to]);
}
for (const [call, others] of Object.entries(data.after)) for (const one of others) add(followers, one, Number(call));
for (const [call, parent] of Object.entries(data.parent)) add(children, parent, Number(call));

// Who wants to know that another call was chosen.
const onChoice = [];
let chosen = -1;

function everyFrame(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; work(); });
  };
}
