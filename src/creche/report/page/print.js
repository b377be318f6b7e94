// On paper there is no scrolling: a bounded number of rows, the whole timeline, everything unfolded.

let folded = [];

function beforePrint() {
  document.documentElement.dataset.print = "";
  folded = [...document.querySelectorAll("#failures details:not([open])")];
  for (const one of folded) one.open = true;
  const left = order.length - PRINTED;
  byId("grid-note").hidden = left <= 0;
  byId("grid-note").textContent = `The first ${number(PRINTED)} of ${number(order.length)} calls, as sorted and searched on screen.`;
  showRows();
  drawTimeline();
}

function afterPrint() {
  delete document.documentElement.dataset.print;
  for (const one of folded) one.open = false;
  byId("grid-note").hidden = true;
  showRows();
  drawTimeline();
}
