"use strict";
// The page is whole without this script: it adds a theme switch, filters, sorting, keys, and a reading line in the charts.
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  document.getElementById("theme").addEventListener("click", () => {
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });

  const episodes = [...document.querySelectorAll(".answers .episode")];
  const buttons = [...document.querySelectorAll("[data-show]")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      const kind = button.dataset.show;
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      for (const episode of episodes) episode.hidden = kind !== "all" && episode.dataset.outcome !== kind;
    });
  }

  const sorted = (cell) => {
    const text = cell.dataset.value ?? cell.textContent.replace(/[,%\s]/g, "");
    return text !== "" && !Number.isNaN(Number(text)) ? Number(text) : null;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.ariaSort !== "descending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.ariaSort = down ? "descending" : "ascending";
        const rows = [...table.tBodies[0].rows].map((row) => ({ row, text: row.cells[column].textContent, value: sorted(row.cells[column]) }));
        rows.sort((a, b) => {
          if (a.value === null || b.value === null) {
            if (a.value !== b.value) return a.value === null ? 1 : -1; // what has no figure stands last, whichever way it goes
            return down ? b.text.localeCompare(a.text) : a.text.localeCompare(b.text);
          }
          return down ? b.value - a.value : a.value - b.value;
        });
        table.tBodies[0].append(...rows.map((one) => one.row));
      });
    });
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea") || (event.key !== "j" && event.key !== "k")) return;
    const shown = episodes.filter((episode) => !episode.hidden);
    const here = shown.findLastIndex((episode) => episode.getBoundingClientRect().top < 96);
    const next = shown[event.key === "j" ? here + 1 : here - 1];
    if (next) {
      next.focus({ preventScroll: true });
      next.scrollIntoView({ block: "start" });
    }
  });

  const svg = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  for (const chart of document.querySelectorAll("svg[data-points]")) {
    const points = chart.dataset.points.split(" ").map((text) => text.split("|"))
      .map(([x, y, step, value]) => ({ x: Number(x), y: Number(y), step, value }));
    const line = svg("line", { class: "reading", y1: 10, y2: chart.viewBox.baseVal.height - 22 });
    const dot = svg("circle", { class: "mark", r: 3 });
    const words = svg("text", { class: "told", y: 9 });
    const group = svg("g", { visibility: "hidden" });
    group.append(line, dot, words);
    chart.append(group);
    chart.addEventListener("pointermove", (event) => {
      const box = chart.getBoundingClientRect();
      const wide = chart.viewBox.baseVal.width;
      const at = ((event.clientX - box.left) / box.width) * wide;
      const near = points.reduce((best, point) => (Math.abs(point.x - at) < Math.abs(best.x - at) ? point : best), points[0]);
      for (const side of ["x1", "x2"]) line.setAttribute(side, near.x);
      dot.setAttribute("cx", near.x);
      dot.setAttribute("cy", near.y);
      words.textContent = near.value + " at " + near.step;
      words.setAttribute("x", near.x);
      words.setAttribute("text-anchor", near.x > wide * 0.7 ? "end" : near.x < wide * 0.3 ? "start" : "middle");
      group.setAttribute("visibility", "visible");
    });
    chart.addEventListener("pointerleave", () => group.setAttribute("visibility", "hidden"));
  }
})();
