// plotly.js, loaded when the first plot comes into view, and what all plots have in common.

let loading = null;

export function plotly(address) {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = address;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => { loading = null; reject(new Error("plotly.js did not load")); };
    document.head.append(script);
  });
  return loading;
}

/** The colours of the sheet as they are now, whichever theme is on. */
export function colours() {
  const probe = document.createElement("span");
  document.body.append(probe);
  const names = ["ink", "soft", "line", "panel", "accent", "best", "complete", "stopped", "diverged", "failed", "cancelled", "running", "queued"];
  const found = {};
  for (const name of names) {
    probe.style.color = `var(--${name})`;
    found[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  found.stopped_early = found.stopped;
  return found;
}

// Okabe and Ito's colours, which people tell apart however they see colours; the first two are the sheet's own.
export const SERIES = ["#2f7fd6", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#8e6fc1", "#7a8793"];
export const SCALE = [[0, "#fde725"], [0.25, "#5ec962"], [0.5, "#21918c"], [0.75, "#3b528b"], [1, "#440154"]];
export const SCALE_DARK = [...SCALE].map(([at], i) => [at, SCALE[SCALE.length - 1 - i][1]]);

// Names and values come from users; plotly reads tags in texts.
export const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").slice(0, 60);

export function figure(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return typeof value === "string" ? value : JSON.stringify(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return value.toLocaleString("en");
  const rounded = Number(value.toPrecision(4));
  return rounded !== 0 && Math.abs(rounded) < 1e-3 ? rounded.toExponential().replace("e+", "e") : String(rounded);
}

export function axis(c, title, more = {}) {
  return {
    title: { text: plain(title), font: { size: 13 }, standoff: 8 }, color: c.soft, gridcolor: c.line, linecolor: c.line,
    zeroline: false, automargin: true, tickfont: { size: 11.5 }, ...more,
  };
}

export function layout(c, more = {}) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: "system-ui, 'DejaVu Sans', sans-serif", color: c.ink, size: 12 },
    margin: { l: 58, r: 14, t: 10, b: 44 }, hovermode: "closest", showlegend: false, dragmode: false,
    hoverlabel: { bgcolor: c.panel, bordercolor: c.line, font: { color: c.ink, size: 12.5 }, align: "left" },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 11.5, color: c.soft } }, ...more,
  };
}

export const CONFIG = { displaylogo: false, responsive: true, displayModeBar: false, doubleClick: "reset" };

/** Whether numbers are better seen on a log axis: all positive, and the largest many times the smallest. */
export function spansDecades(values, times = 100) {
  let low = Infinity, high = 0;
  for (const value of values) {
    if (typeof value !== "number" || value <= 0) return false;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return high / low >= times;
}
