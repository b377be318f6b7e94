// The table of calls: only the rows in sight are in the page, and a few above and below.

const ROW = 28, BESIDE = 12, PRINTED = 200;
const gridBox = byId("grid-box");
const grid = byId("grid");
let order = new Uint32Array(0);
let active = 0;
let sortedBy = "submitted", falling = false;
let rows = [];
let gaps = [];

function orderOf(texts) {
  const collator = new Intl.Collator("en", { numeric: true });
  const sorted = texts.map((_, index) => index).sort((a, b) => collator.compare(texts[a], texts[b]));
  const places = new Array(texts.length);
  sorted.forEach((index, place) => { places[index] = place; });
  return places;
}

let textOrder = null;
function whyOrder(call) {
  textOrder = textOrder || orderOf(data.texts);
  return call in data.why ? textOrder[data.why[call]] : -1;
}

const columns = [
  { name: "key", title: "Key", wide: "wide-column", value: (call) => data.rank[call], text: (call) => (critical[call] ? `◆ ${data.key[call]}` : data.key[call]) },
  { name: "state", title: "State", wide: "state-column", value: (call) => data.state[call], text: stateOf },
  { name: "place", title: "Place", value: (call) => data.place[call], text: (call) => data.places[data.place[call]] },
  { name: "run", title: "Run", value: (call) => data.run[call], text: (call) => String(data.runs[data.run[call]].number) },
  { name: "submitted", title: "Submitted", number: true, value: (call) => data.submitted[call], text: (call) => seconds(data.submitted[call]) },
  { name: "blocked", title: "For others", number: true, value: (call) => data.blocked[call], text: (call) => seconds(data.blocked[call]) },
  { name: "queued", title: "Queued", number: true, value: (call) => data.queued[call], text: (call) => seconds(data.queued[call]) },
  { name: "running", title: "Running", number: true, value: (call) => data.running[call], text: (call) => (data.attempts[call] ? seconds(data.running[call]) : "–") },
  { name: "attempts", title: "Attempts", number: true, value: (call) => data.attempts[call], text: (call) => String(data.attempts[call]) },
  { name: "why", title: "Why", wide: "why-column", value: whyOrder, text: why },
].filter((column) => column.name !== "run" || data.runs.length > 1);

function buildGrid() {
  const headings = columns.map((column) => {
    const button = make("button", { type: "button" }, column.title);
    button.addEventListener("click", () => sortBy(column.name));
    column.heading = make("th", { scope: "col", "aria-sort": "none", class: `${column.number ? "number " : ""}${column.wide || ""}` }, button);
    return column.heading;
  });
  const head = make("tr", { "aria-rowindex": "1" }, ...headings);
  gaps = [0, 1].map(() => make("td", { colspan: String(columns.length) }));
  const [before, after] = gaps.map((gap) => make("tbody", { class: "gap", "aria-hidden": "true", role: "presentation" }, make("tr", { role: "presentation" }, gap)));
  const body = make("tbody", {});
  grid.append(make("thead", {}, head), before, body, after);
  grid.setAttribute("aria-colcount", String(columns.length));
  gridBox.addEventListener("scroll", everyFrame(showRows), { passive: true });
  new ResizeObserver(everyFrame(showRows)).observe(gridBox);
  grid.addEventListener("keydown", steer);
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (!row) return;
    moveTo(Number(row.getAttribute("aria-rowindex")) - 2);
    open(order[active]);
  });
  grid.rowsOfCalls = body;
}

function sortBy(name) {
  falling = name === sortedBy ? !falling : Boolean(columns.find((column) => column.name === name).number) && name !== "submitted";
  sortedBy = name;
  arrange();
}

let searched = null;
function haystack(call) {
  const words = [data.key[call], why(call), data.places[data.place[call]]];
  for (const part of [data.tags[call], data.limits[call]]) if (part) words.push(...part.map((one) => data.texts[one]));
  return words.join("\n").toLowerCase();
}

// Which calls are shown, and in which order.
function arrange() {
  const wanted = byId("search").value.trim().toLowerCase();
  const state = data.states.indexOf(byId("state").value);
  const onlyCritical = byId("only-critical").checked;
  if (wanted && !searched) searched = Array.from({ length: count }, (_, call) => haystack(call));
  const found = [];
  for (let call = 0; call < count; call++) {
    if (state >= 0 && data.state[call] !== state) continue;
    if (onlyCritical && !critical[call]) continue;
    if (wanted && !searched[call].includes(wanted)) continue;
    found.push(call);
  }
  const column = columns.find((one) => one.name === sortedBy);
  const values = new Float64Array(count);
  for (const call of found) values[call] = column.value(call);
  const sign = falling ? -1 : 1;
  order = Uint32Array.from(found).sort((a, b) => sign * (values[a] - values[b]) || a - b);
  for (const one of columns) one.heading.setAttribute("aria-sort", one === column ? (falling ? "descending" : "ascending") : "none");
  for (const one of columns) one.heading.firstChild.textContent = one === column ? `${one.title} ${falling ? "▼" : "▲"}` : one.title;
  grid.setAttribute("aria-rowcount", String(order.length + 1));
  byId("found").textContent = `${number(order.length)} of ${number(count)} ${count === 1 ? "call" : "calls"}`;
  active = 0;
  gridBox.scrollTop = 0;
  showRows();
}

function fillRow(row, place) {
  const call = order[place];
  row.id = `row-${place}`;
  row.setAttribute("aria-rowindex", String(place + 2));
  row.setAttribute("aria-selected", String(place === active));
  columns.forEach((column, index) => {
    const cell = row.children[index];
    const text = column.text(call);
    if (cell.textContent !== text) cell.textContent = text;
    if (column.name === "state") cell.className = `state ${text.toLowerCase()}`;
  });
}

function showRows() {
  const printing = "print" in document.documentElement.dataset;
  const first = printing ? 0 : Math.max(0, Math.floor(gridBox.scrollTop / ROW) - BESIDE);
  const room = Math.min(Math.ceil(gridBox.clientHeight / ROW), 100) + 2 * BESIDE;
  const last = Math.min(order.length, printing ? PRINTED : first + room);
  while (rows.length < last - first) {
    rows.push(make("tr", {}, ...columns.map((column) => make("td", { class: column.number ? "number" : "" }))));
  }
  rows.length = Math.max(0, last - first);
  rows.forEach((row, index) => fillRow(row, first + index));
  if (grid.rowsOfCalls.childElementCount !== rows.length) grid.rowsOfCalls.replaceChildren(...rows);
  gaps[0].style.height = `${printing ? 0 : first * ROW}px`;
  gaps[1].style.height = `${printing ? 0 : (order.length - last) * ROW}px`;
  if (active >= first && active < last) grid.setAttribute("aria-activedescendant", `row-${active}`);
  else grid.removeAttribute("aria-activedescendant");
}

function moveTo(place) {
  active = Math.max(0, Math.min(order.length - 1, place));
  const head = 34, top = active * ROW;
  if (top < gridBox.scrollTop) gridBox.scrollTop = top;
  const below = top + ROW + head - gridBox.clientHeight;
  if (below > gridBox.scrollTop) gridBox.scrollTop = below;
  showRows();
}

function steer(event) {
  if (event.target !== grid || event.ctrlKey || event.altKey || event.metaKey || !order.length) return;
  const page = Math.max(1, Math.floor(gridBox.clientHeight / ROW) - 2);
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -order.length, End: order.length };
  if (event.key in steps) moveTo(active + steps[event.key]);
  else if (event.key === "Enter" || event.key === " ") open(order[active]);
  else return;
  event.preventDefault();
}
