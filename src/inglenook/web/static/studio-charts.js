// SPDX-License-Identifier: Apache-2.0
// Curves as SVG: axes with ticks, a line for each series, a legend, values where the pointer is, and the numbers as a table.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const CHART = { height: 220, left: 52, right: 12, top: 12, bottom: 34 };

function svgPart(name, attributes, text) {
  const part = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) part.setAttribute(key, value);
  if (text !== undefined) part.textContent = text;
  return part;
}

// Round numbers from `low` to `high`, about `count` of them.
function roundTicks(low, high, count = 5) {
  const span = high - low || Math.abs(high) || 1;
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((it) => it * power).find((it) => it >= rough);
  const ticks = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) ticks.push(at * step);
  return ticks;
}

function shortNumber(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(size < 1e-3 ? 1 : 0);
  return String(Number(value.toPrecision(4)));
}

// `series`: [{name, points: [[x, y], …]}]; nothing is drawn where nothing was measured. `band`: [[x, low, high], …]
// around a line, the interval of its values; `guide`: a line to compare with, not something measured.
// `domain` and `range`: what the axes reach from and to, where that is not what was measured.
function drawChart(figure, { title, series, xTitle = "Epoch", format = shortNumber, wholeX = true, domain = null, range = null }) {
  figure.chart = { title, series, xTitle, format, wholeX, domain, range };
  const open = figure.querySelector("details")?.open ?? false;
  const focused = figure.querySelector("svg") === document.activeElement;
  const points = series.filter((one) => !one.guide).flatMap((one) => one.points);
  const caption = document.createElement("figcaption");
  caption.append(Object.assign(document.createElement("strong"), { textContent: title }));
  if (points.length === 0) {
    const nothing = Object.assign(document.createElement("p"), { className: "chart-nothing fine", textContent: "Nothing measured yet." });
    figure.replaceChildren(caption, nothing);
    return;
  }
  caption.append(legendOf(series));
  const picture = chartPicture(figure, points);
  const said = Object.assign(document.createElement("p"), { className: "chart-said fine" });
  said.setAttribute("aria-live", "polite");
  figure.replaceChildren(caption, picture, said, chartTable(figure.chart, open));
  if (focused) picture.focus();
}

function legendOf(series) {
  const legend = Object.assign(document.createElement("span"), { className: "legend" });
  series.forEach((one, at) => {
    const item = Object.assign(document.createElement("span"), { className: `legend-item line-${at % 6}` });
    item.append(svgDash(at, one.guide), document.createTextNode(one.name));
    legend.append(item);
  });
  return legend;
}

function svgDash(at, guide) {
  const dash = svgPart("svg", { width: 22, height: 8, "aria-hidden": "true" });
  dash.append(svgPart("path", { d: "M1 4h20", class: guide ? "guide" : `curve curve-${at % 6}` }));
  return dash;
}

function chartPicture(figure, points) {
  const { title, series, xTitle, format, domain, range } = figure.chart;
  const width = Math.max(260, Math.round(figure.clientWidth) || 480);
  const key = figure.dataset.chart;
  const xs = points.map((it) => it[0]);
  const ys = [...points.map((it) => it[1]), ...series.flatMap((one) => (one.band ?? []).flatMap(([, low, high]) => [low, high]))];
  const [x0, x1] = domain ?? [Math.min(...xs), Math.max(...xs)];
  let [y0, y1] = range ?? [Math.min(...ys), Math.max(...ys)];
  const share = !range && y0 >= 0 && y1 <= 1;
  if (y0 === y1) [y0, y1] = [y0 - (Math.abs(y0) * 0.1 || 0.5), y1 + (Math.abs(y1) * 0.1 || 0.5)];
  if (share) [y0, y1] = [Math.max(0, y0), Math.min(1, y1)];
  const place = {
    x: (x) => CHART.left + (x1 === x0 ? 0.5 : (x - x0) / (x1 - x0)) * (width - CHART.left - CHART.right),
    y: (y) => CHART.top + (1 - (y - y0) / (y1 - y0)) * (CHART.height - CHART.top - CHART.bottom),
  };
  const words = series.filter((one) => one.points.length && !one.guide).map((one) => `${one.name} ${format(one.points.at(-1)[1])}`);
  const svg = svgPart("svg", {
    viewBox: `0 0 ${width} ${CHART.height}`, width, height: CHART.height, role: "img", tabindex: 0,
    "aria-label": `${title}, newest: ${words.join(", ")}. Arrow keys go from value to value; the table below has all.`,
  });
  svg.append(...axes(figure.chart, key, width, place, [x0, x1], [y0, y1]));
  series.forEach((one, at) => svg.append(...band(one, at, key, place)));
  series.forEach((one, at) => svg.append(...curve(one, at, key, place)));
  const mark = svgPart("g", { class: "chart-mark", visibility: "hidden" });
  mark.append(svgPart("line", { y1: CHART.top, y2: CHART.height - CHART.bottom }));
  svg.append(mark);
  followPointer(figure, svg, mark, place, [...new Set(xs)].sort((a, b) => a - b), xTitle);
  return svg;
}

function axes({ xTitle, format, wholeX }, key, width, place, [x0, x1], [y0, y1]) {
  const bottom = CHART.height - CHART.bottom;
  const axisX = svgPart("g", { class: "axis", [`data-training-${key}-axis-x`]: "" });
  axisX.append(svgPart("line", { x1: CHART.left, x2: width - CHART.right, y1: bottom, y2: bottom }));
  axisX.append(svgPart("text", { x: width - CHART.right, y: CHART.height - 3, "text-anchor": "end", class: "axis-title" }, xTitle));
  const axisY = svgPart("g", { class: "axis", [`data-training-${key}-axis-y`]: "" });
  axisY.append(svgPart("line", { x1: CHART.left, x2: CHART.left, y1: CHART.top, y2: bottom }));
  const ticksX = svgPart("g", { class: "ticks", [`data-training-${key}-x-ticks`]: "" });
  const whole = wholeX ? roundTicks(x0, x1, Math.min(8, width / 60)).filter(Number.isInteger) : roundTicks(x0, x1, Math.min(8, width / 60));
  for (const x of whole.length ? whole : [x0]) {
    ticksX.append(svgPart("line", { x1: place.x(x), x2: place.x(x), y1: bottom, y2: bottom + 4 }));
    ticksX.append(svgPart("text", { x: place.x(x), y: bottom + 16, "text-anchor": "middle" }, shortNumber(x)));
  }
  const ticksY = svgPart("g", { class: "ticks", [`data-training-${key}-y-ticks`]: "" });
  for (const y of roundTicks(y0, y1, 4)) {
    ticksY.append(svgPart("line", { class: "grid", x1: CHART.left, x2: width - CHART.right, y1: place.y(y), y2: place.y(y) }));
    ticksY.append(svgPart("text", { x: CHART.left - 6, y: place.y(y) + 4, "text-anchor": "end" }, format(y)));
  }
  return [ticksY, ticksX, axisX, axisY];
}

// Where the values may lie, under the line. A single epoch has an upright stroke.
function band(one, at, key, place) {
  const range = one.band ?? [];
  if (range.length === 0) return [];
  const point = (x, y) => `${place.x(x).toFixed(1)} ${place.y(y).toFixed(1)}`;
  const upper = range.map(([x, , high]) => point(x, high));
  const lower = range.map(([x, low]) => point(x, low)).reverse();
  const path = svgPart("path", { d: `M${[...upper, ...lower].join("L")}Z`, class: `band band-${at % 6}`, "data-points": range.length });
  if (one.hook) path.setAttribute(`data-training-${key}-${one.hook}-band`, "");
  return [path];
}

function curve(one, at, key, place) {
  if (one.points.length === 0) return [];
  const d = one.points.map(([x, y], n) => `${n ? "L" : "M"}${place.x(x).toFixed(1)} ${place.y(y).toFixed(1)}`).join("");
  const hook = one.hook ? { [`data-training-${key}-${one.hook}`]: "" } : {};
  if (one.guide) return [svgPart("path", { d, class: "guide", "data-guide": "" })];
  const parts = [svgPart("path", { d, class: `curve curve-${at % 6}`, "data-points": one.points.length, ...hook })];
  if (one.points.length <= 40) {
    for (const [x, y] of one.points) parts.push(svgPart("circle", { cx: place.x(x).toFixed(1), cy: place.y(y).toFixed(1), r: 2.5, class: `dot dot-${at % 6}` }));
  }
  return parts;
}

function followPointer(figure, svg, mark, place, xs, xTitle) {
  const show = (x) => {
    const { series, format } = figure.chart;
    const values = series.filter((one) => !one.guide).map((one) => [one.name, valueText(one, x, format)]).filter((it) => it[1] !== undefined);
    mark.setAttribute("visibility", "visible");
    mark.firstElementChild.setAttribute("x1", place.x(x));
    mark.firstElementChild.setAttribute("x2", place.x(x));
    figure.querySelector(".chart-said").textContent = `${xTitle} ${shortNumber(x)}: ${values.map(([name, text]) => `${name} ${text}`).join(", ")}`;
  };
  const away = () => {
    mark.setAttribute("visibility", "hidden");
    figure.querySelector(".chart-said").textContent = "";
  };
  let at = xs.length;
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const here = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    show(xs.reduce((best, x) => (Math.abs(place.x(x) - here) < Math.abs(place.x(best) - here) ? x : best), xs[0]));
  });
  svg.addEventListener("pointerleave", away);
  svg.addEventListener("blur", away);
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    at = Math.min(xs.length - 1, Math.max(0, at + step));
    show(xs[at]);
  });
}

// ``0.95 (0.89 to 0.98)``; undefined where nothing was measured.
function valueText(one, x, format) {
  const y = one.points.find((it) => it[0] === x)?.[1];
  const range = one.band?.find((it) => it[0] === x);
  if (y === undefined) return undefined;
  return range ? `${format(y)} (${format(range[1])} to ${format(range[2])})` : format(y);
}

function chartTable({ title, series, xTitle, format }, open) {
  const measured = series.filter((one) => !one.guide);
  const fold = Object.assign(document.createElement("details"), { className: "more", open });
  fold.append(Object.assign(document.createElement("summary"), { textContent: "As a table" }));
  const fill = () => {
    fold.querySelector("div")?.remove();
    const table = Object.assign(document.createElement("table"), { className: "table" });
    table.createCaption().append(Object.assign(document.createElement("span"), { className: "unseen", textContent: title }));
    const head = table.createTHead().insertRow();
    for (const name of [xTitle, ...measured.map((one) => one.name)]) head.append(Object.assign(document.createElement("th"), { scope: "col", textContent: name }));
    const body = table.createTBody();
    for (const x of [...new Set(measured.flatMap((one) => one.points.map((it) => it[0])))].sort((a, b) => a - b)) {
      const row = body.insertRow();
      row.append(Object.assign(document.createElement("th"), { scope: "row", textContent: shortNumber(x) }));
      for (const one of measured) row.insertCell().textContent = valueText(one, x, format) ?? "–";
    }
    const holder = Object.assign(document.createElement("div"), { className: "scroll-x chart-table", tabIndex: 0 });
    holder.setAttribute("role", "region");
    holder.setAttribute("aria-label", `${title}, as a table`);
    holder.append(table);
    fold.append(holder);
  };
  if (open) fill();
  fold.addEventListener("toggle", () => fold.open && fill());
  return fold;
}

// Drawn anew when there is more or less room.
const chartRoom = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    if (!target.chart || Math.round(contentRect.width) === target.drawnWidth) continue;
    target.drawnWidth = Math.round(contentRect.width);
    drawChart(target, target.chart);
  }
});

function watchRoom(root) {
  for (const figure of root.querySelectorAll("figure[data-chart]")) chartRoom.observe(figure);
}
