// A surface over two parameters as bands of colour. It is linear within triangles between places where trials were,
// as the server made them; where no trial was, there is no colour.

import { axis, figure, mixed, shaded } from "./drawing.js";

const BANDS = 9;

export function drawContour(surface, c, chosen) {
  if (!surface.triangles.length) return null;
  const back = (log) => (log ? (value) => 10 ** value : (value) => value);
  const toX = back(surface.x_log), toY = back(surface.y_log), toValue = back(surface.value_log);
  const values = surface.value.map(toValue), colours = shaded(surface.metric, surface.goal, values, c);
  const low = Math.min(...surface.value), high = Math.max(...surface.value), step = (high - low) / BANDS || 1;
  const traces = Array.from({ length: BANDS }, (_v, i) => {
    const [from, to] = [i ? low + i * step : -Infinity, i < BANDS - 1 ? low + (i + 1) * step : Infinity];
    const outline = band(surface, from, to);
    const fill = mixed(colours.colorscale, (i + 0.5) / BANDS);
    return { type: "scatter", mode: "lines", fill: "toself", fillcolor: fill, line: { width: 0, color: fill }, hoverinfo: "skip", showlegend: false, x: outline.map((at) => at && toX(at[0])).map((at) => at ?? null), y: outline.map((at) => at && toY(at[1])).map((at) => at ?? null) };
  }).filter((trace) => trace.x.length);
  traces.push({
    type: "scatter", mode: "markers", x: surface.x.map(toX), y: surface.y.map(toY), showlegend: false,
    text: values.map((value, i) => `${surface.metric} ${figure(value)}${surface.count[i] > 1 ? `, mean of ${surface.count[i]} trials` : ""}\n${surface.x_name} ${figure(toX(surface.x[i]))}\n${surface.y_name} ${figure(toY(surface.y[i]))}`),
    marker: { size: 6, color: colours.shades, colorscale: colours.colorscale, colorbar: colours.colorbar, showscale: true },
  }, {
    type: "scatter", mode: "markers", x: surface.x.map(toX), y: surface.y.map(toY), showlegend: false, hoverinfo: "skip",
    marker: { symbol: "circle-open", size: 6, color: c.panel, line: { width: 1, color: c.panel } },
  });
  const kind = (log) => (log ? { type: "log", exponentformat: "power" } : {});
  return {
    traces,
    layout: { xaxis: axis(c, surface.x_name, kind(surface.x_log)), yaxis: axis(c, surface.y_name, kind(surface.y_log)) },
    note: "Each dot is the mean of the trials around it, over all other parameters; between dots it is linear.",
    choices: [{ name: "x", label: "x", values: surface.names, value: surface.x_name }, { name: "y", label: "y", values: surface.names.filter((name) => name !== surface.x_name), value: surface.y_name }],
    label: `${surface.metric} over ${surface.x_name} and ${surface.y_name}`,
  };
}

/** The part of the surface between two heights: outlines of pieces of triangles, with null between them. */
function band(surface, from, to) {
  const outline = [];
  for (const triangle of surface.triangles) {
    let piece = triangle.map((i) => [surface.x[i], surface.y[i], surface.value[i]]);
    piece = cut(piece, (height) => height - from);
    piece = cut(piece, (height) => to - height);
    if (piece.length > 2) outline.push(...piece, piece[0], null);
  }
  return outline;
}

/** What of a polygon has a height that `above` finds positive (Sutherland and Hodgman's clipping). */
function cut(polygon, above) {
  const kept = [];
  polygon.forEach((here, i) => {
    const before = polygon.at(i - 1), a = above(before[2]), b = above(here[2]);
    if (a < 0 !== b < 0) { const part = a / (a - b); kept.push(before.map((value, k) => value + (here[k] - value) * part)); }
    if (b >= 0) kept.push(here);
  });
  return kept;
}
