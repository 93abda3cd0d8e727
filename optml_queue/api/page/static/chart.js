// Plots as SVG, drawn in some milliseconds. A plot is told in plotly's words, traces and layout, as far as figures.js
// uses them, so that plotly.js can draw the same one where somebody looks closer (zoom.js); texts are plain here.

import { mixed } from "./drawing.js";
import { scaled } from "./scales.js";

const SVG = "http://www.w3.org/2000/svg";
const SMALL = "11.5px system-ui, 'DejaVu Sans', sans-serif", NORMAL = "12.5px system-ui, 'DejaVu Sans', sans-serif";
const NEAR = 14; // pixels from a mark at which it is meant
const LINE = 18; // the height of a legend's line
const MARKS = {
  circle: (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`,
  diamond: (x, y, r) => `M${x} ${y - r}l${r} ${r}l${-r} ${r}l${-r} ${-r}z`,
  "triangle-up": (x, y, r) => `M${x} ${y - r}l${r} ${1.8 * r}h${-2 * r}z`,
  "x-thin": (x, y, r) => `M${x - r} ${y - r}l${2 * r} ${2 * r}m0 ${-2 * r}l${-2 * r} ${2 * r}`,
};
const STEPS = { linear: (x, y) => `L${x} ${y}`, hv: (x, y) => `H${x}V${y}`, vh: (x, y) => `V${y}H${x}` };

let pen = null;
function widthOf(text, font = SMALL) {
  pen ??= document.createElement("canvas").getContext("2d");
  pen.font = font;
  return pen.measureText(text).width;
}

function add(parent, name, attributes = {}, text = null) {
  const made = document.createElementNS(SVG, name);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  if (text !== null) made.textContent = text;
  parent.append(made);
  return made;
}

const round = (pixels) => Math.round(pixels * 10) / 10;
const axisOf = (layout, id) => layout[id.replace(/^([xy])/, "$1axis")];

/** Draw a plot into an element, in place of what was there. `hits` are the places that say something. */
export function chart(area, { traces, layout }, c, open) {
  const width = area.clientWidth, height = area.clientHeight;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("width", width);
  svg.setAttribute("height", height);
  svg.setAttribute("aria-hidden", "true");
  const hits = [];
  const bar = traces.map((trace) => trace.marker?.showscale ? trace.marker : trace.showscale ? trace : null).find(Boolean);
  const legend = layout.showlegend ? listed(traces, width) : { items: [], height: 0 };
  const frame = framed(traces, layout, width, height, legend.height, bar);
  const axes = placed(traces, layout, frame, c, svg);
  const plot = add(svg, "g", { class: "marks" });
  for (const trace of traces) {
    const x = axes[trace.xaxis ?? "x"], y = axes[trace.yaxis ?? "y"];
    if (trace.type === "bar") bars(plot, trace, x, y, hits);
    else if (trace.type === "heatmap") cells(plot, trace, x, y, c, hits);
    else scatter(plot, trace, x, y, hits);
  }
  for (const note of layout.annotations ?? []) add(plot, "text", { x: axes.x.at(note.x), y: axes.y.at(note.y) + 5, "text-anchor": "middle", fill: note.font.color, "font-size": note.font.size }, note.text);
  named(svg, legend, frame, c);
  if (bar) scaleBar(svg, bar, frame, c);
  area.querySelector("svg")?.remove();
  area.append(svg);
  wire(area, hits, open);
}

/** The ends of the plot's inside, with room for what is written around it. */
function framed(traces, layout, width, height, above, bar) {
  const labels = [];
  for (const id of idsOf(traces, "y")) {
    const axis = axisOf(layout, id), along = valuesOf(traces, id, "y");
    labels.push(...scaled(axis, along, [height, 0], { between: 34 }).ticks.map((tick) => widthOf(tick.text)));
  }
  const title = axisOf(layout, "y")?.title?.text;
  const left = Math.min(width * 0.4, Math.max(0, ...labels) + 12 + (title ? 20 : 4));
  const right = width - (bar ? 74 : 16);
  return { left, right, top: 8 + above, bottom: height - (layout.xaxis?.title?.text ? 46 : 28), width };
}

const idsOf = (traces, side) => [...new Set(traces.map((trace) => trace[`${side}axis`] ?? side))];

function valuesOf(traces, id, side) {
  const found = [];
  for (const trace of traces) {
    if ((trace[`${side}axis`] ?? side) !== id) continue;
    const own = trace[side], spread = side === "y" ? trace.error_y?.array : null;
    for (let i = 0; i < own.length; i += 1) {
      found.push(own[i]);
      if (spread) found.push(own[i] + spread[i], own[i] - spread[i]);
      if (trace.type === "bar" && side === "x" && trace.base) found[found.length - 1] = trace.base[i], found.push(trace.base[i] + own[i]);
    }
    if (trace.type === "bar" && trace.width && side === "x") found.push(own[0] - trace.width[0] / 2, own.at(-1) + trace.width.at(-1) / 2);
    if (trace.type === "heatmap") found.push(-0.5, own.length - 0.5);
  }
  return found;
}

function placed(traces, layout, frame, c, svg) {
  const axes = {}, inside = { x: frame.right - frame.left, y: frame.bottom - frame.top };
  const isDense = traces.some((trace) => trace.type === "heatmap");
  for (const id of idsOf(traces, "y")) {
    const axis = axisOf(layout, id), [from, to] = axis.domain ?? [0, 1];
    const ends = [frame.bottom - from * inside.y, frame.bottom - to * inside.y];
    axes[id] = { ...scaled(axis, valuesOf(traces, id, "y"), ends, { between: axis.type === "category" ? 13 : 34, pad: isDense ? 0 : 0.05 }), ends, axis };
    for (const tick of axes[id].ticks) {
      if (!axis.plain) add(svg, "path", { d: `M${frame.left} ${round(tick.at)}H${frame.right}`, stroke: c.line });
      write(svg, tick.text, frame.left - 7, tick.at + 4, "end", c.soft);
    }
    if (axis.title?.text) {
      const middle = (ends[0] + ends[1]) / 2;
      add(svg, "text", { x: 0, y: 0, transform: `translate(13 ${round(middle)}) rotate(-90)`, "text-anchor": "middle", fill: c.soft, "font-size": 12.5 }, fitted(axis.title.text, Math.abs(ends[0] - ends[1]) + 30));
    }
  }
  for (const id of idsOf(traces, "x")) {
    const axis = axisOf(layout, id), [from, to] = axis.domain ?? [0, 1];
    const ends = [frame.left + from * inside.x, frame.left + to * inside.x];
    const values = valuesOf(traces, id, "x");
    const longest = axis.type === "category" || axis.ticktext ? Math.max(30, ...(axis.ticktext ?? axis.categoryarray ?? values.map(String)).map((text) => widthOf(text) + 10)) : 62;
    axes[id] = { ...scaled(axis, values, ends, { between: Math.min(longest, 140), pad: isDense ? 0 : 0.04 }), ends, axis };
    for (const tick of axes[id].ticks) {
      if (!axis.plain) add(svg, "path", { d: `M${round(tick.at)} ${frame.top}V${frame.bottom}`, stroke: c.line });
      write(svg, fitted(tick.text, 140), tick.at, frame.bottom + 16, "middle", c.soft);
    }
    if (axis.title?.text) write(svg, fitted(axis.title.text, ends[1] - ends[0] + 20), (ends[0] + ends[1]) / 2, frame.bottom + 36, "middle", c.soft, 12.5);
  }
  return axes;
}

function write(parent, text, x, y, anchor, fill, size = 11.5) {
  return add(parent, "text", { x: round(x), y: round(y), "text-anchor": anchor, fill, "font-size": size }, text);
}

function fitted(text, width) {
  if (widthOf(text, NORMAL) <= width) return text;
  let length = text.length;
  while (length > 1 && widthOf(`${text.slice(0, length)}…`, NORMAL) > width) length -= 1;
  return `${text.slice(0, length)}…`;
}

// Lines and marks

function scatter(plot, trace, x, y, hits) {
  const places = trace.x.map((value, i) => {
    const across = value === null ? undefined : x.at(value), up = trace.y[i] === null ? undefined : y.at(trace.y[i]);
    return Number.isFinite(across) && Number.isFinite(up) ? [round(across), round(up)] : null;
  });
  const mode = trace.mode ?? "lines";
  if (mode.includes("lines") || trace.fill) path(plot, trace, places);
  if (trace.error_y) spread(plot, trace, places, y);
  if (mode.includes("markers")) marks(plot, trace, places);
  if (trace.hoverinfo === "skip") return;
  places.forEach((place, i) => { if (place) hits.push({ x: place[0], y: place[1], text: trace.text?.[i], number: trace.customdata?.[i] }); });
}

function path(plot, trace, places) {
  const steps = [];
  let before = null;
  for (const place of places) {
    if (place) steps.push(before ? STEPS[trace.line?.shape ?? "linear"](...place) : `M${place[0]} ${place[1]}`);
    else if (trace.fill && before) steps.push("Z");
    before = place;
  }
  const dash = { dot: "2 4", dash: "7 5" }[trace.line?.dash];
  const stroke = trace.fill ? { fill: trace.fillcolor, stroke: trace.fillcolor, "stroke-width": 0.8 } : { fill: "none", stroke: trace.line?.color, "stroke-width": trace.line?.width ?? 2, "stroke-linejoin": "round", ...(dash ? { "stroke-dasharray": dash } : {}) };
  add(plot, "path", { d: steps.join(""), ...stroke, opacity: trace.opacity ?? 1 });
}

function spread(plot, trace, places, y) {
  const steps = places.flatMap((place, i) => {
    if (!place || !trace.error_y.array[i]) return [];
    const [low, high] = [-1, 1].map((sign) => y.at(trace.y[i] + sign * trace.error_y.array[i])).map((at) => (Number.isFinite(at) ? round(at) : y.ends[0]));
    return [`M${place[0]} ${low}V${high}m-3 0h6M${place[0] - 3} ${low}h6`];
  });
  add(plot, "path", { d: steps.join(""), stroke: trace.error_y.color, "stroke-width": trace.error_y.thickness ?? 1.2 });
}

function marks(plot, trace, places) {
  const marker = trace.marker ?? {}, symbol = marker.symbol ?? "circle";
  const shape = MARKS[symbol.replace("-open", "")], isHollow = symbol.endsWith("-open") || symbol.endsWith("-thin");
  const single = Array.isArray(marker.color) ? null : marker.color ?? trace.line?.color;
  const shade = single === null ? shader(marker) : null;
  const paint = isHollow ? { fill: "none", "stroke-width": marker.line?.width ?? 1.5, ...(single ? { stroke: single } : {}) } : single ? { fill: single, "fill-opacity": marker.opacity ?? 1 } : { "fill-opacity": marker.opacity ?? 1 };
  const group = add(plot, "g", paint), r = (marker.size ?? 6) / 2;
  places.forEach((place, i) => { if (place) add(group, "path", { d: shape(place[0], place[1], r), ...(shade ? { fill: shade(marker.color[i]) } : {}) }); });
}

// Bars and cells

function bars(plot, trace, x, y, hits) {
  const isLying = trace.orientation === "h", colours = trace.marker.color;
  const group = add(plot, "g", { "fill-opacity": trace.marker.opacity ?? 1 });
  trace.x.forEach((value, i) => {
    const box = isLying
      ? { left: x.at(trace.base?.[i] ?? 0), right: x.at((trace.base?.[i] ?? 0) + value), top: y.at(trace.y[i]) - y.band * 0.33, bottom: y.at(trace.y[i]) + y.band * 0.33 }
      : { left: x.at(value - trace.width[i] / 2), right: x.at(value + trace.width[i] / 2), top: y.at(trace.y[i]), bottom: y.at(0) };
    add(group, "rect", { x: round(box.left), y: round(box.top), width: round(Math.max(box.right - box.left, 0.8)), height: round(Math.max(box.bottom - box.top, 0)), fill: colours });
    if (trace.textposition === "outside") write(plot, trace.text[i], box.right + 6, (box.top + box.bottom) / 2 + 4, "start", trace.textfont.color, 12.5);
    hits.push({ box, text: trace.hovertext?.[i] ?? trace.text?.[i], number: trace.customdata?.[i] });
  });
}

function cells(plot, trace, x, y, c, hits) {
  const shade = shader({ ...trace, color: trace.z.flat() });
  const wide = Math.abs(x.at(1) - x.at(0)), high = Math.abs(y.at(1) - y.at(0)), gap = wide > 6 && high > 6 ? 0.5 : -0.25;
  trace.z.forEach((line, j) => line.forEach((value, i) => {
    const box = { left: x.at(i) - wide / 2 + gap, right: x.at(i) + wide / 2 - gap, top: y.at(j) - high / 2 + gap, bottom: y.at(j) + high / 2 - gap };
    const fill = value === null ? null : shade(value);
    if (fill) add(plot, "rect", { x: round(box.left), y: round(box.top), width: round(box.right - box.left), height: round(box.bottom - box.top), fill });
    const text = trace.text?.[j][i];
    if (fill && text && widthOf(text) < wide - 4) write(plot, text, x.at(i), y.at(j) + 4, "middle", isPale(fill) ? "#18202a" : "#ffffff");
    hits.push({ box, text: trace.hovertext[j][i], number: trace.customdata?.[j][i] });
  }));
}

// Colours

/** From a value to its colour along a scale. */
function shader({ color, colorscale }) {
  let low = Infinity, high = -Infinity;
  for (const value of color) if (value !== null) { low = Math.min(low, value); high = Math.max(high, value); }
  return (value) => mixed(colorscale, high > low ? (value - low) / (high - low) : 0.5);
}

function isPale(rgb) {
  const [red, green, blue] = rgb.match(/\d+/g).map(Number);
  return 0.299 * red + 0.587 * green + 0.114 * blue > 140;
}

function scaleBar(svg, { colorscale, colorbar }, frame, c) {
  const left = frame.right + 14, tall = frame.bottom - frame.top - 16, top = frame.top + 16, slices = 40;
  for (let i = 0; i < slices; i += 1) add(svg, "rect", { x: left, y: round(top + (tall * i) / slices), width: 10, height: round(tall / slices + 0.6), fill: mixed(colorscale, 1 - (i + 0.5) / slices) });
  colorbar.ticktext.forEach((text, i) => write(svg, text, left + 14, top + tall * (1 - i / Math.max(colorbar.ticktext.length - 1, 1)) + 4, "start", c.soft, 11));
  write(svg, fitted(colorbar.title.text, 74), frame.width - 2, frame.top + 6, "end", c.soft, 11);
}

// The legend

function listed(traces, width) {
  const items = [];
  let x = 0, line = 0;
  for (const trace of traces) {
    if (trace.showlegend === false || !trace.name) continue;
    const text = fitted(trace.name, 170), wide = widthOf(text, NORMAL) + 38;
    if (x && x + wide > width - 40) { x = 0; line += 1; }
    items.push({ trace, text, x, line });
    x += wide;
  }
  return { items, height: items.length ? (line + 1) * LINE + 6 : 0 };
}

function named(svg, legend, frame, c) {
  for (const { trace, text, x, line } of legend.items) {
    const left = frame.left + x, middle = 10 + line * LINE;
    const colour = trace.fillcolor ?? (Array.isArray(trace.marker?.color) ? c.soft : trace.marker?.color) ?? trace.line?.color ?? c.soft;
    if (trace.type === "bar" || trace.fill) add(svg, "rect", { x: left, y: middle - 5, width: 14, height: 10, fill: colour });
    else {
      if (trace.mode?.includes("lines")) path(svg, trace, [[left, middle], [left + 20, middle]]);
      if (trace.mode?.includes("markers")) marks(svg, { ...trace, marker: { ...trace.marker, color: colour, size: Math.min(trace.marker?.size ?? 6, 11) } }, [[left + 10, middle]]);
    }
    write(svg, text, left + 25, middle + 4, "start", c.soft, 12);
  }
}

// What the pointer is at

function wire(area, hits, open) {
  area.hits = hits;
  if (area.wired) return;
  area.wired = true;
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true");
  area.append(tip);
  const at = (event) => {
    const box = area.getBoundingClientRect();
    return near(area.hits, event.clientX - box.left, event.clientY - box.top);
  };
  const leave = () => { tip.hidden = true; area.classList.remove("leads"); };
  area.addEventListener("pointermove", (event) => {
    const hit = at(event);
    if (!hit?.text) { leave(); return; }
    tip.textContent = hit.text;
    tip.hidden = false;
    area.classList.toggle("leads", leads(hit));
    const x = hit.box ? (hit.box.left + hit.box.right) / 2 : hit.x, y = hit.box ? hit.box.top : hit.y;
    tip.style.left = `${Math.max(0, Math.min(x + 12, area.clientWidth - tip.offsetWidth))}px`;
    tip.style.top = `${Math.max(0, y - tip.offsetHeight - 8)}px`;
  });
  area.addEventListener("pointerleave", leave);
  area.addEventListener("click", (event) => { const hit = at(event); if (hit && leads(hit)) open(hit.number); });
}

const leads = (hit) => hit.number !== undefined && hit.number !== null;

function near(hits, x, y) {
  let found = null, least = NEAR ** 2;
  for (const hit of hits) {
    if (hit.box) {
      if (x >= hit.box.left && x <= hit.box.right && y >= hit.box.top && y <= hit.box.bottom) found ??= hit;
      continue;
    }
    const distance = (hit.x - x) ** 2 + (hit.y - y) ** 2;
    if (distance < least) { least = distance; found = hit; }
  }
  return found;
}
