"use strict";
(() => {
  const font = "system-ui, sans-serif";
  const axis = {
    labelColor: "var(--text)", titleColor: "var(--text)", gridColor: "var(--line)",
    domainColor: "var(--muted)", tickColor: "var(--muted)", labelFontSize: 12,
    titleFontSize: 12, titleFontWeight: "normal", titlePadding: 8, labelFont: font,
    titleFont: font,
  };
  const config = {
    background: null, view: {stroke: null}, axis, font,
    legend: {
      orient: "bottom", labelColor: "var(--text)", titleColor: "var(--text)",
      labelFontSize: 12, labelLimit: 150, symbolSize: 90, titleFontWeight: "normal",
      titleFontSize: 12, symbolBaseFillColor: "var(--text)", symbolBaseStrokeColor: "var(--text)",
    },
    point: {stroke: null},
  };
  const options = {
    mode: "vega-lite", renderer: "svg", actions: false, ast: true, defaultStyle: false, config,
    tooltip: {disableDefaultStyle: true},
  };
  const drawn = new Map();

  async function draw(figure, label) {
    const saved = JSON.parse(figure.querySelector("script").textContent);
    const view = saved.views.find((each) => each.label === label) || saved.views[0];
    const spec = saved.spec;
    spec.data = {values: view.rows};
    spec.description = figure.dataset.description + (view.label ? ` (${view.label})` : "");
    if (view.x_title) spec.encoding.x.title = view.x_title;
    if (view.y_title) spec.encoding.y.title = view.y_title;
    drawn.get(figure)?.finalize();
    try {
      drawn.set(figure, await vegaEmbed(figure.querySelector(".chart"), spec, options));
      figure.dataset.drawn = view.label || "yes";
    } catch (error) {
      figure.querySelector(".chart").textContent = `This chart could not be drawn: ${error}`;
    }
  }

  function choose(group, label) {
    for (const part of document.querySelectorAll("[data-choice]")) {
      if (part.dataset.group === group) part.hidden = part.dataset.choice !== label;
    }
    for (const figure of document.querySelectorAll("figure[data-chart]")) {
      if (figure.dataset.group === group) draw(figure, label);
    }
  }

  for (const figure of document.querySelectorAll("figure[data-chart]")) draw(figure, "");
  for (const chooser of document.querySelectorAll("select[data-chooser]")) {
    choose(chooser.dataset.chooser, chooser.value);
    chooser.addEventListener("change", () => choose(chooser.dataset.chooser, chooser.value));
  }

  function key(row, column) {
    const cell = row.cells[column];
    return cell.dataset.sort === undefined ? cell.textContent.trim() : Number(cell.dataset.sort);
  }

  function compare(one, other, up) {
    if (typeof one !== typeof other) {
      return typeof one === "number" ? -1 : 1;  // cells without a number are last in both orders
    }
    return (up ? 1 : -1) * (typeof one === "number" ? one - other : one.localeCompare(other));
  }

  function sort(table, column, heading) {
    const up = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = table.tBodies[0];
    const rows = [...body.rows].sort(
      (one, other) => compare(key(one, column), key(other, column), up)
    );
    body.append(...rows);
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = heading.textContent;
      button.title = `Sort by ${heading.textContent}`;
      heading.replaceChildren(button);
      button.addEventListener("click", () => sort(table, column, heading));
    });
  }
  document.documentElement.dataset.ready = "yes";
})();
