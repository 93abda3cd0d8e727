// The plots of two experiments, one over the other.

import { Board, json } from "./board.js";
import { axis, figure, sized } from "./drawing.js";
import { varied } from "./figures.js";

const home = document.getElementById("plots");
const pair = JSON.parse(home.dataset.pair);
const addresses = pair.map((id) => `/api/v1/experiments/${encodeURIComponent(id)}/plots`);
const both = (source) => Promise.all(addresses.map((address) => json(`${address}/${source}`))).then((found) => ({ found, covered: Math.min(...found.map((each) => each.covered / Math.max(each.finished, 1))), finished: 1, number: [] }));

function drawError({ found }, c, chosen) {
  const shared = varied(found[0]).concat(varied(found[1])).map((each) => each.name).filter((name, i, all) => all.indexOf(name) === i && found.every((points) => name in points.parameters));
  const x = chosen.x ?? shared[0];
  if (!x) return null;
  const values = found.flatMap((points) => points.parameters[x]).filter((value) => value !== null);
  const isNumeric = values.every((value) => typeof value === "number");
  const complete = found.flatMap((points) => points.value.filter((value) => value !== null));
  const traces = found.map((points, i) => {
    const rows = points.value.flatMap((value, row) => (value !== null && points.parameters[x][row] !== null ? [row] : []));
    return { type: "scatter", mode: "markers", name: pair[i], x: rows.map((row) => (isNumeric ? points.parameters[x][row] : figure(points.parameters[x][row]))), y: rows.map((row) => points.value[row]), marker: { size: 7, opacity: 0.75, symbol: ["circle", "diamond"][i], color: [c.accent, c.best][i] }, text: rows.map((row) => `${points.metric} ${figure(points.value[row])}\ntrial ${points.number[row]} of ${pair[i]}`) };
  });
  return {
    traces: traces.filter((trace) => trace.x.length),
    layout: { xaxis: axis(c, x, isNumeric ? sized(values) : { type: "category" }), yaxis: axis(c, [...new Set(found.map((points) => points.metric))].join(" / "), sized(complete, 10)), showlegend: true },
    choices: [{ name: "x", label: "x", values: shared, value: x }],
    label: `both over ${x}`,
  };
}

function drawHistory({ found }, c) {
  if (found.every((history) => !history.number.length)) return null;
  return {
    traces: found.map((history, i) => {
      const spent = history.finished_at.map((at) => at - history.finished_at[0]);
      return { type: "scatter", mode: "lines+markers", name: pair[i], line: { shape: "hv", width: 2, color: [c.accent, c.best][i], dash: ["solid", "dash"][i] }, marker: { size: 6, color: [c.accent, c.best][i] }, x: spent, y: history.value, text: history.value.map((value, k) => `best ${figure(value)} of ${pair[i]}\nafter ${figure(Number(spent[k].toPrecision(3)))} s`) };
    }),
    layout: { xaxis: axis(c, "time since the first result (s)"), yaxis: axis(c, "best so far", sized(found.flatMap((history) => history.value), 10)), showlegend: true },
    label: "the best of both over time",
  };
}

new Board(home, [
  { id: "error", title: "Metric versus configuration", source: () => "points", draw: drawError },
  { id: "history", title: "Best so far", source: () => "history", draw: drawHistory },
], both, () => {});
