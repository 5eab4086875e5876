// The runs of the report, and what can be asked of them.

const STATUSES = ["succeeded", "failed", "running", "cancelled", "lost"];
const SIGNS = { succeeded: "✓", failed: "✕", running: "▸", cancelled: "–", lost: "?" };
let REPORT = null;
let RUNS = [];
let RUN_BY_ID = new Map();

function takeReport(data) {
  REPORT = data;
  RUNS = data.runs;
  RUN_BY_ID = new Map(RUNS.map((run) => [run.id, run]));
  for (const run of RUNS) {
    run.values = hyperparametersOf(run);
    run.metrics = Object.assign(Object.create(null), run.metrics);
  }
  const ends = new Map();
  for (const run of RUNS) ends.set(endOf(run), (ends.get(endOf(run)) ?? 0) + 1);
  for (const run of RUNS) run.short = ends.get(endOf(run)) === 1 ? endOf(run) : run.id;
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const entriesOf = (value) => (isObject(value) ? Object.entries(value) : []);
const endOf = (run) => run.id.slice(run.id.lastIndexOf("-") + 1) || run.id;
const labelOf = (run) => `${run.run} ${run.short}`;
const linkTo = (run, ...children) =>
  make("a", { href: `#run/${encodeURIComponent(run.id)}` }, ...(children.length ? children : [labelOf(run)]));

function badge(status) {
  const sign = make("span", { "aria-hidden": "true" }, SIGNS[status]);
  return make("span", { class: `badge ${status}` }, sign, " ", status);
}

// What the inputs of a run set, and what a sweep chose for it, by name.
function hyperparametersOf(run) {
  const values = Object.create(null);
  for (const [, held] of entriesOf(run.hyperparameters)) {
    for (const [name, value] of entriesOf(held)) if (!isObject(value)) values[name] = value;
  }
  for (const [name, value] of entriesOf(groupOf(run).values)) if (!isObject(value)) values[name] = value;
  return values;
}

const groupOf = (run) => (isObject(run.group) ? run.group : {});

// The names that many runs have, those of most runs first.
function namesOf(runs, field) {
  const counts = new Map();
  for (const run of runs) {
    for (const name of Object.keys(run[field] ?? {})) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts.keys()].sort((one, other) => counts.get(other) - counts.get(one) || one.localeCompare(other));
}

function namesOfCurves(runs) {
  return namesOf(runs.map((run) => ({ columns: run.curves?.columns ?? {} })), "columns");
}

// Whether less is better, by the name of a metric.
const isCost = (name) => /loss|err|rmse|mse|mae|perplex|ppl|time|latency|seconds|memory|divergence|nll/i.test(name);

// The sweeps, the newest first: name, runs in the order of their trials, and the names of what was varied.
function sweeps() {
  const found = new Map();
  for (const run of RUNS) {
    const group = groupOf(run);
    if (group.kind !== "sweep") continue;
    const key = String(group.id ?? group.name);
    if (!found.has(key)) found.set(key, { key, name: String(group.name ?? key), group, runs: [] });
    found.get(key).runs.push(run);
  }
  for (const sweep of found.values()) {
    sweep.runs.sort((one, other) => trialOf(one) - trialOf(other) || one.started_at.localeCompare(other.started_at));
    sweep.varied = namesOf(sweep.runs.map((run) => ({ values: groupOf(run).values })), "values");
  }
  return [...found.values()];
}

const trialOf = (run) => (typeof groupOf(run).trial === "number" ? groupOf(run).trial : 0);

// The run with the best value of a metric.
function bestOf(runs, metric, isLess) {
  const able = runs.filter((run) => run.status === "succeeded" && typeof run.metrics[metric] === "number");
  return able.reduce((best, run) => {
    if (!best) return run;
    const better = isLess ? run.metrics[metric] < best.metrics[metric] : run.metrics[metric] > best.metrics[metric];
    return better ? run : best;
  }, null);
}
