"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  let cameFrom = null;

  // Opens what an id is in, and puts the focus there.
  const open = (id, from) => {
    const body = document.getElementById(id);
    const details = body && body.closest("details");
    if (!details) return false;
    details.open = true;
    cameFrom = from || null;
    const summary = details.querySelector("summary");
    summary.focus({ preventScroll: true });
    details.scrollIntoView({ block: "start" });
    return true;
  };

  const close = (details) => {
    details.open = false;
    const to = cameFrom && cameFrom.isConnected ? cameFrom : details.querySelector("summary");
    cameFrom = null;
    to.focus();
  };

  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest("a[href^='#step-']");
    if (link && open(link.getAttribute("href").slice(1), link)) event.preventDefault();
    const button = event.target.closest && event.target.closest("button[data-open]");
    if (button) all("details.step").forEach((step) => { step.open = button.dataset.open === "all"; });
  });

  // The box of the graph that is nearest in a direction, else none.
  const near = (chart, here, dx, dy) => {
    const centre = (element) => {
      const box = element.getBoundingClientRect();
      return [box.x + box.width / 2, box.y + box.height / 2];
    };
    const [x, y] = centre(here);
    let best = null;
    for (const other of all("a", chart)) {
      if (other === here) continue;
      const [ox, oy] = centre(other);
      const along = (ox - x) * dx + (oy - y) * dy;
      const beside = Math.abs((ox - x) * dy) + Math.abs((oy - y) * dx);
      if (along > 4 && (!best || along + 2 * beside < best.cost)) best = { cost: along + 2 * beside, other };
    }
    return best && best.other;
  };

  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const here = document.activeElement;
    if (event.key === "Escape") {
      const details = here.closest && here.closest("details[open]");
      if (details) { close(details); event.preventDefault(); }
      return;
    }
    const chart = here.closest && here.closest("[data-keys]");
    if (!chart) return;
    const links = all("a", chart);
    const at = links.indexOf(here);
    let to = null;
    if (event.key === "Home") to = links[0];
    else if (event.key === "End") to = links[links.length - 1];
    else if (chart.classList.contains("graph")) {
      const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
      if (!way) return;
      to = near(chart, here, way[0], way[1]);
    } else if (event.key === "ArrowDown" || event.key === "ArrowRight") to = links[at + 1];
    else if (event.key === "ArrowUp" || event.key === "ArrowLeft") to = links[at - 1];
    else return;
    event.preventDefault();
    if (to) { to.focus(); to.scrollIntoView({ block: "nearest", inline: "nearest" }); }
  });

  addEventListener("beforeprint", () => all("details").forEach((details) => { details.open = true; }));
  addEventListener("hashchange", () => open(location.hash.slice(1)));
  all(".tools").forEach((tools) => { tools.hidden = false; });
  if (location.hash.startsWith("#step-")) open(location.hash.slice(1));
})();
