// The plots of a page: data are asked for when a plot comes into view, drawn when the browser has time, and read anew
// while the experiment runs.

import { chart } from "./chart.js";
import { colours } from "./drawing.js";
import { drawParallel } from "./parallel.js";

const AGAIN_MS = 700;
const later = window.requestIdleCallback ? (task) => requestIdleCallback(task, { timeout: 1500 }) : (task) => setTimeout(task, 50);

export class Board {
  /** `read` gives the promise of a source's data, `open` goes to a trial by its number, `closer` is where a plot has a page of its own. */
  constructor(home, figures, read, open, closer = "") {
    this.home = home;
    this.read = read;
    this.open = open;
    this.closer = closer;
    this.sources = new Map();
    this.queue = [];
    this.plots = figures.map((figure) => this.place(figure));
    const seen = new IntersectionObserver((entries) => entries.forEach((entry) => {
      const plot = this.plots.find((each) => each.element === entry.target);
      plot.visible = entry.isIntersecting;
      if (plot.visible && plot.stale) this.want(plot);
    }), { rootMargin: "150px" });
    this.plots.forEach((plot) => seen.observe(plot.element));
    document.addEventListener("theme", () => this.redraw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
    let width = window.innerWidth;
    addEventListener("resize", () => { if (window.innerWidth !== width) { width = window.innerWidth; this.redraw(); } });
  }

  place(figure) {
    const element = document.createElement("figure");
    element.id = `plot-${figure.id}`;
    if (figure.full) element.className = "full";
    const caption = document.createElement("figcaption"), title = document.createElement("h2"), choices = document.createElement("div");
    title.textContent = figure.title;
    choices.className = "choices";
    caption.append(title, choices);
    const closer = document.createElement("a");
    if (this.closer && figure.draw) {
      closer.textContent = "closer";
      closer.setAttribute("aria-label", `Look closer: ${figure.title}`);
      closer.href = `${this.closer}/${figure.id}`;
      caption.append(closer);
    }
    const note = document.createElement("p");
    note.className = "note";
    note.hidden = true;
    const area = document.createElement("div");
    area.className = "plot";
    area.setAttribute("role", "img");
    area.setAttribute("aria-label", figure.title);
    const waiting = document.createElement("p");
    waiting.className = "waiting";
    waiting.textContent = "…";
    area.append(waiting);
    element.append(caption, note, area);
    this.home.append(element);
    return { figure, element, area, choices, closer, note, chosen: {}, stale: true, visible: false, narrow: [] };
  }

  /** Something changed: what is in view is read and drawn anew, the rest when it comes into view. */
  refresh() {
    this.sources.clear();
    this.plots.forEach((plot) => this.touch(plot));
  }

  redraw() { this.plots.forEach((plot) => this.touch(plot)); }

  touch(plot) {
    plot.stale = true;
    if (plot.visible || plot.element.hidden) this.want(plot);
  }

  want(plot) {
    plot.stale = false;
    if (!this.queue.includes(plot)) this.queue.push(plot);
    this.run();
  }

  // One plot at a time, with a breath between them.
  async run() {
    if (this.running) return;
    this.running = true;
    while (this.queue.length) {
      const plot = this.queue.shift();
      try {
        await this.draw(plot);
      } catch (error) {
        plot.stale = true;
        plot.note.textContent = `This plot could not be drawn: ${error.message}`;
        plot.note.hidden = false;
      }
    }
    this.running = false;
  }

  source(name) {
    if (!this.sources.has(name)) this.sources.set(name, this.read(name));
    return this.sources.get(name);
  }

  async draw(plot) {
    const source = plot.figure.source(plot.chosen), data = await this.source(source);
    if (data.covered < data.finished) setTimeout(() => { this.sources.delete(source); this.touch(plot); }, AGAIN_MS);
    await new Promise((resolve) => later(resolve));
    if (plot.figure.draw) this.drawn(plot, data);
    else this.painted(plot, data);
  }

  drawn(plot, data) {
    const c = colours(), made = plot.figure.draw(data, c, plot.chosen);
    this.show(plot, made !== null);
    if (made === null) return;
    plot.area.querySelector(".waiting")?.remove();
    plot.area.hidden = !made.traces.length;
    if (made.traces.length) chart(plot.area, made, c, this.open);
    this.describe(plot, data, made);
    this.offer(plot, made.choices ?? []);
  }

  /** Show or hide a plot; one that has nobody left beside it takes the whole row. */
  show(plot, isShown) {
    if (plot.element.hidden === !isShown) return;
    plot.element.hidden = !isShown;
    const alone = new Set();
    let left = null;
    for (const each of this.plots.filter((other) => !other.element.hidden)) {
      if (!each.figure.full) left = left ? null : each;
      else if (left) { alone.add(left); left = null; }
    }
    if (left) alone.add(left);
    for (const each of this.plots.filter((other) => other.element.classList.contains("alone") !== alone.has(other))) {
      each.element.classList.toggle("alone");
      if (!each.stale) this.touch(each);
    }
  }

  painted(plot, data) {
    plot.area.querySelector(".waiting")?.remove();
    let canvas = plot.area.querySelector("canvas");
    if (!canvas) {
      canvas = document.createElement("canvas");
      plot.area.append(canvas);
    }
    plot.element.hidden = false;
    const made = drawParallel(data, colours(), canvas, plot.narrow);
    this.show(plot, made !== null);
    if (made === null) return;
    this.describe(plot, data, { ...made, note: "Drag along an axis to keep only the trials that pass there; click the axis to keep all." });
    if (!plot.wired) {
      plot.wired = true;
      this.wire(plot, canvas);
    }
    plot.made = made;
    plot.data = data;
  }

  wire(plot, canvas) {
    let from = null;
    const near = (event) => {
      const box = canvas.getBoundingClientRect(), at = event.clientX - box.left;
      const places = Array.from({ length: plot.made.columns }, (_v, i) => Math.abs(plot.made.x(i) - at));
      const i = places.indexOf(Math.min(...places));
      return { i, part: plot.made.part(event.clientY - box.top), distance: places[i] };
    };
    const paint = () => this.painted(plot, plot.data);
    canvas.addEventListener("pointerdown", (event) => { const at = near(event); if (at.distance < 30) { from = at; canvas.setPointerCapture(event.pointerId); } });
    canvas.addEventListener("pointermove", (event) => {
      if (!from) return;
      const { part } = near(event);
      plot.narrow[from.i] = [Math.min(from.part, part), Math.max(from.part, part)];
      requestAnimationFrame(paint);
    });
    canvas.addEventListener("pointerup", (event) => {
      if (!from) return;
      if (Math.abs(near(event).part - from.part) < 0.02) delete plot.narrow[from.i];
      from = null;
      paint();
    });
  }

  describe(plot, data, made) {
    plot.area.setAttribute("aria-label", `${plot.figure.title}: ${made.label}`);
    const sample = data.is_sample ? `A sample of ${data.finished.toLocaleString("en")} trials, the best and the worst among it. ` : "";
    const partial = data.covered < data.finished ? `${data.covered.toLocaleString("en")} of ${data.finished.toLocaleString("en")} trials so far. ` : "";
    const note = partial + sample + (made.note ?? "");
    if (plot.note.textContent !== note) plot.note.textContent = note;
    plot.note.hidden = !note;
  }

  offer(plot, choices) {
    const told = JSON.stringify(choices);
    if (told === plot.offered) return;
    plot.offered = told;
    plot.choices.replaceChildren(...choices.filter((choice) => choice.values.length > 1).map((choice) => {
      const label = document.createElement("label"), select = document.createElement("select");
      label.append(choice.label, select);
      for (const value of choice.values) {
        const option = new Option(value || "none", value);
        option.selected = value === choice.value;
        select.append(option);
      }
      select.addEventListener("change", () => { plot.chosen[choice.name] = select.value; plot.closer.search = new URLSearchParams(plot.chosen); this.want(plot); });
      return label;
    }));
  }
}

export async function json(address) {
  const response = await fetch(address, { headers: { Accept: "application/json" } });
  if (!response.ok) throw new Error((await response.json().catch(() => ({}))).detail ?? response.statusText);
  return response.json();
}
