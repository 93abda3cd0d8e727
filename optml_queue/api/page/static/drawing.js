// What all plots have in common: colours, axes, figures in words.

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
  found.stopped_early = found.infeasible = found.stopped;
  return found;
}

// Okabe and Ito's colours, which people tell apart however they see colours; the first two are the sheet's own.
export const SERIES = ["#2f7fd6", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#8e6fc1", "#7a8793"];
export const SCALE = [[0, "#fde725"], [0.25, "#5ec962"], [0.5, "#21918c"], [0.75, "#3b528b"], [1, "#440154"]];
export const SCALE_DARK = [...SCALE].map(([at], i) => [at, SCALE[SCALE.length - 1 - i][1]]);

const WHOLE = new Intl.NumberFormat("en"); // made once: figures are written by the thousand

/** A figure, or what else a parameter is, as people read it. */
export function figure(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return shortened(typeof value === "string" ? value : JSON.stringify(value));
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return WHOLE.format(value);
  const rounded = Number(value.toPrecision(4));
  return rounded !== 0 && Math.abs(rounded) < 1e-3 ? rounded.toExponential().replace("e+", "e") : String(rounded);
}

/** Names come from users, and may be long. */
export const shortened = (text) => (text.length > 60 ? `${text.slice(0, 59)}…` : text);

export function axis(c, title, more = {}) {
  return { title: { text: shortened(title), font: { size: 13 }, standoff: 8 }, color: c.soft, gridcolor: c.line, linecolor: c.line, zeroline: false, automargin: true, tickfont: { size: 11.5 }, ...more };
}

/** What an axis of numbers is like: logarithmic where they span decades. */
export const sized = (values, times = 100) => (spansDecades(values, times) ? { type: "log", exponentformat: "power" } : {});

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

/** Colours by value, which may be null: bright is good, logarithmic where values span decades. */
export function shaded(metric, goal, values, c) {
  const known = values.filter((value) => value !== null);
  const log = spansDecades(known, 10), size = log ? Math.log10 : (value) => value;
  let low = Infinity, high = -Infinity;
  for (const value of known) { low = Math.min(low, size(value)); high = Math.max(high, size(value)); }
  const tickvals = high > low ? [low, (low + high) / 2, high] : known.length ? [low] : [];
  return {
    shades: values.map((value) => (value === null ? null : size(value))), colorscale: goal === "minimize" ? SCALE : SCALE_DARK,
    colorbar: { thickness: 10, outlinewidth: 0, tickfont: { color: c.soft, size: 11 }, tickvals, ticktext: tickvals.map((at) => figure(Number((log ? 10 ** at : at).toPrecision(3)))), title: { text: metric, font: { size: 11, color: c.soft } } },
  };
}

/** A colour of a scale; `at` runs from 0 to 1. */
export function mixed(scale, at) {
  const place = Math.min(Math.max(at, 0), 1) * (scale.length - 1), i = Math.min(Math.floor(place), scale.length - 2), rest = place - i;
  const [a, b] = [scale[i][1], scale[i + 1][1]].map((hex) => [1, 3, 5].map((from) => parseInt(hex.slice(from, from + 2), 16)));
  return `rgb(${a.map((value, k) => Math.round(value + (b[k] - value) * rest)).join(",")})`;
}
