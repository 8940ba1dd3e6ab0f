"use strict";
// Elements, tooltips, line charts, the map of features and the matrix of confusions: drawn as SVG.

/// An element with attributes and children; text is never taken for HTML.
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function svgElement(name, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

/// A number for people: four digits, thousands apart.
function format(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 1e7 || (size > 0 && size < 1e-3)) return value.toExponential(2).replace(/\.?0*e\+?/, "e");
  return Number(value.toPrecision(size >= 1000 ? 5 : 4)).toLocaleString("en", { maximumFractionDigits: 6 });
}

/// Multiples of 1, 2 or 5 times a power of ten in [low, high], about `wanted` of them.
function ticks(low, high, wanted, smallest = 0) {
  const rough = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(smallest, power * [1, 2, 5, 10].find((m) => m * power >= rough * 0.7));
  const values = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; ++k) values.push(k * step);
  return values;
}

const tip = document.getElementById("tip");

/// Shows the tooltip beside the pointer, within the window.
function showTip(event, ...content) {
  tip.replaceChildren(...content);
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = event.clientX + 14 + width < innerWidth ? event.clientX + 14 : event.clientX - 14 - width;
  const top = event.clientY + 14 + height < innerHeight ? event.clientY + 14 : event.clientY - 14 - height;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, top)}px`;
}

function hideTip() {
  tip.hidden = true;
}

const redraws = [];
addEventListener("resize", () => redraws.forEach((redraw) => redraw()));

/// An SVG as wide as its container, drawn anew when the window changes.
function drawing(height, draw) {
  const svg = svgElement("svg");
  const redraw = () => {
    const width = svg.getBoundingClientRect().width;
    if (!width) return;
    const size = typeof height === "function" ? height(width) : height;
    svg.setAttribute("height", size);
    svg.replaceChildren();
    draw(svg, width, size);
  };
  redraws.push(redraw);
  return svg;
}

function legend(entries) {
  const list = element("div", { class: "legend" });
  for (const { color, label } of entries)
    list.append(element("span", { title: label }, element("i", { style: `background:${color}` }), label));
  return list;
}

/// The extent of what a chart shows: its curves' means, and the limits that it must show.
function extentOf(spec) {
  const xs = [], ys = [...(spec.include ?? [])];
  for (const { x, mean } of spec.series)
    mean.forEach((value, i) => { if (value !== null) { xs.push(x[i]); ys.push(value); } });
  const bounds = (values) => values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
  let [left, right] = bounds(xs), [low, high] = bounds(ys);
  if (right - left < 1) { left -= 0.5; right += 0.5; }
  const padding = high > low ? 0.06 * (high - low) : Math.max(0.1 * Math.abs(high), 1e-6);
  low = low >= 0 && low < 0.4 * high ? 0 : low - padding;
  return { left, right, low, high: high + padding };
}

/// Grid, ticks and limits of a chart; returns where values lie.
function drawAxes(svg, spec, width, height) {
  const { left, right, low, high } = extentOf(spec);
  const labels = ticks(low, high, 4);
  const margin = 14 + 6.5 * Math.max(...labels.map((tick) => format(tick).length));
  const at = {
    x: (value) => margin + ((value - left) / (right - left)) * (width - margin - 8),
    y: (value) => height - 34 - ((Math.min(high, Math.max(low, value)) - low) / (high - low)) * (height - 42),
    margin,
  };
  for (const tick of labels) {
    svg.append(svgElement("path", { class: "axis", d: `M${margin} ${at.y(tick)}H${width - 8}` }));
    svg.append(svgElement("text", { x: margin - 6, y: at.y(tick) + 4, "text-anchor": "end" }, format(tick)));
  }
  for (const tick of ticks(left, right, width / 90, 1))
    svg.append(svgElement("text", { x: at.x(tick), y: height - 18, "text-anchor": "middle" }, format(tick)));
  svg.append(svgElement("text", { x: (margin + width) / 2, y: height - 3, "text-anchor": "middle" }, spec.xLabel));
  (spec.limits ?? []).forEach(({ value, label, bad }, i) => {
    const kind = bad ? " bad" : "", y = at.y(value);
    if (bad) svg.append(svgElement("rect", { class: "zone", x: margin, y, width: width - margin - 8, height: at.y(low) - y }));
    svg.append(svgElement("path", { class: `limit${kind}`, d: `M${margin} ${y}H${width - 8}` }));
    // Labels stand at the right and at the left in turn, since limits may lie close together.
    const place = i % 2 ? { x: margin + 2 } : { x: width - 10, "text-anchor": "end" };
    svg.append(svgElement("text", { class: `limit-label${kind}`, y: y - 4, ...place }, label));
  });
  return at;
}

/// A curve: its range behind, its mean as a line, few points also as dots.
function drawSeries(svg, { x, mean, low, high, color, dashed }, at) {
  const known = mean.map((value, i) => i).filter((i) => mean[i] !== null);
  const point = (values) => (i) => `${at.x(x[i]).toFixed(1)} ${at.y(values[i]).toFixed(1)}`;
  if (low) {
    const there = known.map(point(high)), back = known.map(point(low)).reverse();
    svg.append(svgElement("path", { class: "band", fill: color, d: `M${[...there, ...back].join("L")}Z` }));
  }
  svg.append(svgElement("path", {
    class: "line", stroke: color, "stroke-dasharray": dashed ? "5 4" : "none", d: `M${known.map(point(mean)).join("L")}`,
  }));
  if (known.length < 40)
    for (const i of known) svg.append(svgElement("circle", { cx: at.x(x[i]), cy: at.y(mean[i]), r: 2.6, fill: color }));
}

/// A cursor at the nearest point of each curve, and its values.
function followPointer(svg, spec, at, height) {
  const cursor = svgElement("path", { class: "cursor", visibility: "hidden" });
  svg.append(cursor);
  svg.onpointermove = (event) => {
    const pixel = event.clientX - svg.getBoundingClientRect().left;
    const nearest = spec.series.map(({ x, mean }) => {
      let best = -1;
      mean.forEach((value, i) => {
        if (value !== null && (best < 0 || Math.abs(at.x(x[i]) - pixel) < Math.abs(at.x(x[best]) - pixel))) best = i;
      });
      return best;
    });
    const distance = (s) => (nearest[s] < 0 ? Infinity : Math.abs(at.x(spec.series[s].x[nearest[s]]) - pixel));
    const closest = spec.series.map((_, s) => s).reduce((a, b) => (distance(b) < distance(a) ? b : a), 0);
    const x = spec.series[closest].x[nearest[closest]];
    cursor.setAttribute("d", `M${at.x(x)} 8V${height - 34}`);
    cursor.setAttribute("visibility", "visible");
    const entries = spec.series.flatMap(({ label, color, mean, low, high }, s) => {
      if (nearest[s] < 0 || Math.abs(at.x(spec.series[s].x[nearest[s]]) - at.x(x)) > 8) return [];
      const i = nearest[s], range = low && low[i] < high[i] ? ` (${format(low[i])} to ${format(high[i])})` : "";
      return [{ color, label: `${label} ${format(mean[i])}${range}` }];
    });
    showTip(event, element("b", {}, `${spec.xLabel} ${format(Math.round(x))}`), legend(entries));
  };
  svg.onpointerleave = () => { hideTip(); cursor.setAttribute("visibility", "hidden"); };
}

/// A figure with curves. spec: title, xLabel, series [{label, color, x, mean, low?, high?}], limits
/// [{value, label, bad}], include [values that the axis must cover], note, empty.
function lineChart(spec) {
  spec.series = spec.series.filter(({ mean }) => mean && mean.some((value) => value !== null));
  const figure = element("figure", { class: "chart" }, element("h3", {}, spec.title));
  if (!spec.series.length) {
    figure.append(element("p", { class: "quiet" }, spec.empty ?? "no data yet"));
    return figure;
  }
  const last = (mean) => format(mean.findLast((value) => value !== null));
  figure.append(legend(spec.series.map(({ label, color, mean }) => ({ color, label: `${label} ${last(mean)}` }))));
  figure.append(drawing(210, (svg, width, height) => {
    const at = drawAxes(svg, spec, width, height);
    for (const series of spec.series) drawSeries(svg, series, at);
    followPointer(svg, spec, at, height);
  }));
  if (spec.note) figure.append(element("figcaption", {}, spec.note));
  return figure;
}

const classColors = ["#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#d4b106", "#b07aa1", "#ff7fa0", "#9c755f", "#8a8f98"];
/// The colour of a class; past ten they come round the colour circle.
function classColor(index, count) {
  return count <= classColors.length ? classColors[index] : `hsl(${(index * 137.5) % 360} 60% 55%)`;
}

/// Names a sheet of pictures by a class, so that its PNG is in the page's styles once.
function nameSheet(sheet, name) {
  document.head.append(element("style", {}, `.${name} { background-image: url(${sheet.png}); }`));
  sheet.name = name;
}

/// Picture `index` of a sheet, `size` pixels wide.
function picture(sheet, index, size, kind = "") {
  const column = index % sheet.columns, row = Math.floor(index / sheet.columns);
  return element("div", {
    class: `picture ${sheet.name} ${kind}`,
    style: `width:${size}px;height:${size}px;background-size:${sheet.columns * size}px auto;` +
      `background-position:${-column * size}px ${-row * size}px`,
  });
}

/// A titled row of pictures, each with what stands under it: [[picture, caption]].
function strip(title, pictures) {
  return element("div", {}, element("b", {}, title), element("div", { class: "strip" },
    ...pictures.map(([shown, caption]) => element("div", { class: "quiet" }, shown, caption))));
}

/// Points in the plane, one an image; the nearest one to the pointer shows its image.
function featureMap({ map, classes, sheet }) {
  const figure = element("figure", { class: "map" }, element("h3", {}, "Map of test images' features"));
  figure.append(legend(classes.map((label, i) => ({ color: classColor(i, classes.length), label }))));
  figure.append(drawing((width) => Math.min(width, 520), (svg, width, height) => {
    const scale = Math.min(width, height) / 2 - 8;
    const x = map.x.map((value) => width / 2 + value * scale), y = map.y.map((value) => height / 2 - value * scale);
    map.labels.forEach((label, i) =>
      svg.append(svgElement("circle", { cx: x[i], cy: y[i], r: 3.4, fill: classColor(label, classes.length), "fill-opacity": 0.85 })));
    const ring = svgElement("circle", { r: 7, fill: "none", stroke: "var(--text)", "stroke-width": 2, visibility: "hidden" });
    svg.append(ring);
    svg.onpointermove = (event) => {
      const box = svg.getBoundingClientRect();
      const distance = (i) => Math.hypot(x[i] - event.clientX + box.left, y[i] - event.clientY + box.top);
      const i = map.labels.map((_, k) => k).reduce((a, b) => (distance(b) < distance(a) ? b : a));
      if (distance(i) > 24) return svg.onpointerleave();
      ring.setAttribute("cx", x[i]);
      ring.setAttribute("cy", y[i]);
      ring.setAttribute("visibility", "visible");
      const right = map.labels[i] === map.predicted[i];
      showTip(event, picture(sheet, i, 96), element("b", {}, classes[map.labels[i]]),
        element("div", { class: "quiet" }, right ? "classified correctly" : `taken for ${classes[map.predicted[i]]}`));
    };
    svg.onpointerleave = () => { hideTip(); ring.setAttribute("visibility", "hidden"); };
  }));
  figure.append(element("figcaption", {}, `t-SNE of ${map.labels.length} test images: images that the encoder finds alike ` +
    "lie together. Islands of one colour mean that it has found the classes, without having seen a label. " +
    "Distances between islands mean little."));
  return figure;
}

/// Rows: the true class; columns: the predicted one.
function confusionMatrix(confusion, classes) {
  const figure = element("figure", { class: "confusion" }, element("h3", {}, "Confusion matrix"));
  const count = classes.length, few = count <= 20;
  figure.append(drawing((width) => Math.min(width, 560), (svg, width, height) => {
    const margin = few ? Math.min(90, width / 4) : 8;
    const cell = (Math.min(width, height) - margin - 2) / count;
    const totals = confusion.map((row) => row.reduce((a, b) => a + b, 0));
    const short = (name) => (name.length > 11 ? name.slice(0, 10) + "…" : name);
    confusion.forEach((row, r) => {
      const y = margin + r * cell;
      if (few) {
        svg.append(svgElement("text", { x: margin - 5, y: y + cell / 2 + 4, "text-anchor": "end" }, short(classes[r])));
        const across = margin + (r + 0.5) * cell + 4;
        svg.append(svgElement("text", { transform: `translate(${across} ${margin - 5}) rotate(-90)` }, short(classes[r])));
      }
      row.forEach((number, c) => {
        const share = totals[r] ? number / totals[r] : 0, x = margin + c * cell;
        const square = svgElement("rect", { x, y, width: cell - 1, height: cell - 1, fill: `rgba(var(--heat), ${0.06 + 0.94 * share})` });
        square.onpointermove = (event) => showTip(event, r === c
          ? `${classes[r]}: ${number} of ${totals[r]} correct (${format(100 * share)} %)`
          : `${classes[r]} taken for ${classes[c]}: ${number} of ${totals[r]} (${format(100 * share)} %)`);
        square.onpointerleave = hideTip;
        svg.append(square);
        if (few && cell > 26 && number)
          svg.append(svgElement("text", { x: x + cell / 2, y: y + cell / 2 + 4, "text-anchor": "middle", "pointer-events": "none",
            style: share > 0.5 ? "fill:var(--card)" : "fill:var(--text)" }, number));
      });
    });
  }));
  figure.append(element("figcaption", {}, "Rows: the true class. Columns: the class that was predicted. " +
    "A good row is dark on the diagonal alone."));
  return figure;
}
