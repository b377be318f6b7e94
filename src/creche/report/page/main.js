// What happens when the page has come: build the parts, listen.

if (count) {
  buildGrid();
  arrange();
  buildTimeline();
  buildGraph();
  byId("search").addEventListener("input", everyFrame(arrange));
  byId("state").addEventListener("change", arrange);
  byId("only-critical").addEventListener("change", arrange);
  byId("call-close").addEventListener("click", closePanel);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") closePanel(); });
  addEventListener("hashchange", followAddress);
  addEventListener("beforeprint", beforePrint);
  addEventListener("afterprint", afterPrint);
  followAddress();
}
