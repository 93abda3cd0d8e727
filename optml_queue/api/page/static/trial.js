// The curve of one trial.

import { json } from "./board.js";
import { CONFIG, axis, colours, layout, plotly, spansDecades } from "./drawing.js";

const area = document.getElementById("curve");

async function draw() {
  const { curve } = await json(area.dataset.source);
  const library = await plotly(area.dataset.plotly);
  const c = colours(), values = curve.map(([, value]) => (typeof value === "number" ? value : null));
  const log = spansDecades(values.filter((value) => value !== null));
  await library.react(area, [{ type: "scatter", mode: curve.length > 60 ? "lines" : "lines+markers", x: curve.map(([step]) => step), y: values, line: { color: c.accent, width: 2 }, hovertemplate: "step %{x}: <b>%{y:.5~g}</b><extra></extra>" }], layout(c, { xaxis: axis(c, "step"), yaxis: axis(c, area.dataset.metric, log ? { type: "log", exponentformat: "power" } : {}) }), CONFIG);
}

document.addEventListener("theme", draw);
draw();
