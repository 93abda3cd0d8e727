// The form for a new experiment writes the spec; the server checks the spec as one types.

import { json } from "./board.js";
import { Fields } from "./fields.js";

const CHECK_MS = 300;
const form = document.getElementById("draft"), text = document.getElementById("spec"), gutter = document.getElementById("gutter");
const count = document.getElementById("count"), problems = document.getElementById("problems"), submit = document.getElementById("submit");
const apart = document.getElementById("apart"), plan = document.getElementById("plan");

let fields = null;
let waiting = null, asked = 0;

function element(tag, content = "", name = "") {
  const made = document.createElement(tag);
  made.textContent = content;
  if (name) made.className = name;
  return made;
}

function number(wrong = new Set()) {
  const lines = text.value.split("\n").length;
  gutter.replaceChildren(...Array.from({ length: lines }, (_v, i) => element("span", `${i + 1}\n`, wrong.has(i + 1) ? "at" : "")));
  text.rows = Math.min(40, Math.max(18, lines + 1));
  gutter.scrollTop = text.scrollTop;
}

function check() {
  clearTimeout(waiting);
  waiting = setTimeout(ask, CHECK_MS);
}

async function ask() {
  const mine = ++asked;
  let response, answer;
  try {
    response = await fetch("/api/v1/validation", { method: "POST", headers: { "Content-Type": "application/yaml" }, body: text.value });
    answer = await response.json();
  } catch {
    if (mine === asked) count.textContent = "the server does not answer";
    return;
  }
  if (mine !== asked) return; // something newer was typed
  if (response.ok) tell(answer);
  else complain(answer.problems ?? [{ key: "", message: answer.detail, line: 0, advice: "" }]);
}

function counted(figure, noun) {
  return `${figure.toLocaleString("en")} ${noun}${figure === 1 ? "" : "s"}`;
}

// What comes from earlier experiments, in words.
function prior({ start_from: sources, reuse, unread }) {
  const said = sources.map((source) => `starts from ${source.used.toLocaleString("en")} of ${counted(source.trials, "trial")} of ${source.experiment}`);
  if (reuse?.results === 0) said.push("nothing to reuse");
  else if (reuse) said.push(reuse.trials === null ? `reuses what fits of ${counted(reuse.results, "result")}` : `${counted(reuse.trials, "result")} reused`);
  if (unread.length) said.push(`${unread.join(" and ")}: too many earlier trials to look through while you type`);
  return said;
}

function tell(preview) {
  const few = preview.exact ? "" : "up to ";
  count.textContent = [`${few}${counted(preview.trials, "trial")}`, ...prior(preview)].join(" · ");
  count.classList.remove("wrong");
  problems.replaceChildren();
  text.removeAttribute("aria-invalid");
  submit.disabled = false;
  fields?.complain([]);
  number();
  const names = [...new Set(preview.first.flatMap((trial) => Object.keys(trial.params)))];
  const line = (cells, tag) => { const row = document.createElement("tr"); row.append(...cells.map((cell) => element(tag, cell, "num"))); return row; };
  document.getElementById("plan-head").replaceChildren(line(["trial", ...names, "seed"], "th"));
  const rows = (trials) => trials.map((trial) => line([String(trial.number), ...names.map((name) => (name in trial.params ? JSON.stringify(trial.params[name]) : "–")), String(trial.seed)], "td"));
  const shown = new Set(preview.first.map((trial) => trial.number));
  const last = preview.last.filter((trial) => !shown.has(trial.number));
  document.getElementById("plan-body").replaceChildren(...rows(preview.first), ...(preview.trials > preview.first.length + last.length ? [line(["…", ...names.map(() => ""), ""], "td")] : []), ...rows(last));
  plan.hidden = preview.first.length === 0; // a search that learns has yet to suggest its first point
}

function complain(found) {
  count.textContent = found.length === 1 ? "one thing is wrong" : `${found.length} things are wrong`;
  count.classList.add("wrong");
  text.setAttribute("aria-invalid", "true");
  submit.disabled = true;
  plan.hidden = true;
  number(new Set(found.map((problem) => problem.line)));
  const left = fields && apart.hidden ? fields.complain(found) : found;
  const list = document.createElement("ul");
  for (const problem of left) {
    const item = element("li", "", "wrong");
    if (problem.line) {
      const button = element("button", `line ${problem.line}`, "link line");
      button.type = "button";
      button.addEventListener("click", () => go(problem.line));
      item.append(button, " ");
    }
    if (problem.key) item.append(element("strong", problem.key), " ");
    item.append(problem.message);
    if (problem.advice) item.append(element("span", problem.advice, "advice"));
    list.append(item);
  }
  problems.replaceChildren(...(left.length ? [list] : []));
}

function go(line) {
  const lines = text.value.split("\n"), start = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
  text.focus();
  text.setSelectionRange(start, start + lines[line - 1].length);
}

function take(spec) {
  if (!apart.hidden) return;
  text.value = spec;
  number();
  check();
}

text.addEventListener("input", () => {
  if (fields && apart.hidden) { apart.hidden = false; fields.rest(true); }
  number();
  check();
});
text.addEventListener("scroll", () => { gutter.scrollTop = text.scrollTop; });
document.getElementById("again").addEventListener("click", () => { apart.hidden = true; fields.rest(false); take(fields.spec()); });
form.addEventListener("submit", () => { setTimeout(() => { submit.disabled = true; submit.textContent = "Submitting…"; }); });
addEventListener("pageshow", () => { submit.disabled = false; }); // one may come back by the browser's button

async function begin() {
  if (form.dataset.fields) {
    const { algorithms } = await json("/api/v1/algorithms");
    const home = document.getElementById("fields");
    fields = new Fields(home, algorithms, take);
    home.hidden = false;
    take(fields.spec());
  }
  number();
  check();
}

begin();
