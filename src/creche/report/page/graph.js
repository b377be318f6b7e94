// Who waited for whom. A small graph is drawn whole, of a large one what is around the chosen call.

const SMALL = 60, MOST = 300, NEAR = 12, HOPS = 2, LISTED = 300;
const NODE = { width: 190, height: 26, across: 250, down: 36 };
const graphBox = byId("graph-box");

function before(call) {
  const others = data.after[call] || [];
  return call in data.parent ? [...others, data.parent[call]] : others;
}

function behind(call) {
  return [...(followers.get(call) || []), ...(children.get(call) || [])];
}

const linked = [];
for (let call = 0; call < count; call++) if (before(call).length || followers.has(call) || children.has(call)) linked.push(call);

// The calls a few steps away; of very many at one call only the first.
function around(centre) {
  const near = new Set([centre]);
  let left = 0;
  for (const step of [before, behind]) {
    let edge = [centre];
    for (let hop = 0; hop < HOPS; hop++) {
      const next = [];
      for (const call of edge) {
        const others = step(call);
        left += Math.max(0, others.length - NEAR);
        for (const one of others.slice(0, NEAR)) if (!near.has(one) && near.size < SMALL) { near.add(one); next.push(one); }
      }
      edge = next;
    }
  }
  return { calls: [...near].sort((a, b) => a - b), left };
}

// Columns: a call stands right of all that come before it. A call is submitted after those.
function layOut(calls) {
  const shown = new Set(calls), column = new Map(), height = new Map(), taken = [];
  for (const call of calls) {
    const depths = before(call).filter((one) => shown.has(one) && column.has(one)).map((one) => column.get(one) + 1);
    column.set(call, Math.max(0, ...depths));
  }
  const byColumn = [];
  for (const call of calls) (byColumn[column.get(call)] ||= []).push(call);
  for (const found of byColumn) {
    const wish = (call) => {
      const heights = before(call).filter((one) => height.has(one)).map((one) => height.get(one));
      return heights.length ? heights.reduce((sum, one) => sum + one, 0) / heights.length : call;
    };
    const wishes = new Map(found.map((call) => [call, wish(call)]));
    found.sort((a, b) => wishes.get(a) - wishes.get(b) || a - b).forEach((call, place) => height.set(call, place));
    taken.push(found.length);
  }
  return { column, height, wide: byColumn.length, high: Math.max(1, ...taken) };
}

function drawNode(call, x, y) {
  const text = data.key[call].length > 24 ? `${data.key[call].slice(0, 23)}…` : data.key[call];
  const classes = `node${critical[call] ? " on-path" : ""}${call === chosen ? " chosen" : ""}`;
  const label = make("text", { x: x + 12, y: y + 17 }, text);
  const stripe = make("g", { class: stateOf(call).toLowerCase() }, make("rect", { class: "stripe", x, y, width: 6, height: NODE.height }));
  const box = make("rect", { class: "box", x, y, width: NODE.width, height: NODE.height, rx: 3 });
  const title = make("title", {}, `${data.key[call]}, ${stateOf(call)}`);
  const node = document.createElementNS(SVG, "a");
  node.setAttribute("href", `#call-${call}`);
  node.append(make("g", { class: classes }, title, box, stripe, label));
  return node;
}

function drawEdge(from, to, kind) {
  const x1 = from.x + NODE.width, y1 = from.y + NODE.height / 2, x2 = to.x - 2, y2 = to.y + NODE.height / 2;
  const bend = Math.max(30, (x2 - x1) / 2);
  return make("path", { class: `edge${kind}`, d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`, "marker-end": "url(#arrow)" });
}

function drawGraph() {
  const wantsAll = byId("graph-whole").checked;
  const centre = chosen >= 0 ? chosen : linked.findLast((call) => critical[call]) ?? linked[0];
  const { calls, left } = wantsAll ? { calls: linked.slice(0, MOST), left: 0 } : around(centre);
  if (wantsAll && chosen >= 0 && !calls.includes(chosen) && calls.length < MOST) calls.push(chosen);
  const { column, height, wide, high } = layOut(calls);
  const at = (call) => ({ x: 12 + column.get(call) * NODE.across, y: 12 + height.get(call) * NODE.down });
  const shown = new Set(calls), edges = [], items = [];
  for (const call of calls) {
    for (const [others, kind, words] of [[data.after[call] || [], "", "came after"], [call in data.parent ? [data.parent[call]] : [], " parent", "was submitted by"]]) {
      for (const one of others.filter((other) => shown.has(other))) {
        edges.push(drawEdge(at(one), at(call), kind + (critical[call] && critical[one] ? " on-path" : "")));
        if (items.length < LISTED) items.push(make("li", {}, link(call), ` ${words} `, link(one)));
      }
    }
  }
  const size = { width: wide * NODE.across - (NODE.across - NODE.width) + 24, height: high * NODE.down + 16 };
  const arrow = make("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: "userSpaceOnUse", orient: "auto" }, make("path", { class: "arrow", d: "M0 0L8 4L0 8Z" }));
  const drawing = make("svg", { width: size.width, height: size.height, viewBox: `0 0 ${size.width} ${size.height}` }, make("defs", {}, arrow), ...edges, ...calls.map((call) => drawNode(call, at(call).x, at(call).y)));
  graphBox.replaceChildren(drawing);
  byId("graph-list").replaceChildren(...items);
  const scope = wantsAll ? `${number(calls.length)} of ${number(linked.length)} calls that are linked` : `${number(calls.length)} ${calls.length === 1 ? "call" : "calls"} around ${data.key[centre]}`;
  byId("graph-said").textContent = left ? `${scope}; ${number(left)} more ${left === 1 ? "line is" : "lines are"} left out.` : `${scope}.`;
}

function buildGraph() {
  if (!linked.length) {
    byId("graph-said").textContent = "No call waited for another one, and none has submitted one.";
    byId("graph-whole").disabled = true;
    return;
  }
  byId("graph-whole").checked = linked.length <= SMALL;
  byId("graph-whole").addEventListener("change", drawGraph);
  onChoice.push(drawGraph);
  drawGraph();
}
