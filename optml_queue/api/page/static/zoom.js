// One plot on a page of its own, drawn by plotly.js: to zoom, to pan, to save as a picture.

import { json } from "./board.js";
import { colours } from "./drawing.js";
import { FIGURES } from "./figures.js";

const area = document.getElementById("plot"), note = document.getElementById("note");
const page = `/experiments/${encodeURIComponent(area.dataset.experiment)}`;
const figure = FIGURES.find((each) => each.id === area.dataset.figure && each.draw);
const chosen = Object.fromEntries(new URLSearchParams(location.search));
const CONFIG = { displaylogo: false, responsive: true, displayModeBar: true, scrollZoom: true };

/** A plot in which every text is what plotly reads as that text: it takes tags for markup, and names come from users. */
function escaped(part) {
  if (typeof part === "string") return part.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("\n", "<br>");
  if (Array.isArray(part)) return part.map(escaped);
  return part !== null && typeof part === "object" ? Object.fromEntries(Object.entries(part).map(([key, value]) => [key, escaped(value)])) : part;
}

function dressed(layout, c) {
  const text = { color: c.ink, size: 12.5 };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: "system-ui, 'DejaVu Sans', sans-serif", ...text }, margin: { l: 60, r: 16, t: 36, b: 50 },
    hovermode: "closest", dragmode: "zoom", hoverlabel: { bgcolor: c.panel, bordercolor: c.line, font: text, align: "left" }, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, modebar: { bgcolor: "rgba(0,0,0,0)", color: c.soft, activecolor: c.accent }, ...layout,
  };
}

function loaded(address) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = address;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => reject(new Error("plotly.js did not load"));
    document.head.append(script);
  });
}

async function draw(library, data) {
  const c = colours(), made = figure.draw(data, c, chosen);
  if (!made?.traces.length) throw new Error("there is nothing of the kind to draw");
  const { traces, layout } = escaped(made);
  traces.forEach((trace) => { if (trace.text && trace.type === "scatter") trace.hovertemplate = "%{text}<extra></extra>"; else if (trace.type === "bar") Object.assign(trace, { hovertext: trace.hovertext ?? trace.text, hoverinfo: "text" }); });
  await library.react(area, traces, dressed(layout, c), CONFIG);
  area.setAttribute("aria-label", `${figure.title}: ${made.label}`);
}

try {
  if (!figure) throw new Error("there is no such plot");
  document.getElementById("title").textContent = figure.title;
  const [library, data] = await Promise.all([loaded(area.dataset.plotly), json(`/api/v1${page}/plots/${figure.source(chosen)}`)]);
  area.querySelector(".waiting").remove();
  await draw(library, data);
  area.on("plotly_click", (event) => { const number = event.points[0]?.customdata; if (number !== undefined && number !== null) location.href = `${page}/trials/${number}`; });
  document.addEventListener("theme", () => draw(library, data));
} catch (error) {
  area.hidden = true;
  note.textContent = `This plot could not be drawn: ${error.message}`;
}
