// The fields of a new experiment, made of what the algorithms declare, and the YAML that they stand for.

const NUMBER = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i;
const PLAIN = /^[A-Za-z_][A-Za-z0-9_-]*$/;
const WORDS = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
const KINDS = { float: "a number", int: "an integer", bool: "true or false", str: "text", list: "a list" };
const DATA = {
  sunspots: "sunspots: monthly sunspot numbers", channel: "channel: a nonlinear channel", csv: "a CSV file: one column as a series", digits: "digits: handwritten, 8 × 8",
  mnist: "MNIST: handwritten, 28 × 28", npz: "an NPZ file of arrays", table: "a CSV file: a table with a target",
};
const FILES = { csv: ".csv,.txt,.tsv", table: ".csv,.txt,.tsv", npz: ".npz" };
// First values for a parameter that has no default.
const IDEAS = { learning_rate: { form: "values", values: "1e-8, 1e-7, 1e-6, 5e-6, 1e-5" } };

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Commas outside of brackets and quotes separate values. */
export function parted(text) {
  const parts = [];
  let depth = 0, part = "", quote = "";
  for (const letter of text) {
    if (quote) { if (letter === quote) quote = ""; } else if (letter === '"' || letter === "'") quote = letter;
    else if (letter === "[") depth += 1;
    else if (letter === "]") depth -= 1;
    if (letter === "," && depth === 0 && !quote) { parts.push(part); part = ""; } else part += letter;
  }
  return [...parts, part].map((each) => each.trim()).filter(Boolean);
}

/** A text as YAML that means a value of a kind; what is none is quoted, so that the server can say so. */
export function scalar(text, kind) {
  const trimmed = text.trim();
  if (kind === "list" && /^\[[^{}#&*!|>%@`]*\]$/.test(trimmed)) return trimmed;
  if (kind !== "str" && (NUMBER.test(trimmed) || trimmed === "true" || trimmed === "false")) return trimmed;
  if (PLAIN.test(trimmed) && !WORDS.includes(trimmed.toLowerCase())) return trimmed;
  return JSON.stringify(trimmed);
}

const flow = (entries) => `{${entries.filter(([, value]) => value !== "").map(([name, value]) => `${name}: ${value}`).join(", ")}}`;
const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));

export class Fields {
  constructor(home, algorithms, changed) {
    this.home = home;
    this.algorithms = algorithms;
    this.changed = () => changed(this.spec());
    this.values = { name: "", method: "grid", seed: "0", max_trials: "", data: "", file: "", column: "0", target: "", samples: "", test: "", seeds: "0", max_parallel: "", timeout: "", class: "", priority: "" };
    this.columns = [];
    this.choose(algorithms.find((each) => each.name === "lms") ?? algorithms[0]);
  }

  choose(algorithm) {
    const earlier = this.parameters ?? {};
    this.algorithm = algorithm;
    this.values.data = algorithm.data.includes(this.values.data) ? this.values.data : algorithm.data[0] ?? "";
    this.values.metric = algorithm.metrics[0]?.name ?? "";
    this.values.goal = algorithm.metrics[0]?.goal ?? "minimize";
    this.parameters = {};
    for (const each of algorithm.parameters) if (each.default === null) this.parameters[each.name] = earlier[each.name] ?? this.fresh(each);
    if (!Object.keys(this.parameters).length && algorithm.parameters.length) this.parameters[algorithm.parameters[0].name] = this.fresh(algorithm.parameters[0]);
    this.draw();
  }

  fresh(parameter) {
    const first = parameter.default === null ? "" : shown(parameter.default);
    const choices = parameter.choices.length ? parameter.choices.map(shown).join(", ") : parameter.kind === "bool" ? "true, false" : "";
    return { form: choices ? "values" : parameter.default === null ? "values" : "value", value: first, values: choices || (parameter.default === null ? "0.01, 0.1" : first), min: "", max: "", count: "5", step: "", scale: "linear", of: "16, 32, 64", least: "1", most: "3", ...IDEAS[parameter.name] };
  }

  declared(name) { return this.algorithm.parameters.find((each) => each.name === name); }

  rest(resting) { this.home.querySelectorAll("fieldset").forEach((set) => { set.disabled = resting; }); }

  // The YAML

  spec() {
    const v = this.values, lines = [];
    lines.push(`name: ${scalar(v.name || `${this.algorithm.name}-${v.data || "search"}`, "str")}`, `algorithm: ${this.algorithm.name}`, `method: ${v.method}`);
    if (v.method === "random") lines.push(`seed: ${scalar(v.seed || "0", "int")}`);
    if (v.metric) lines.push(`metric: {name: ${scalar(v.metric, "str")}, goal: ${v.goal}}`);
    lines.push("parameters:");
    for (const [name, own] of Object.entries(this.parameters)) lines.push(`  ${name}: ${this.axis(this.declared(name), own)}`);
    if (v.data) lines.push(`data: ${this.data()}`);
    if (v.seeds && v.seeds !== "0") lines.push(`seeds: [${parted(v.seeds).map((each) => scalar(each, "int")).join(", ")}]`);
    for (const key of ["max_trials", "max_parallel", "priority"]) if (v[key]) lines.push(`${key}: ${scalar(v[key], "int")}`);
    if (v.timeout) lines.push(`timeout: ${scalar(v.timeout, NUMBER.test(v.timeout) ? "int" : "str")}`);
    if (v.class) lines.push(`resources: {class: ${scalar(v.class, "str")}}`);
    return `${lines.join("\n")}\n`;
  }

  axis(parameter, own) {
    const typed = (text) => (text === "" ? '""' : scalar(text, parameter.kind));
    if (own.form === "value") return `{value: ${typed(own.value)}}`;
    if (own.form === "values") return `{values: [${parted(own.values).map(typed).join(", ")}]}`;
    if (own.form === "lists") return `{list: ${flow([["of", `[${parted(own.of).map((each) => scalar(each, "list")).join(", ")}]`], ["min_length", own.least && scalar(own.least, "int")], ["max_length", own.most && scalar(own.most, "int")]])}}`;
    const isDrawn = this.values.method === "random";
    return flow([["min", own.min && scalar(own.min, "float")], ["max", own.max && scalar(own.max, "float")], ["count", isDrawn ? "" : own.count && scalar(own.count, "int")], ["scale", own.scale === "log" ? "log" : ""]]);
  }

  data() {
    const v = this.values, file = v.file ? JSON.stringify(v.file) : '""', test = v.test && scalar(v.test, "float");
    if (v.data === "csv") return flow([["csv", file], ["column", scalar(v.column || "0", "int")], ["test", test]]);
    if (v.data === "table") return flow([["csv", file], ["target", scalar(v.target || "target", "str")], ["test", test]]);
    if (v.data === "npz") return flow([["npz", file], ["test", test]]);
    return flow([["name", v.data], ["samples", v.data === "channel" && v.samples ? scalar(v.samples, "int") : ""], ["test", v.data === "mnist" ? "" : test]]);
  }

  // The fields

  draw() {
    const focused = document.activeElement?.id;
    this.home.replaceChildren(this.basics(), this.sources(), this.space(), this.course());
    if (focused) document.getElementById(focused)?.focus();
    this.changed();
  }

  again(change) { change(); this.draw(); }

  field(label, key, control, help = "") {
    const id = `field-${key.replaceAll(/[^a-z0-9]+/gi, "-")}`;
    control.id = id;
    control.dataset.key = key;
    const wrong = make("p", { className: "wrong", id: `${id}-wrong`, hidden: true });
    const notes = help ? [make("p", { className: "help", id: `${id}-help`, textContent: help })] : [];
    control.setAttribute("aria-describedby", [help && `${id}-help`, `${id}-wrong`].filter(Boolean).join(" "));
    return make("div", { className: "field" }, make("label", { htmlFor: id, textContent: label }), control, ...notes, wrong);
  }

  input(owner, name, more = {}) {
    const made = make("input", { value: owner[name], spellcheck: false, autocomplete: "off", ...more });
    made.addEventListener("input", () => { owner[name] = made.value; this.changed(); });
    return made;
  }

  select(owner, name, options, then = () => this.changed()) {
    const made = make("select", {}, ...options.map(([value, label]) => new Option(label, value, false, value === owner[name])));
    made.addEventListener("change", () => { owner[name] = made.value; then(made.value); });
    return made;
  }

  set(title, ...children) { return make("fieldset", {}, make("legend", { textContent: title }), ...children); }

  basics() {
    const v = this.values;
    const algorithm = this.select({ it: this.algorithm.name }, "it", this.algorithms.map((each) => [each.name, each.name]), (name) => this.choose(this.algorithms.find((each) => each.name === name)));
    const method = this.select(v, "method", [["grid", "grid: every point"], ["random", "random: points drawn"]], (value) => this.again(() => { if (value === "random" && !v.max_trials) v.max_trials = "30"; if (value === "grid") v.max_trials = ""; }));
    const metric = this.select(v, "metric", this.algorithm.metrics.map((each) => [each.name, each.name]), (name) => this.again(() => { v.goal = this.algorithm.metrics.find((each) => each.name === name).goal; }));
    const goal = this.select(v, "goal", [["minimize", "minimize"], ["maximize", "maximize"]]);
    return this.set("What to train",
      make("div", { className: "row" }, this.field("Algorithm", "algorithm", algorithm, this.algorithm.help), this.field("Name", "name", this.input(v, "name", { placeholder: `${this.algorithm.name}-${v.data || "search"}` }))),
      make("div", { className: "row" }, this.field("Search", "method", method), ...(v.method === "random" ? [this.field("Trials", "max_trials", this.input(v, "max_trials", { inputMode: "numeric" })), this.field("Seed of the search", "seed", this.input(v, "seed", { inputMode: "numeric" }))] : []),
        this.field("Metric", "metric.name", metric, this.algorithm.metrics.find((each) => each.name === v.metric)?.help ?? ""), this.field("Goal", "metric.goal", goal)));
  }

  sources() {
    const v = this.values, kind = v.data;
    if (!kind) return this.set("Data", make("p", { className: "small", textContent: "This algorithm brings its own." }));
    const rows = [this.field("Data", "data.name", this.select(v, "data", this.algorithm.data.map((each) => [each, DATA[each] ?? each]), () => this.again(() => { v.file = ""; this.columns = []; })))];
    if (kind in FILES) rows.push(this.upload(kind));
    if (kind === "csv") rows.push(this.field("Column", "data.column", this.column("column"), "counted from 0, or its name in the first line"));
    if (kind === "table") rows.push(this.field("Target", "data.target", this.column("target"), "the column to predict"));
    if (kind === "channel") rows.push(this.field("Samples", "data.samples", this.input(v, "samples", { placeholder: "10000", inputMode: "numeric" })));
    if (kind !== "mnist") rows.push(this.field("Part kept for the test", "data.test", this.input(v, "test", { placeholder: "0.1", inputMode: "decimal" })));
    return this.set("Data", make("div", { className: "row" }, ...rows));
  }

  column(name) {
    if (this.columns.length < 2) return this.input(this.values, name);
    const options = this.columns.map((each, i) => [name === "column" && NUMBER.test(each) ? String(i) : each, each]);
    if (!options.some(([value]) => value === this.values[name])) this.values[name] = options.at(-1)[0];
    return this.select(this.values, name, options);
  }

  upload(kind) {
    const control = make("input", { type: "file", accept: FILES[kind] });
    const field = this.field("File", kind === "npz" ? "data.npz" : "data.csv", control, this.uploaded ?? "it is sent to the server when you choose it");
    const told = field.querySelector(".help");
    control.addEventListener("change", async () => {
      const [file] = control.files;
      if (!file) return;
      told.textContent = `sending ${file.name}…`;
      try {
        const response = await fetch("/api/v1/data", { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file });
        const answer = await response.json();
        if (!response.ok) throw new Error(answer.detail);
        this.uploaded = `${file.name}, ${answer.bytes.toLocaleString("en")} bytes, is at the server`;
        if (kind !== "npz") this.columns = head(await file.slice(0, 65_536).text());
        this.again(() => { this.values.file = answer.reference; });
      } catch (error) {
        told.textContent = `it could not be sent: ${error.message}`;
      }
    });
    return field;
  }

  space() {
    const rows = Object.entries(this.parameters).map(([name, own]) => this.parameter(this.declared(name), own));
    const others = this.algorithm.parameters.filter((each) => !(each.name in this.parameters));
    const more = others.map((each) => {
      const button = make("button", { type: "button", textContent: `+ ${each.name}`, title: each.help, id: `add-${each.name}` });
      button.setAttribute("aria-label", `Search over ${each.name} too; otherwise it is ${shown(each.default)}`);
      button.addEventListener("click", () => this.again(() => { this.parameters[each.name] = this.fresh(each); }));
      return make("li", {}, button);
    });
    return this.set("Parameters", ...rows, ...(more.length ? [make("p", { className: "small", textContent: "At their defaults unless added:" }), make("ul", { className: "rest" }, ...more)] : []));
  }

  parameter(declared, own) {
    const key = `parameters.${declared.name}`, isNumber = declared.kind === "float" || declared.kind === "int";
    const bounds = [declared.minimum !== null && `≥ ${declared.minimum}`, declared.above !== null && `> ${declared.above}`, declared.maximum !== null && `≤ ${declared.maximum}`].filter(Boolean).join(", ");
    const name = make("div", { className: "name" }, make("code", { textContent: declared.name }), make("span", { className: "small", textContent: [declared.help, `${KINDS[declared.kind] ?? declared.kind}${bounds ? ` ${bounds}` : ""}`].filter(Boolean).join(" · ") }));
    if (declared.default !== null) {
      const remove = make("button", { type: "button", className: "link small", textContent: `default (${shown(declared.default)})` });
      remove.setAttribute("aria-label", `Leave ${declared.name} at its default, ${shown(declared.default)}`);
      remove.addEventListener("click", () => this.again(() => { delete this.parameters[declared.name]; }));
      name.append(remove);
    }
    const form = this.select(own, "form", [["values", "values"], ["value", "one value"], ...(isNumber ? [["range", "range"]] : []), ...(declared.kind === "list" ? [["lists", "all lists"]] : [])], () => this.again(() => {}));
    form.setAttribute("aria-label", `How ${declared.name} is given`);
    form.id = `form-${declared.name}`;
    const wrong = make("p", { className: "wrong", hidden: true });
    wrong.dataset.for = key;
    return make("div", { className: "parameter" }, name, make("div", { className: "row" }, form, this.given(declared, own, key)), wrong);
  }

  given(declared, own, key) {
    const labelled = (control, place, label) => { control.dataset.key = `${key}.${place}`; control.setAttribute("aria-label", `${declared.name}: ${label}`); control.id = `at-${declared.name}-${place}`; return control; };
    if (own.form === "value") {
      if (declared.choices.length || declared.kind === "bool") return labelled(this.select(own, "value", (declared.choices.length ? declared.choices.map(shown) : ["true", "false"]).map((each) => [each, each])), "value", "value");
      return labelled(this.input(own, "value"), "value", "value");
    }
    if (own.form === "values") return labelled(this.input(own, "values", { placeholder: declared.kind === "list" ? "[16], [64, 32]" : "separated by commas" }), "values", "values, separated by commas");
    if (own.form === "lists") {
      const listed = (name, place, label) => make("label", {}, label, labelled(this.input(own, name), `list.${place}`, label));
      return make("div", { className: "range" }, listed("of", "of", "of"), listed("least", "min_length", "from"), listed("most", "max_length", "to"));
    }
    const small = (place, label) => make("label", {}, label, labelled(this.input(own, place, { inputMode: "decimal" }), place, label));
    return make("div", { className: "range" }, small("min", "from"), small("max", "to"), ...(this.values.method === "random" ? [] : [small("count", "count")]), make("label", {}, "scale", labelled(this.select(own, "scale", [["linear", "linear"], ["log", "log"]]), "scale", "scale")));
  }

  course() {
    const v = this.values;
    return this.set("How", make("div", { className: "row five" },
      this.field("Seeds", "seeds", this.input(v, "seeds"), "each point is tried once with each"),
      this.field("At most at once", "max_parallel", this.input(v, "max_parallel", { placeholder: "no limit", inputMode: "numeric" })),
      this.field("Attempt timeout", "timeout", this.input(v, "timeout", { placeholder: "none; as 10m, 1h" })),
      this.field("Worker class", "resources.class", this.input(v, "class", { placeholder: "default" })),
      this.field("Priority", "priority", this.input(v, "priority", { placeholder: "0", inputMode: "numeric" }))));
  }

  /** Show problems beside their fields; those that belong to none are given back. */
  complain(problems) {
    this.home.querySelectorAll("[aria-invalid]").forEach((control) => control.removeAttribute("aria-invalid"));
    this.home.querySelectorAll(".wrong").forEach((place) => { place.textContent = ""; place.hidden = true; });
    const controls = [...this.home.querySelectorAll("[data-key]")], rows = [...this.home.querySelectorAll("[data-for]")];
    return problems.filter((problem) => {
      const inside = (key) => problem.key === key || problem.key.startsWith(`${key}.`) || problem.key.startsWith(`${key}[`);
      const control = controls.find((each) => inside(each.dataset.key));
      control?.setAttribute("aria-invalid", "true");
      const place = rows.find((each) => inside(each.dataset.for)) ?? (control && document.getElementById(`${control.id}-wrong`));
      if (!place) return true;
      place.textContent = [place.textContent, `${problem.message}${problem.advice ? ` (${problem.advice})` : ""}`].filter(Boolean).join(" ");
      place.hidden = false;
      return false;
    });
  }
}

/** The names in the first line of a delimited file, or its values where it has no names. */
function head(text) {
  const [line] = text.replace(/^\uFEFF/, "").split(/\r?\n/, 1);
  const separator = [",", ";", "\t"].map((each) => [each, line.split(each).length]).sort((a, b) => b[1] - a[1])[0][0];
  return line.split(separator).map((each) => each.trim().replaceAll(/^"|"$/g, ""));
}
