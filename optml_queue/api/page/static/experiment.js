// An experiment's page while the experiment runs: events say that something changed, the server says how it looks.

import { Board, json } from "./board.js";
import { FIGURES } from "./figures.js";

const LIVE_MS = 800; // between two looks at what the server writes
const PLOTS_MS = 2500;
const SPOKEN_MS = 15000;

const home = document.getElementById("experiment");
const id = encodeURIComponent(home.dataset.experiment);
const page = `/experiments/${id}`, api = `/api/v1/experiments/${id}`;
const said = document.getElementById("said"), cut = document.getElementById("cut");

const board = new Board(document.getElementById("plots"), FIGURES, (source) => json(`${api}/plots/${source}`), (number) => { location.href = `${page}/trials/${number}`; }, `${page}/plots`);

/** At most once in a while; the last call is never lost, and nothing happens while nobody looks. */
function paced(task, pause_ms) {
  let waiting = null, last = 0, running = false, again = false;
  const run = async () => {
    waiting = null;
    if (document.hidden) { again = true; return; }
    if (running) { again = true; return; }
    running = true;
    last = performance.now();
    try { await task(); } catch { again = true; }
    running = false;
    if (again) { again = false; call(); }
  };
  const call = () => { waiting ??= setTimeout(run, Math.max(0, last + pause_ms - performance.now())); };
  document.addEventListener("visibilitychange", () => { if (!document.hidden && again) { again = false; call(); } });
  return call;
}

const look = paced(async () => {
  const response = await fetch(`${page}?part=live${home.dataset.front ? "&front=yes" : ""}`, { headers: { Accept: "text/html" } });
  if (response.status === 401) { location.reload(); return; }
  if (!response.ok) throw new Error(response.statusText);
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of home.querySelectorAll("[data-live]")) {
    const now = fresh.querySelector(`[data-live="${part.dataset.live}"]`);
    if (!now || now.innerHTML === part.innerHTML) continue;
    const focused = part.contains(document.activeElement) ? document.activeElement : null;
    part.replaceChildren(...now.childNodes);
    if (focused) ((focused.id && document.getElementById(focused.id)) || part.querySelector("a, button"))?.focus();
  }
}, LIVE_MS);
const redraw = paced(async () => board.refresh(), PLOTS_MS);

/** The numbers at once, for they are in the event; the rest when the server has written it. */
function count(counts, ended) {
  const show = (element, n) => { if (element) element.textContent = n.toLocaleString("en-US"); };
  show(document.getElementById("ended"), ended);
  for (const [state, n] of Object.entries(counts)) show(home.querySelector(`#legend .dot.${state} + .n`), n);
}

let spoken = 0;
function speak(counts, ended, total) {
  if (performance.now() < spoken + SPOKEN_MS) return;
  spoken = performance.now();
  said.textContent = `${ended} of ${total} trials ended, ${counts.complete} complete, ${counts.running} running.`;
}

function take({ counts, total }) {
  const ended = Object.entries(counts).reduce((sum, [state, n]) => (state === "queued" || state === "running" ? sum : sum + n), 0);
  count(counts, ended);
  speak(counts, ended, total);
  look();
}

function follow() {
  const events = new EventSource(`${api}/events?since=${home.dataset.finished}`);
  events.addEventListener("open", () => { cut.hidden = true; });
  events.addEventListener("error", () => { cut.hidden = events.readyState === EventSource.OPEN; if (events.readyState === EventSource.CLOSED) setTimeout(() => { look(); follow(); }, 3000); });
  events.addEventListener("experiment", (event) => take(JSON.parse(event.data)));
  events.addEventListener("trials", () => redraw());
  events.addEventListener("end", (event) => {
    events.close();
    cut.hidden = true;
    const { state } = JSON.parse(event.data);
    said.textContent = `The experiment is ${state}.`;
    if (state === "removed") { location.href = "/"; return; }
    home.dataset.over = "yes";
    look();
    redraw();
  });
}

if (!home.dataset.over) follow();
