// Where values stand along an axis, and which of them are named there. Axes are described as plotly describes them.

import { figure } from "./drawing.js";

const DECADE = 1e-9; // what a logarithm may be off by

/** The place of each value between the pixels `from` and `to`, and the ticks that have room. */
export function scaled(axis, values, [from, to], { between = 56, pad = 0.04 } = {}) {
  if (axis.autorange === "reversed") [from, to] = [to, from];
  if (axis.type === "category") return categories(axis, values, from, to, between);
  const size = axis.type === "log" ? Math.log10 : (value) => value;
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    const own = size(value);
    if (value === null || !Number.isFinite(own)) continue;
    low = Math.min(low, own);
    high = Math.max(high, own);
  }
  if (axis.range) [low, high] = axis.range;
  else if (low > high) [low, high] = [0, 1];
  else if (low === high) [low, high] = axis.type === "log" ? [low - 0.5, high + 0.5] : [low - (Math.abs(low) * 0.1 || 0.5), high + (Math.abs(high) * 0.1 || 0.5)];
  else {
    const edge = axis.rangemode === "tozero" && low >= 0 ? 0 : (high - low) * pad;
    if (axis.rangemode === "tozero" && low >= 0) low = 0;
    [low, high] = [low - edge, high + (high - low) * pad];
  }
  const at = (value) => from + ((size(value) - low) / (high - low)) * (to - from);
  const most = Math.max(2, Math.floor(Math.abs(to - from) / between));
  const named = axis.tickvals ? axis.tickvals.map((value, i) => ({ value, text: axis.ticktext[i] })) : (axis.type === "log" ? decades(low, high, most) : steps(low, high, most));
  return { at, ticks: apart(named.map((tick) => ({ ...tick, at: at(tick.value) })), axis.tickvals ? between * 0.6 : 0) };
}

function categories(axis, values, from, to, between) {
  const words = [...new Set([...(axis.categoryarray ?? []), ...values.filter((value) => value !== null)])];
  const [low, high] = axis.range ?? [-0.5, words.length - 0.5];
  const places = new Map(words.map((word, i) => [word, from + ((i - low) / (high - low)) * (to - from)]));
  const ticks = words.map((word) => ({ value: word, text: String(word), at: places.get(word) }));
  return { at: (value) => places.get(value), band: Math.abs(to - from) / (high - low), ticks: apart(ticks, between) };
}

/** Those of some ticks that are not nearer to the one before than `least` pixels. */
function apart(ticks, least) {
  const kept = [];
  for (const tick of [...ticks].sort((a, b) => a.at - b.at)) if (!kept.length || tick.at - kept.at(-1).at >= least) kept.push(tick);
  return kept;
}

function steps(low, high, most) {
  const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough) ?? 10 * power;
  const ticks = [];
  for (let i = Math.ceil(low / step - DECADE); i * step <= high + step * DECADE; i += 1) ticks.push({ value: i * step, text: figure(Number((i * step).toPrecision(12))) });
  return ticks;
}

function decades(low, high, most) {
  const first = Math.ceil(low - DECADE), last = Math.floor(high + DECADE);
  const every = Math.max(1, Math.ceil((last - first + 1) / most));
  const parts = high - low < 0.4 ? null : high - low < 1.2 && most > 3 ? [1, 2, 5] : high - low < 2.2 && most > 5 ? [1, 3] : [1];
  if (parts === null || (last < first && high - low < 0.7)) {
    return steps(10 ** low, 10 ** high, most).filter((tick) => tick.value > 0);
  }
  const ticks = [];
  for (let power = first - 1; power <= last; power += 1) {
    for (const part of parts) {
      const place = power + Math.log10(part);
      if (place < low - DECADE || place > high + DECADE || (power - first) % every) continue;
      ticks.push({ value: part * 10 ** power, text: figure(Number((part * 10 ** power).toPrecision(3))) });
    }
  }
  return ticks;
}
