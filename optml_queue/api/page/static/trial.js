// The curve of one trial.

import { json } from "./board.js";
import { chart } from "./chart.js";
import { axis, colours, figure, sized } from "./drawing.js";

const area = document.getElementById("curve");
const { curve } = await json(area.dataset.source);

function draw() {
  const c = colours(), values = curve.map(([, value]) => (typeof value === "number" ? value : null));
  const trace = { type: "scatter", mode: curve.length > 60 ? "lines" : "lines+markers", x: curve.map(([step]) => step), y: values, text: curve.map(([step], i) => `step ${step}: ${figure(values[i])}`), line: { color: c.accent, width: 2 }, marker: { color: c.accent, size: 6 } };
  chart(area, { traces: [trace], layout: { xaxis: axis(c, "step"), yaxis: axis(c, area.dataset.metric, sized(values.filter((value) => value !== null))) } }, c, () => {});
}

document.addEventListener("theme", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
addEventListener("resize", draw);
draw();
