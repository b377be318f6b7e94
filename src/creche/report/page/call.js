// One call, beside the page. Which one is in the address, so that it can be linked to, and "back" works.

const panel = byId("call");
let focusedBefore = null;

function several(calls) {
  const shown = calls.slice(0, 20).map((one) => make("li", {}, link(one)));
  if (calls.length > 20) shown.push(make("li", {}, `and ${number(calls.length - 20)} more`));
  return make("ul", {}, ...shown);
}

function attemptsOf(call) {
  return make("ol", {}, ...data.tries[call].map(([began, ended, error]) => make("li", {},
    `at ${seconds(began)}, ${ended === null ? "not ended" : `ran ${seconds(ended - began)}`}`,
    error === null ? "" : `: ${data.texts[error]}`)));
}

function describe(call) {
  const list = make("dl", {});
  const say = (term, ...what) => list.append(make("dt", {}, term), make("dd", {}, ...what));
  say("State", stateWord(call));
  if (why(call)) say("Why", why(call));
  if (call in data.failure) say("Traceback", make("a", { href: `#failure-${data.failure[call]}` }, "among the failures"));
  if (critical[call]) say("Critical path", "◆ on it");
  if (call in data.type) say("Type of key", data.type[call]);
  const run = data.runs[data.run[call]];
  say("Run", `${run.number}, ${run.name}`);
  say("Place", data.places[data.place[call]]);
  say("Submitted", `at ${seconds(data.submitted[call])}`);
  if (data.blocked[call]) say("For others", `waited ${seconds(data.blocked[call])}`);
  say("Queued", seconds(data.queued[call]));
  say("Running", data.attempts[call] ? seconds(data.running[call]) : "not started");
  if (call in data.tries) {
    say("In between", `waited ${seconds(data.backoff[call])}`);
    say("Attempts", attemptsOf(call));
  }
  if (call in data.limits) say("Limits", data.limits[call].map((one) => data.texts[one]).join(", "));
  if (call in data.tags) say("Tags", data.tags[call].map((one) => data.texts[one]).join(", "));
  if (call in data.args) say("Arguments", ...data.args[call].map((one) => make("div", {}, one)));
  if (call in data.value) say("Value", data.value[call]);
  if (call in data.parent) say("Submitted by", link(data.parent[call]));
  if (call in data.after) say("Came after", several(data.after[call]));
  if (followers.has(call)) say("Waited for by", several(followers.get(call)));
  if (children.has(call)) say("Has submitted", several(children.get(call)));
  return list;
}

function choose(call) {
  if (panel.hidden) focusedBefore = document.activeElement;
  chosen = call;
  byId("call-title").textContent = data.key[call];
  byId("call-body").replaceChildren(describe(call));
  panel.hidden = false;
  byId("call-title").focus({ preventScroll: true });
  for (const tell of onChoice) tell();
}

function open(call) {
  if (location.hash === `#call-${call}`) choose(call);
  else location.hash = `#call-${call}`;
}

function closePanel() {
  if (panel.hidden) return;
  panel.hidden = true;
  history.replaceState(null, "", location.pathname + location.search);
  if (focusedBefore && focusedBefore.isConnected) focusedBefore.focus({ preventScroll: true });
}

function followAddress() {
  const found = /^#call-(\d+)$/.exec(location.hash);
  if (found && Number(found[1]) < count) choose(Number(found[1]));
  else if (/^#failure-\d+$/.test(location.hash)) {
    const failure = byId(location.hash.slice(1));
    if (!failure) return;
    panel.hidden = true;
    failure.open = true;
    failure.scrollIntoView();
    failure.querySelector("summary").focus({ preventScroll: true });
  }
}
