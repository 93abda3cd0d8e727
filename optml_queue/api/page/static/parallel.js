// Parallel coordinates on a canvas. plotly's own compile shaders out of text, which the content security policy forbids.

import { SCALE, figure, mixed, spansDecades } from "./drawing.js";
import { bestRow, varied } from "./figures.js";

const AXES_MAX = 8;

export function drawParallel(points, c, canvas, narrow) {
  const names = varied(points).map((each) => each.name).slice(0, AXES_MAX - 1);
  const rows = points.value.flatMap((value, row) => (value !== null && points.state[row] === "complete" ? [row] : []));
  if (names.length < 2 || rows.length < 2) return null;
  const columns = [...names.map((name) => [name, points.parameters[name]]), [points.metric, points.value]].map(([name, values]) => scaled(name, values, rows));
  const values = columns.at(-1);
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const left = 36, right = 60, top = 38, bottom = 22;
  const x = (i) => left + ((width - left - right) * i) / (columns.length - 1);
  const y = (part) => top + (height - top - bottom) * (1 - part);
  const good = (row) => (points.goal === "minimize" ? 1 - values.part(points.value[row]) : values.part(points.value[row]));
  const best = bestRow(points);
  const kept = rows.filter((row) => narrow.every((limit, i) => { const part = columns[i].part(columns[i].values[row]); return !limit || (part !== null && part >= limit[0] && part <= limit[1]); }));
  const keptRows = new Set(kept);
  const line = (row) => {
    pen.beginPath();
    let begun = false;
    columns.forEach((column, i) => {
      const part = column.part(column.values[row]);
      if (part === null) { begun = false; return; }
      if (begun) pen.lineTo(x(i), y(part)); else pen.moveTo(x(i), y(part));
      begun = true;
    });
    pen.stroke();
  };
  pen.lineWidth = 1;
  pen.globalAlpha = 0.12;
  pen.strokeStyle = c.soft;
  if (kept.length < rows.length) rows.filter((row) => !keptRows.has(row)).forEach(line);
  pen.globalAlpha = Math.max(0.15, Math.min(0.9, 60 / kept.length));
  pen.lineWidth = kept.length > 300 ? 1 : 1.6;
  kept.sort((a, b) => good(a) - good(b)).forEach((row) => { pen.strokeStyle = colour(1 - good(row)); line(row); });
  pen.globalAlpha = 1;
  if (keptRows.has(best)) { pen.lineWidth = 3; pen.strokeStyle = c.best; line(best); }
  pen.font = "12px system-ui, 'DejaVu Sans', sans-serif";
  columns.forEach((column, i) => {
    pen.strokeStyle = c.soft;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(x(i), y(0));
    pen.lineTo(x(i), y(1));
    pen.stroke();
    if (narrow[i]) { pen.fillStyle = c.accent; pen.globalAlpha = 0.3; pen.fillRect(x(i) - 6, y(narrow[i][1]), 12, y(narrow[i][0]) - y(narrow[i][1])); pen.globalAlpha = 1; }
    pen.textAlign = i === 0 ? "left" : i === columns.length - 1 ? "right" : "center";
    const at = i === 0 ? 4 : i === columns.length - 1 ? width - 4 : x(i);
    pen.fillStyle = c.ink;
    pen.fillText(fitted(pen, column.name, (width / columns.length) * 0.95), at, 14);
    pen.fillStyle = c.soft;
    pen.textAlign = "left";
    for (const [part, text] of column.ticks) {
      pen.fillStyle = c.panel;
      pen.globalAlpha = 0.75;
      pen.fillRect(x(i) + 4, y(part) - 8, pen.measureText(text).width + 4, 15);
      pen.globalAlpha = 1;
      pen.fillStyle = c.ink;
      pen.fillText(text, x(i) + 6, y(part) + 4);
    }
  });
  return { x, y, columns: columns.length, part: (at) => Math.min(1, Math.max(0, 1 - (at - top) / (height - top - bottom))), label: `${kept.length} trials over ${names.join(", ")} and ${points.metric}` };
}

function fitted(pen, text, width) {
  if (pen.measureText(text).width <= width) return text;
  let length = text.length;
  while (length > 1 && pen.measureText(`${text.slice(0, length)}…`).width > width) length -= 1;
  return `${text.slice(0, length)}…`;
}

function scaled(name, values, rows) {
  const known = rows.map((row) => values[row]).filter((value) => value !== null);
  if (known.every((value) => typeof value === "number")) {
    const log = spansDecades(known, 10), size = log ? Math.log10 : (value) => value;
    let low = Infinity, high = -Infinity;
    for (const value of known) { low = Math.min(low, size(value)); high = Math.max(high, size(value)); }
    const part = (value) => (value === null ? null : high > low ? (size(value) - low) / (high - low) : 0.5);
    const back = (at) => { const value = low + (high - low) * at; return figure(Number((log ? 10 ** value : value).toPrecision(3))); };
    return { name, values, part, ticks: (high > low ? [0, 0.5, 1] : [0.5]).map((at) => [at, back(at)]) };
  }
  const texts = [...new Set(known.map((value) => figure(value)))].sort();
  const part = (value) => (value === null ? null : texts.length > 1 ? texts.indexOf(figure(value)) / (texts.length - 1) : 0.5);
  const step = Math.ceil(texts.length / 12);
  return { name, values, part, ticks: texts.flatMap((text, i) => (i % step ? [] : [[texts.length > 1 ? i / (texts.length - 1) : 0.5, text.slice(0, 16)]])) };
}

// The palest end of the scale is lost on white, the darkest on black: the middle serves both.
const colour = (at) => mixed(SCALE, 0.2 + 0.799 * at).replace(/\d+/g, (part) => Math.round(part * 0.85 + 20));
