// What each plot shows. `draw` gets the data of its route, the colours and the choices made above it, and returns
// traces and layout in plotly's words (chart.js draws them), or null when the data have nothing of the kind.

import { drawContour } from "./contour.js";
import { SERIES, axis, figure, shaded, shortened, sized } from "./drawing.js";

const key = (value) => JSON.stringify(value);
const isNumber = (value) => typeof value === "number";
const FEW = 10;
const SLICE_MARKS = 2400, LOST_MARKS = 300, CELLS_MAX = 60, WRITTEN_MAX = 120;
const LOST = { diverged: "triangle-up-open", failed: "x-thin", infeasible: "diamond-open" };

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
    const distinct = sorted(known), log = sized(known);
    const ticks = !log.type && distinct.length <= FEW ? { tickvals: distinct, ticktext: distinct.map(figure) } : {};
    return { axis: axis(c, name, log.type ? { ...log, dtick: 1 } : ticks), place: (value) => value };
  }
  return { axis: axis(c, name, { type: "category", categoryorder: "array", categoryarray: sorted(known).map(figure) }), place: (value) => (value === null ? null : figure(value)) };
}

const better = (points, a, b) => (points.goal === "minimize" ? a < b : a > b);

/** How a trial ended, the breaking of a constraint too. */
const fate = (points, row) => (points.infeasible[row] ? "infeasible" : points.state[row]);

/** The trials that a metric is drawn of. */
const ranked = (points) => points.value.flatMap((value, row) => (value !== null && points.state[row] === "complete" ? [row] : []));

export function bestRow(points) {
  return ranked(points).reduce((best, row) => (best < 0 || better(points, points.value[row], points.value[best]) ? row : best), -1);
}

/** Every so many of some rows, so that drawing never holds the browser; the best and the worst stay. */
function thinned(points, rows, most) {
  if (rows.length <= most) return rows;
  const order = [...rows].sort((a, b) => points.value[a] - points.value[b]);
  const kept = new Set([order[0], order.at(-1)]);
  for (let i = 0; i < most; i += 1) kept.add(rows[Math.floor((i * rows.length) / most)]);
  return rows.filter((row) => kept.has(row));
}

function told(points, row, names) {
  const value = points.value[row] === null ? fate(points, row).replace("_", " ") : `${points.metric} ${figure(points.value[row])}`;
  return [value, ...names.map((name) => `${name} ${figure(points.parameters[name][row])}`), `trial ${points.number[row]}`].join("\n");
}

/** Rows of complete trials by x and series: the mean over what else differs in nothing but the seed. */
function groups(points, x, series, only) {
  const found = new Map();
  for (const row of ranked(points)) {
    if (points.parameters[x][row] === null) continue;
    const mark = key([points.parameters[x][row], series ? points.parameters[series][row] : null, only ? null : row]);
    if (found.has(mark)) found.get(mark).push(row); else found.set(mark, [row]);
  }
  return [...found.values()];
}

function drawError(points, c, chosen) {
  const names = varied(points).map((each) => each.name);
  const x = chosen.x ?? names[0];
  if (!x) return null;
  const coloured = names.filter((name) => name !== x && sorted(points.parameters[name]).length <= FEW);
  const series = chosen.colour ?? coloured[0] ?? "";
  const { axis: xaxis, place } = scale(points, x, c);
  const isExplained = names.every((name) => name === x || name === series);
  const labels = series ? sorted(points.parameters[series]) : [null];
  const places = means(points, x, series, isExplained, place);
  const traces = labels.map((label, i) => line(points, names, series, label, places.get(key(label)) ?? [], SERIES[i % SERIES.length], isExplained)).filter((trace) => trace.x.length);
  if (!isExplained) traces.push(...traces.map((trace) => envelope(trace, points)).filter(Boolean));
  const best = bestRow(points), mark = [...places.values()].flat().find((each) => each.rows.includes(best));
  if (mark) traces.push({ type: "scatter", mode: "markers", name: "best", x: [mark.at], y: [mark.mean], customdata: [points.number[best]], text: [`best: ${told(points, best, names)}`], marker: { symbol: "circle-open", size: 17, color: c.best, line: { width: 2.5 } } });
  const lost = casualties(points, x, names, place, c);
  const strip = 0.08 * lost.length;
  return {
    traces: [...traces, ...lost],
    layout: {
      xaxis: { ...xaxis, anchor: "y" },
      yaxis: axis(c, points.metric, { ...sized(ranked(points).map((row) => points.value[row]), 10), domain: [0, 1 - strip - (lost.length ? 0.02 : 0)] }),
      ...(lost.length ? { yaxis2: { domain: [1 - strip, 1], type: "category", categoryarray: lost.map((trace) => trace.name), color: c.soft, plain: true, gridcolor: "rgba(0,0,0,0)", automargin: true, range: [-0.6, lost.length - 0.4], tickfont: { size: 11.5 } } } : {}),
      showlegend: Boolean(series) || traces.length > 1,
    },
    note: isExplained ? "" : "The lines go through the best at each x; the other parameters differ.",
    choices: [
      { name: "x", label: "x", values: names, value: x },
      ...(names.length > 1 ? [{ name: "colour", label: "colour", values: ["", ...coloured], value: series }] : []),
    ],
    label: `${points.metric} over ${x}`,
  };
}

/** By series, the places where trials are and their means. */
function means(points, x, series, isExplained, place) {
  const found = new Map();
  for (const rows of groups(points, x, series, isExplained)) {
    const values = rows.map((row) => points.value[row]), raw = points.parameters[x][rows[0]];
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const sd = values.length > 1 ? Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1)) : 0;
    const label = key(series ? points.parameters[series][rows[0]] : null);
    if (!found.has(label)) found.set(label, []);
    found.get(label).push({ at: place(raw), raw, mean, sd, rows });
  }
  for (const each of found.values()) each.sort((a, b) => (isNumber(a.raw) && isNumber(b.raw) ? a.raw - b.raw : 0));
  return found;
}

function line(points, names, series, label, places, colour, isExplained) {
  const isSpread = isExplained && places.some((each) => each.sd > 0);
  return {
    type: "scatter", mode: isExplained ? "lines+markers" : "markers", name: series ? `${series} ${figure(label)}` : shortened(points.metric),
    x: places.map((each) => each.at), y: places.map((each) => each.mean), customdata: places.map((each) => points.number[each.rows[0]]),
    text: places.map((each) => told(points, each.rows[0], names)),
    line: { color: colour, width: 1.6 }, marker: { color: colour, size: isExplained ? 7 : 5, opacity: isExplained ? 1 : 0.65 },
    ...(isSpread ? { error_y: { array: places.map((each) => each.sd), color: colour, thickness: 1.2, width: 3 } } : {}),
  };
}

/** Where other parameters play a part too: a line through the best at each x. */
function envelope(trace, points) {
  const found = new Map();
  trace.x.forEach((at, k) => { if (!found.has(at) || better(points, trace.y[k], found.get(at))) found.set(at, trace.y[k]); });
  if (found.size < 2 || found.size > 60 || found.size === trace.x.length) return null;
  return { type: "scatter", mode: "lines", x: [...found.keys()], y: [...found.values()], line: { color: trace.line.color, width: 1.6 }, opacity: 0.8, hoverinfo: "skip", showlegend: false };
}

/** Trials without a figure, in strips of their own above the plot. */
function casualties(points, x, names, place, c) {
  return Object.keys(LOST).flatMap((kind) => {
    const all = points.number.flatMap((_n, row) => (fate(points, row) === kind && points.parameters[x][row] !== null ? [row] : []));
    const rows = thinned(points, all, LOST_MARKS);
    return rows.length ? [{ type: "scatter", mode: "markers", name: kind, yaxis: "y2", showlegend: false, x: rows.map((row) => place(points.parameters[x][row])), y: rows.map(() => kind), customdata: rows.map((row) => points.number[row]), text: rows.map((row) => told(points, row, names)), marker: { symbol: LOST[kind], size: 9, color: c[kind], line: { width: 2, color: c[kind] } } }] : [];
  });
}

function drawMap(points, c, chosen) {
  const names = varied(points).map((each) => each.name);
  if (names.length < 2) return null;
  const x = chosen.x ?? names[0];
  const y = chosen.y && chosen.y !== x ? chosen.y : names.find((name) => name !== x);
  const xs = sorted(points.parameters[x]), ys = sorted(points.parameters[y]);
  const drawn = Math.max(xs.length, ys.length) > CELLS_MAX ? scattered(points, c, names, x, y) : celled(points, c, x, y, xs, ys, names.length > 2);
  return drawn && { ...drawn, choices: [{ name: "x", label: "x", values: names, value: x }, { name: "y", label: "y", values: names.filter((name) => name !== x), value: y }], label: `${points.metric} over ${x} and ${y}` };
}

function celled(points, c, x, y, xs, ys, hasOthers) {
  const xAt = new Map(xs.map((value, i) => [key(value), i])), yAt = new Map(ys.map((value, i) => [key(value), i]));
  const grid = (empty) => ys.map(() => xs.map(() => empty));
  const cells = grid(null), lost = grid(""), numbers = grid(null);
  points.value.forEach((value, row) => {
    const i = xAt.get(key(points.parameters[x][row])), j = yAt.get(key(points.parameters[y][row]));
    if (i === undefined || j === undefined) return;
    if (value === null || points.state[row] !== "complete") lost[j][i] = { failed: "+", infeasible: "◇" }[fate(points, row)] ?? "×";
    else if (cells[j][i] === null || better(points, value, cells[j][i])) { cells[j][i] = value; numbers[j][i] = points.number[row]; }
  });
  const each = (write) => cells.map((row, j) => row.map((value, i) => write(value, i, j)));
  const { shades, ...colours } = shaded(points.metric, points.goal, cells.flat(), c);
  const isFew = xs.length * ys.length <= WRITTEN_MAX, at = (i, j) => `${x} ${figure(xs[i])}\n${y} ${figure(ys[j])}`;
  const named = (name, values) => axis(c, name, { tickvals: values.map((_v, i) => i), ticktext: values.map(figure), plain: true, showgrid: false });
  return {
    traces: [{
      type: "heatmap", x: xs.map((_v, i) => i), y: ys.map((_v, i) => i), z: each((_v, i, j) => shades[j * xs.length + i]), customdata: numbers,
      text: each((value) => (value === null || !isFew ? "" : figure(Number(value.toPrecision(3))))), texttemplate: "%{text}", textfont: { size: 11.5 }, hoverinfo: "text",
      hovertext: each((value, i, j) => `${value === null ? (lost[j][i] ? "no figure: diverged, failed or infeasible" : "not tried") : `${points.metric} ${figure(value)}`}\n${at(i, j)}`),
      ...colours, showscale: !isFew, xgap: 1, ygap: 1, hoverongaps: false,
    }],
    layout: { xaxis: named(x, xs), yaxis: named(y, ys), annotations: lost.flatMap((row, j) => row.flatMap((text, i) => (text && cells[j][i] === null ? [{ x: i, y: j, text, showarrow: false, font: { size: 15, color: c[{ "+": "failed", "◇": "infeasible" }[text] ?? "diverged"] } }] : []))).slice(0, 400) },
    note: `${hasOthers ? "Each cell is the best over all other parameters. " : ""}${lost.flat().some(Boolean) ? "× diverged, + failed, ◇ breaks a constraint." : ""}`.trim(),
  };
}

function scattered(points, c, names, x, y) {
  const rows = ranked(points).filter((row) => points.parameters[x][row] !== null && points.parameters[y][row] !== null);
  if (!rows.length) return null;
  const { shades, ...colours } = shaded(points.metric, points.goal, rows.map((row) => points.value[row]), c);
  const xs = scale(points, x, c), ys = scale(points, y, c);
  return {
    traces: [{
      type: "scatter", mode: "markers", x: rows.map((row) => xs.place(points.parameters[x][row])), y: rows.map((row) => ys.place(points.parameters[y][row])), customdata: rows.map((row) => points.number[row]),
      text: rows.map((row) => told(points, row, names)), marker: { size: 6, color: shades, ...colours, showscale: true },
    }],
    layout: { xaxis: xs.axis, yaxis: ys.axis },
  };
}

function drawSlices(points, c) {
  const names = varied(points).map((each) => each.name).slice(0, 6), rows = ranked(points);
  if (names.length < 2 || !rows.length) return null;
  const best = bestRow(points), shown = thinned(points, rows, Math.floor(SLICE_MARKS / names.length)), gap = 0.03, width = (1 - gap * (names.length - 1)) / names.length;
  const axes = {}, traces = [];
  names.forEach((name, i) => {
    const own = scale(points, name, c), suffix = i ? i + 1 : "";
    axes[`xaxis${suffix}`] = { ...own.axis, domain: [i * (width + gap), i * (width + gap) + width], nticks: 4 };
    const known = shown.filter((row) => points.parameters[name][row] !== null);
    const marks = (chosen, marker) => traces.push({ type: "scatter", mode: "markers", xaxis: `x${suffix}`, x: chosen.map((row) => own.place(points.parameters[name][row])), y: chosen.map((row) => points.value[row]), customdata: chosen.map((row) => points.number[row]), text: chosen.map((row) => told(points, row, names)), marker });
    marks(known, { size: 5, color: c.accent, opacity: 0.55 });
    if (best >= 0 && points.parameters[name][best] !== null) marks([best], { symbol: "circle-open", size: 14, color: c.best, line: { width: 2.5 } });
  });
  return { traces, layout: { ...axes, yaxis: axis(c, points.metric, sized(rows.map((row) => points.value[row]), 10)) }, label: `${points.metric} over each parameter` };
}

/** Two metrics against each other, and the trials that no other one beats in both. */
function drawTradeOff(pareto, c, chosen) {
  const names = pareto.metrics.map((metric) => metric.name);
  if (names.length < 2 || !pareto.number.length) return null;
  const x = chosen.x ?? names[0], y = chosen.y && chosen.y !== x ? chosen.y : names.find((name) => name !== x);
  const at = (name, row) => pareto.values[name][row], kindOf = (name) => pareto.metrics.find((metric) => metric.name === name);
  const rows = pareto.number.flatMap((_n, row) => (at(x, row) !== null && at(y, row) !== null ? [row] : []));
  const text = (row) => [...names.map((name) => `${name} ${figure(at(name, row))}`), ...Object.entries(pareto.parameters).map(([name, values]) => `${name} ${figure(values[row])}`), `trial ${pareto.number[row]}${pareto.broken[row] ? `, ${pareto.broken[row]}` : ""}`].join("\n");
  const kinds = [
    ["dominated", (row) => !pareto.front[row] && !pareto.broken[row], { mode: "markers", marker: { size: 5, color: c.soft, opacity: 0.5 } }],
    ["breaks a constraint", (row) => pareto.broken[row], { mode: "markers", marker: { symbol: "x-thin", size: 8, color: c.failed, line: { width: 1.6, color: c.failed } } }],
    ["Pareto front", (row) => pareto.front[row], { mode: names.length === 2 ? "lines+markers" : "markers", line: { color: c.best, width: 1.8, shape: kindOf(x).goal === "minimize" ? "hv" : "vh" }, marker: { size: 8, color: c.best } }],
  ];
  const goal = (name) => `${name} (${kindOf(name).goal === "minimize" ? "lower" : "higher"} is better)`;
  return {
    traces: kinds.flatMap(([name, belongs, look]) => {
      const own = rows.filter(belongs).sort((a, b) => at(x, a) - at(x, b));
      return own.length ? [{ type: "scatter", name: `${name} (${own.length})`, ...look, x: own.map((row) => at(x, row)), y: own.map((row) => at(y, row)), customdata: own.map((row) => pareto.number[row]), text: own.map(text) }] : [];
    }),
    layout: { xaxis: axis(c, goal(x), sized(rows.map((row) => at(x, row)))), yaxis: axis(c, goal(y), sized(rows.map((row) => at(y, row)))), showlegend: true },
    note: names.length > 2 ? `The front is that of all ${names.length} metrics.` : "",
    choices: names.length > 2 ? [{ name: "x", label: "x", values: names, value: x }, { name: "y", label: "y", values: names.filter((name) => name !== x), value: y }] : [],
    label: `${y} against ${x}: ${pareto.front.filter(Boolean).length} trials on the Pareto front`,
  };
}

function drawImportance(importance, c) {
  const shares = importance.parameters.map((each) => each.share);
  if (shares.length < 2) return importance.needs ? { traces: [], layout: {}, note: importance.needs, label: importance.needs } : null;
  const words = shares.map((share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`), names = importance.parameters.map((each) => shortened(each.name));
  return {
    traces: [{ type: "bar", orientation: "h", x: shares, y: names, text: words, hovertext: names.map((name, i) => `${name} ${words[i]}`), textposition: "outside", cliponaxis: false, textfont: { color: c.ink }, marker: { color: c.accent } }],
    layout: { bargap: 0.35, xaxis: axis(c, "share of the importance", { range: [0, Math.max(...shares) * 1.15], tickformat: ".0%" }), yaxis: axis(c, "", { type: "category", categoryarray: names, autorange: "reversed", plain: true, showgrid: false }) },
    note: `What the best tenth has in common (PED-ANOVA), over ${importance.trials.toLocaleString("en")} trials${importance.is_sample ? ", a sample" : ""}. ${importance.advice.join(" ")}`,
    label: names.map((name, i) => `${name} ${words[i]}`).join(", "),
  };
}

/** A length of time in a unit that gives numbers one can imagine. */
function unit(seconds) {
  return seconds > 7200 ? ["h", 3600] : seconds > 180 ? ["min", 60] : ["s", 1];
}

function drawHistory(history, c) {
  if (!history.number.length) return null;
  const elapsed = history.finished_at.map((at) => at - history.finished_at[0]), [name, size] = unit(elapsed.at(-1));
  const spent = elapsed.map((seconds) => seconds / size);
  return {
    traces: [{ type: "scatter", mode: "lines+markers", line: { shape: "hv", color: c.best, width: 2 }, marker: { size: 6, color: c.best }, x: spent, y: history.value, customdata: history.number, text: history.value.map((value, i) => `best ${figure(value)}\nafter ${figure(Number(spent[i].toPrecision(3)))} ${name}\ntrial ${history.number[i]}`) }],
    layout: { xaxis: axis(c, `time since the first result (${name})`), yaxis: axis(c, `best ${history.metric}`, sized(history.value)) },
    label: `best ${history.metric} over time: ${figure(history.value.at(-1))} in the end`,
  };
}

function drawCurves(curves, c) {
  if (!curves.curves.length) return null;
  const values = curves.curves.flatMap((curve) => curve.values.filter((value) => value !== null));
  return {
    traces: curves.curves.map((curve, i) => ({ type: "scatter", mode: "lines", name: `trial ${curve.number}${curve.state === "running" ? " (running)" : ""}`, x: curve.steps, y: curve.values, customdata: curve.steps.map(() => curve.number), line: { color: SERIES[i % SERIES.length], width: i ? 1.3 : 2.4, dash: curve.state === "running" ? "dot" : "solid" }, text: curve.steps.map((step, k) => `trial ${curve.number}\nstep ${step}: ${figure(curve.values[k])}`) })),
    layout: { xaxis: axis(c, "step"), yaxis: axis(c, curves.metric, sized(values, 10)), showlegend: curves.curves.length <= 8 },
    label: `${curves.metric} by step, of the best trials and those that run`,
  };
}

function drawTimeline(timeline, c) {
  if (!timeline.number.length) return null;
  let first = Infinity, last = 0;
  timeline.started_at.forEach((at, i) => { first = Math.min(first, at); last = Math.max(last, at + timeline.run_s[i]); });
  const [name, size] = unit(last - first), names = timeline.workers.map((worker) => (worker.length > 26 ? `…${worker.slice(-25)}` : worker));
  return {
    traces: [...new Set(timeline.state)].map((state) => {
      const rows = timeline.state.flatMap((each, row) => (each === state ? [row] : []));
      return { type: "bar", orientation: "h", name: state.replace("_", " "), base: rows.map((row) => (timeline.started_at[row] - first) / size), x: rows.map((row) => Math.max(timeline.run_s[row], (last - first) / 2000) / size), y: rows.map((row) => names[timeline.worker[row]]), customdata: rows.map((row) => timeline.number[row]), text: rows.map((row) => `trial ${timeline.number[row]}, ${state}\nran ${figure(timeline.run_s[row])} s`), textposition: "none", marker: { color: c[state] } };
    }),
    layout: { barmode: "overlay", bargap: 0.35, xaxis: axis(c, `time since the first trial began (${name})`), yaxis: axis(c, "", { type: "category", categoryarray: names, autorange: "reversed", plain: true, showgrid: false }), showlegend: new Set(timeline.state).size > 1 },
    label: `which of ${timeline.workers.length} workers ran which trial when`,
  };
}

function drawDurations(durations, c) {
  if (!durations.run_counts.length) return null;
  const edges = durations.run_edges_s, places = edges.slice(0, -1).map((edge, i) => (edge + edges[i + 1]) / 2);
  return {
    traces: [{ type: "bar", x: places, width: places.map((_p, i) => edges[i + 1] - edges[i]), y: durations.run_counts, text: places.map((at, i) => `${durations.run_counts[i]} trials\nran ${figure(Number(at.toPrecision(3)))} s`), textposition: "none", marker: { color: c.accent, opacity: 0.75 } }],
    layout: { bargap: 0, xaxis: axis(c, "time that trials ran (s)"), yaxis: axis(c, "trials", { rangemode: "tozero" }) },
    label: "how long trials ran",
  };
}

export const FIGURES = [
  { id: "error", title: "Metric versus configuration", source: () => "points", draw: drawError, full: true },
  { id: "pareto", title: "One metric against another", source: () => "pareto", draw: drawTradeOff, full: true },
  { id: "map", title: "Two parameters", source: () => "points", draw: drawMap },
  { id: "contour", title: "Contours", source: (chosen) => `contour?${new URLSearchParams(chosen)}`, draw: drawContour },
  { id: "importance", title: "Which parameters matter", source: () => "importance", draw: drawImportance },
  { id: "history", title: "Best so far", source: () => "history", draw: drawHistory },
  { id: "parallel", title: "Parallel coordinates", source: () => "points", full: true },
  { id: "slices", title: "One parameter at a time", source: () => "points", draw: drawSlices, full: true },
  { id: "curves", title: "While they trained", source: () => "curves", draw: drawCurves },
  { id: "durations", title: "How long trials ran", source: () => "durations", draw: drawDurations },
  { id: "timeline", title: "Who ran what when", source: () => "timeline", draw: drawTimeline, full: true },
];
