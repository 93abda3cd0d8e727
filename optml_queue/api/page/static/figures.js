// What each plot shows. `draw` gets the data of its route and the choices made above it, and returns plotly's traces
// and layout, or null when the data have nothing of the kind.

import { SCALE, SCALE_DARK, SERIES, axis, figure, layout, plain, spansDecades } from "./drawing.js";

const key = (value) => JSON.stringify(value);
const isNumber = (value) => typeof value === "number";
const FEW = 10;
const ERROR_MARKS = 900, LOST_MARKS = 300, SLICE_MARKS = 1200, BARS = 900; // what plotly draws in well under 0.2 s

/** The parameters that take several values, those with most numbers first. */
export function varied(points) {
  const counted = Object.entries(points.parameters).map(([name, values]) => {
    const known = values.filter((value) => value !== null);
    const distinct = new Set(known.map(key)).size;
    return { name, distinct, numeric: known.every(isNumber) };
  });
  return counted.filter((each) => each.distinct > 1).sort((a, b) => b.numeric - a.numeric || b.distinct - a.distinct);
}

function sorted(values) {
  const distinct = [...new Map(values.filter((value) => value !== null).map((value) => [key(value), value])).values()];
  return distinct.sort((a, b) => (isNumber(a) && isNumber(b) ? a - b : Array.isArray(a) && Array.isArray(b) ? total(a) - total(b) : String(a).localeCompare(String(b))));
}
const total = (list) => list.reduce((sum, item) => sum + (isNumber(item) ? item : 0), 0);

/** An axis for a parameter, and where a value stands on it: numbers at their size, all else side by side. */
function scale(points, name, c) {
  const values = points.parameters[name];
  const known = values.filter((value) => value !== null);
  if (known.every(isNumber)) {
    const log = spansDecades(known);
    const distinct = sorted(known);
    const ticks = !log && distinct.length <= FEW ? { tickvals: distinct, ticktext: distinct.map(figure) } : {};
    return { axis: axis(c, name, log ? { type: "log", dtick: 1, exponentformat: "power" } : ticks), place: (value) => value };
  }
  const distinct = sorted(known);
  return { axis: axis(c, name, { type: "category", categoryorder: "array", categoryarray: distinct.map((value) => plain(figure(value))) }), place: (value) => (value === null ? null : plain(figure(value))) };
}

const better = (points, a, b) => (points.goal === "minimize" ? a < b : a > b);

export function bestRow(points) {
  let best = -1;
  points.value.forEach((value, row) => {
    if (points.state[row] === "complete" && value !== null && (best < 0 || better(points, value, points.value[best]))) best = row;
  });
  return best;
}

/** Every so many of some rows, so that drawing never holds the browser; the best and the worst stay. */
function thinned(points, rows, most) {
  if (rows.length <= most) return rows;
  const ranked = [...rows].sort((a, b) => points.value[a] - points.value[b]);
  const kept = new Set([ranked[0], ranked.at(-1)]);
  for (let i = 0; i < most; i += 1) kept.add(rows[Math.floor((i * rows.length) / most)]);
  return rows.filter((row) => kept.has(row));
}

function hover(points, row, names) {
  const lines = names.map((name) => `${plain(name)} ${plain(figure(points.parameters[name][row]))}`);
  const value = points.value[row] === null ? points.state[row] : `${plain(points.metric)} <b>${figure(points.value[row])}</b>`;
  return [value, ...lines, `trial ${points.number[row]}`].join("<br>");
}

/** Rows of complete trials by x and series: the mean over what else differs in nothing but the seed. */
function groups(points, x, series, only) {
  const found = new Map();
  points.value.forEach((value, row) => {
    if (points.state[row] !== "complete" || value === null || points.parameters[x][row] === null) return;
    const mark = key([points.parameters[x][row], series ? points.parameters[series][row] : null, only ? null : row]);
    found.set(mark, [...(found.get(mark) ?? []), row]);
  });
  return [...found.values()];
}

function drawError(points, c, chosen) {
  const names = varied(points).map((each) => each.name);
  const x = chosen.x ?? names[0];
  if (!x) return null;
  const series = chosen.colour === "" ? "" : chosen.colour ?? (names.find((name) => name !== x && sorted(points.parameters[name]).length <= FEW) ?? "");
  const { axis: xaxis, place } = scale(points, x, c);
  const explained = names.every((name) => name === x || name === series);
  const complete = points.value.filter((value, row) => value !== null && points.state[row] === "complete");
  const log = spansDecades(complete, 10);
  const labels = series ? sorted(points.parameters[series]) : [null];
  const byLabel = new Map(labels.map((label) => [key(label), []]));
  for (const rows of groups(points, x, series, explained)) {
    const values = rows.map((row) => points.value[row]);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const sd = values.length > 1 ? Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1)) : 0;
    byLabel.get(key(series ? points.parameters[series][rows[0]] : null))?.push({ at: place(points.parameters[x][rows[0]]), raw: points.parameters[x][rows[0]], mean, sd, row: rows[0] });
  }
  const traces = labels.map((label, i) => {
    const all = byLabel.get(key(label)).sort((a, b) => (isNumber(a.raw) && isNumber(b.raw) ? a.raw - b.raw : 0));
    const drawn = new Set(thinned(points, all.map((each) => each.row), Math.floor(ERROR_MARKS / labels.length)));
    const places = all.filter((each) => drawn.has(each.row));
    const colour = SERIES[i % SERIES.length];
    const spread = explained && places.some((each) => each.sd > 0);
    return {
      type: "scatter", mode: explained ? "lines+markers" : "markers", name: series ? plain(`${series} ${figure(label)}`) : plain(points.metric),
      x: places.map((each) => each.at), y: places.map((each) => each.mean), customdata: places.map((each) => points.number[each.row]),
      text: places.map((each) => hover(points, each.row, names)), hovertemplate: "%{text}<extra></extra>",
      line: { color: colour, width: 1.6 }, marker: { color: colour, size: explained ? 7 : 5, opacity: explained ? 1 : 0.65 },
      ...(spread ? { error_y: { array: places.map((each) => each.sd), color: colour, thickness: 1.2, width: 3 } } : {}),
    };
  }).filter((trace) => trace.x.length);
  if (!explained) traces.push(...traces.map((trace, i) => envelope(trace, i, points)).filter(Boolean));
  const best = bestRow(points);
  if (best >= 0 && points.parameters[x][best] !== null) {
    const own = groups(points, x, series, explained).find((rows) => rows.includes(best)) ?? [best];
    const height = own.reduce((sum, row) => sum + points.value[row], 0) / own.length;
    traces.push({ type: "scatter", mode: "markers", name: "best", x: [place(points.parameters[x][best])], y: [height], customdata: [points.number[best]], text: [hover(points, best, names)], hovertemplate: "best: %{text}<extra></extra>", marker: { symbol: "circle-open", size: 17, color: c.best, line: { width: 2.5 } } });
  }
  const lost = ["diverged", "failed"].filter((state) => points.state.includes(state));
  for (const state of lost) {
    const rows = thinned(points, points.state.flatMap((each, row) => (each === state && points.parameters[x][row] !== null ? [row] : [])), LOST_MARKS);
    traces.push({ type: "scatter", mode: "markers", name: state, yaxis: "y2", showlegend: false, x: rows.map((row) => place(points.parameters[x][row])), y: rows.map(() => state), customdata: rows.map((row) => points.number[row]), text: rows.map((row) => hover(points, row, names)), hovertemplate: "%{text}<extra></extra>", marker: { symbol: state === "diverged" ? "triangle-up-open" : "x-thin", size: 9, color: c[state], line: { width: 2, color: c[state] } } });
  }
  const strip = 0.08 * lost.length;
  return {
    traces,
    layout: layout(c, {
      xaxis: { ...xaxis, anchor: "y" }, yaxis: axis(c, points.metric, { ...(log ? { type: "log", exponentformat: "power" } : {}), domain: [0, 1 - strip - (lost.length ? 0.02 : 0)] }),
      ...(lost.length ? { yaxis2: { domain: [1 - strip, 1], type: "category", categoryarray: lost, color: c.soft, gridcolor: "rgba(0,0,0,0)", automargin: true, range: [-0.6, lost.length - 0.4], tickfont: { size: 11.5 } } } : {}),
      showlegend: Boolean(series) || traces.length > 1,
    }),
    note: explained ? "" : "The lines go through the best at each x; the other parameters differ.",
    choices: [
      { name: "x", label: "x", values: names, value: x },
      ...(names.length > 1 ? [{ name: "colour", label: "colour", values: ["", ...names.filter((name) => name !== x && sorted(points.parameters[name]).length <= FEW)], value: series }] : []),
    ],
    label: `${points.metric} over ${x}`,
  };
}

/** Where other parameters play a part too: a line through the best at each x. */
function envelope(trace, i, points) {
  const found = new Map();
  trace.x.forEach((at, k) => { if (!found.has(at) || better(points, trace.y[k], found.get(at))) found.set(at, trace.y[k]); });
  if (found.size < 2 || found.size > 60 || found.size === trace.x.length) return null;
  return { type: "scatter", mode: "lines", x: [...found.keys()], y: [...found.values()], line: { color: trace.line.color, width: 1.6 }, opacity: 0.8, hoverinfo: "skip", showlegend: false };
}

function drawMap(points, c, chosen) {
  const names = varied(points).map((each) => each.name);
  if (names.length < 2) return null;
  const x = chosen.x ?? names[0];
  const y = chosen.y && chosen.y !== x ? chosen.y : names.find((name) => name !== x);
  const xs = sorted(points.parameters[x]), ys = sorted(points.parameters[y]);
  if (xs.length > 60 || ys.length > 60) return drawScatterMap(points, c, names, x, y);
  const xAt = new Map(xs.map((value, i) => [key(value), i])), yAt = new Map(ys.map((value, i) => [key(value), i]));
  const cells = ys.map(() => xs.map(() => null)), lost = ys.map(() => xs.map(() => "")), numbers = ys.map(() => xs.map(() => null));
  points.value.forEach((value, row) => {
    const i = xAt.get(key(points.parameters[x][row])), j = yAt.get(key(points.parameters[y][row]));
    if (i === undefined || j === undefined) return;
    if (value === null || points.state[row] !== "complete") lost[j][i] = points.state[row] === "failed" ? "+" : "×";
    else if (cells[j][i] === null || better(points, value, cells[j][i])) { cells[j][i] = value; numbers[j][i] = points.number[row]; }
  });
  const known = cells.flat().filter((value) => value !== null);
  const log = spansDecades(known, 10);
  const shown = cells.map((line) => line.map((value) => (value === null ? null : log ? Math.log10(value) : value)));
  const few = xs.length * ys.length <= 120;
  const text = cells.map((line, j) => line.map((value, i) => (value === null ? lost[j][i] : few ? figure(Number(value.toPrecision(3))) : "")));
  const word = cells.map((line, j) => line.map((value, i) => (value === null ? (lost[j][i] ? "no figure: diverged or failed" : "not tried") : `${plain(points.metric)} <b>${figure(value)}</b>`)));
  const named = (name, values) => axis(c, name, { type: "category", tickvals: values.map((_v, i) => i), ticktext: values.map((value) => plain(figure(value))), gridcolor: "rgba(0,0,0,0)" });
  return {
    traces: [{
      type: "heatmap", z: shown, x: xs.map((_v, i) => i), y: ys.map((_v, i) => i), text, texttemplate: "%{text}", textfont: { size: 11.5 }, customdata: numbers, hovertext: word, hoverinfo: "text",
      colorscale: points.goal === "minimize" ? SCALE : SCALE_DARK, showscale: !few, xgap: 1, ygap: 1, hoverongaps: false,
      colorbar: { thickness: 10, tickfont: { color: c.soft, size: 11 }, outlinewidth: 0, title: { text: plain(log ? `log10 ${points.metric}` : points.metric), font: { size: 11, color: c.soft } } },
    }],
    layout: layout(c, { xaxis: named(x, xs), yaxis: named(y, ys), annotations: lost.flatMap((line, j) => line.flatMap((mark, i) => (mark && cells[j][i] === null ? [{ x: i, y: j, text: mark, showarrow: false, font: { size: 15, color: c[mark === "+" ? "failed" : "diverged"] } }] : []))).slice(0, 400) }),
    choices: [{ name: "x", label: "x", values: names, value: x }, { name: "y", label: "y", values: names.filter((name) => name !== x), value: y }],
    note: names.length > 2 ? `Each cell is the best over all other parameters. × diverged, + failed.` : "× diverged, + failed.",
    label: `${points.metric} over ${x} and ${y}`,
  };
}

function drawScatterMap(points, c, names, x, y) {
  const rows = points.value.flatMap((value, row) => (value !== null && points.parameters[x][row] !== null && points.parameters[y][row] !== null ? [row] : []));
  const log = spansDecades(rows.map((row) => points.value[row]), 10);
  const xs = scale(points, x, c), ys = scale(points, y, c);
  return {
    traces: [{
      type: "scatter", mode: "markers", x: rows.map((row) => xs.place(points.parameters[x][row])), y: rows.map((row) => ys.place(points.parameters[y][row])), customdata: rows.map((row) => points.number[row]),
      text: rows.map((row) => hover(points, row, names)), hovertemplate: "%{text}<extra></extra>",
      marker: { size: 6, color: rows.map((row) => (log ? Math.log10(points.value[row]) : points.value[row])), colorscale: points.goal === "minimize" ? SCALE : SCALE_DARK, showscale: true, colorbar: { thickness: 10, outlinewidth: 0, tickfont: { color: c.soft, size: 11 }, title: { text: plain(log ? `log10 ${points.metric}` : points.metric), font: { size: 11, color: c.soft } } } },
    }],
    layout: layout(c, { xaxis: xs.axis, yaxis: ys.axis }),
    choices: [{ name: "x", label: "x", values: names, value: x }, { name: "y", label: "y", values: names.filter((name) => name !== x), value: y }],
    label: `${points.metric} over ${x} and ${y}`,
  };
}

function drawSlices(points, c) {
  const names = varied(points).map((each) => each.name).slice(0, 6);
  if (names.length < 2) return null;
  const rows = points.value.flatMap((value, row) => (value !== null && points.state[row] === "complete" ? [row] : []));
  if (!rows.length) return null;
  const log = spansDecades(rows.map((row) => points.value[row]), 10);
  const best = bestRow(points), shown = thinned(points, rows, Math.floor(SLICE_MARKS / names.length)), gap = 0.03, width = (1 - gap * (names.length - 1)) / names.length;
  const axes = {}, traces = [];
  names.forEach((name, i) => {
    const own = scale(points, name, c), suffix = i ? i + 1 : "";
    axes[`xaxis${suffix}`] = { ...own.axis, domain: [i * (width + gap), i * (width + gap) + width], nticks: 4 };
    const known = shown.filter((row) => points.parameters[name][row] !== null);
    const marks = (chosen, marker) => traces.push({ type: "scatter", mode: "markers", xaxis: `x${suffix}`, x: chosen.map((row) => own.place(points.parameters[name][row])), y: chosen.map((row) => points.value[row]), customdata: chosen.map((row) => points.number[row]), text: chosen.map((row) => hover(points, row, names)), hovertemplate: "%{text}<extra></extra>", marker });
    marks(known, { size: 5, color: c.accent, opacity: 0.55 });
    if (best >= 0 && points.parameters[name][best] !== null) marks([best], { symbol: "circle-open", size: 14, color: c.best, line: { width: 2.5 } });
  });
  return { traces, layout: layout(c, { ...axes, yaxis: axis(c, points.metric, log ? { type: "log", exponentformat: "power" } : {}) }), label: `${points.metric} over each parameter` };
}

function drawHistory(history, c) {
  if (!history.number.length) return null;
  const first = history.started_at ?? history.finished_at[0];
  const elapsed = history.finished_at.map((at) => at - first);
  const [unit, size] = (elapsed.at(-1) ?? 0) > 7200 ? ["h", 3600] : (elapsed.at(-1) ?? 0) > 180 ? ["min", 60] : ["s", 1];
  const log = spansDecades(history.value);
  return {
    traces: [{ type: "scatter", mode: "lines+markers", line: { shape: "hv", color: c.best, width: 2 }, marker: { size: 6, color: c.best }, x: elapsed.map((s) => s / size), y: history.value, customdata: history.number, hovertemplate: `best <b>%{y:.5~g}</b><br>after %{x:.3~g} ${unit}<br>trial %{customdata}<extra></extra>` }],
    layout: layout(c, { xaxis: axis(c, `time since the first result (${unit})`), yaxis: axis(c, `best ${history.metric}`, log ? { type: "log", exponentformat: "power" } : {}) }),
    label: `best ${history.metric} over time: ${figure(history.value.at(-1))} in the end`,
  };
}

function drawCurves(curves, c) {
  if (!curves.curves.length) return null;
  const log = spansDecades(curves.curves.flatMap((curve) => curve.values.filter((value) => value !== null)), 10);
  return {
    traces: curves.curves.map((curve, i) => ({ type: "scatter", mode: "lines", name: `trial ${curve.number}${curve.state === "running" ? " (running)" : ""}`, x: curve.steps, y: curve.values, customdata: curve.steps.map(() => curve.number), line: { color: SERIES[i % SERIES.length], width: i ? 1.3 : 2.4, dash: curve.state === "running" ? "dot" : "solid" }, hovertemplate: `trial ${curve.number}<br>step %{x}: <b>%{y:.5~g}</b><extra></extra>` })),
    layout: layout(c, { xaxis: axis(c, "step"), yaxis: axis(c, curves.metric, log ? { type: "log", exponentformat: "power" } : {}), showlegend: curves.curves.length <= 8 }),
    label: `${curves.metric} by step, of the best trials and those that run`,
  };
}

function drawTimeline(timeline, c) {
  if (!timeline.number.length) return null;
  const first = Math.min(...timeline.started_at);
  const span = Math.max(...timeline.started_at.map((at, i) => at + timeline.run_s[i])) - first;
  const [unit, size] = span > 7200 ? ["h", 3600] : span > 180 ? ["min", 60] : ["s", 1];
  const states = [...new Set(timeline.state)];
  const every = Math.max(1, Math.ceil(timeline.number.length / BARS));
  const names = timeline.workers.map((name) => plain(name.length > 26 ? `…${name.slice(-25)}` : name));
  return {
    traces: states.map((state) => {
      const rows = timeline.state.flatMap((each, row) => (each === state && row % every === 0 ? [row] : []));
      return { type: "bar", orientation: "h", name: state.replace("_", " "), base: rows.map((row) => (timeline.started_at[row] - first) / size), x: rows.map((row) => Math.max(timeline.run_s[row], span / 2000) / size), y: rows.map((row) => names[timeline.worker[row]]), customdata: rows.map((row) => timeline.number[row]), text: rows.map((row) => `trial ${timeline.number[row]}, ${state}<br>ran ${figure(timeline.run_s[row])} s`), textposition: "none", hovertemplate: "%{text}<extra></extra>", marker: { color: c[state], line: { width: rows.length < 300 ? 1 : 0, color: c.panel } } };
    }),
    layout: layout(c, { barmode: "overlay", bargap: 0.35, xaxis: axis(c, `time since the first trial began (${unit})`), yaxis: axis(c, "", { type: "category", categoryarray: names, autorange: "reversed", gridcolor: "rgba(0,0,0,0)" }), showlegend: states.length > 1 }),
    label: `which of ${timeline.workers.length} workers ran which trial when`,
  };
}

function drawDurations(durations, c) {
  if (!durations.run_counts.length) return null;
  const bars = (edges, counts, name, color) => ({ type: "bar", name, x: edges.slice(0, -1).map((edge, i) => (edge + edges[i + 1]) / 2), width: edges.slice(1).map((edge, i) => edge - edges[i]), y: counts, marker: { color, opacity: 0.75 }, hovertemplate: `%{y} trials<br>${name} %{x:.3~g} s<extra></extra>` });
  return {
    traces: [bars(durations.run_edges_s, durations.run_counts, "ran", c.accent)],
    layout: layout(c, { bargap: 0, xaxis: axis(c, "time that trials ran (s)"), yaxis: axis(c, "trials") }),
    label: "how long trials ran",
  };
}

export const FIGURES = [
  { id: "error", title: "Metric versus configuration", source: "points", draw: drawError, full: true },
  { id: "map", title: "Two parameters", source: "points", draw: drawMap },
  { id: "history", title: "Best so far", source: "history", draw: drawHistory },
  { id: "parallel", title: "Parallel coordinates", source: "points", full: true },
  { id: "slices", title: "One parameter at a time", source: "points", draw: drawSlices, full: true },
  { id: "curves", title: "While they trained", source: "curves", draw: drawCurves },
  { id: "durations", title: "How long trials ran", source: "durations", draw: drawDurations },
  { id: "timeline", title: "Who ran what when", source: "timeline", draw: drawTimeline, full: true },
];
