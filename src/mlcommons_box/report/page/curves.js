// Learning curves: one metric of several runs, or all metrics of one.

const MOST_LINES = 30;
const MOST_LISTED = 200;
const MOST_SMALL = 12;
const curves = { metric: null, x: "", isLogarithmic: false, smoothing: 0, words: "" };

// Names by which a task may number its steps.
const isStep = (name) => /^(.*\.)?(step|epoch|iteration|iter|global_step|time|seconds|samples)s?$/i.test(name);

function curvesView() {
  const able = RUNS.filter((run) => run.curves);
  const title = heading(1, "Learning curves", { tabindex: "-1" });
  if (!able.length) {
    return [title, make("p", { class: "empty" }, "No run has learning curves. A task makes them by adding lines to ",
      code("metrics.jsonl"), " in an output directory, an object of numbers after each step.")];
  }
  const names = namesOfCurves(able);
  const metrics = names.filter((name) => !isStep(name));
  if (!names.includes(curves.metric)) curves.metric = (metrics.length ? metrics : names)[0];
  if (!table.chosen.size) able.filter((run) => run.curves.columns[curves.metric]).slice(0, 8).forEach((run) => table.chosen.add(run.id));
  const chosen = () => able.filter((run) => table.chosen.has(run.id) && run.curves.columns[curves.metric]);
  const drawn = () => chosen().slice(0, MOST_LINES);
  const place = make("div", {});
  const legend = make("div", { class: "picker" });
  const note = make("p", { class: "muted small" });

  function show() {
    place.replaceChildren(drawn().length
      ? chart(`${curves.metric} by ${curves.x || "step"} for ${countText(drawn().length, "run")}`, 460, options)
      : make("p", { class: "empty" }, "Choose runs that have this metric."));
    forgetCharts();
    showLegend();
    const every = Math.max(1, ...drawn().map((run) => run.curves.every));
    const most = chosen().length;
    const leftOut = Math.max(0, ...drawn().map((run) => run.curves.left_out));
    note.textContent = [
      most > MOST_LINES && `Of the ${most} runs that are chosen, the newest ${MOST_LINES} are drawn.`,
      every > 1 && `Of the longest curve every ${every}th step is drawn, and the last one.`,
      leftOut > 0 && `A run here has ${countText(leftOut, "metric")} more, left out of this report.`,
    ].filter(Boolean).join(" ");
  }

  const options = () => lineOptions(
    drawn().map((run, index) => ({ name: labelOf(run), look: lineLook(index), points: smoothed(pointsOf(run, curves.metric, curves.x), curves.smoothing) })),
    { x: curves.x || "step", y: curves.metric, isLogarithmic: curves.isLogarithmic, isZoomed: true },
  );

  function showLegend() {
    const lines = drawn();
    const words = curves.words.toLowerCase();
    const found = able.filter((run) => textOf(run).includes(words));
    legend.replaceChildren(...found.slice(0, MOST_LISTED).map((run) => {
      const index = lines.indexOf(run);
      const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
      if (index >= 0) {
        swatch.style.borderTopColor = lineLook(index).color;
        swatch.style.borderTopStyle = lineLook(index).type;
      }
      const last = run.metrics[curves.metric];
      const box = make("input", { type: "checkbox", checked: table.chosen.has(run.id), "aria-label": labelOf(run), "data-run": run.id, onchange: () => {
        table.chosen[box.checked ? "add" : "delete"](run.id);
        show();
        legend.querySelector(`[data-run="${CSS.escape(run.id)}"]`)?.focus();
      } });
      return make("div", { class: "pick" }, box, swatch, linkTo(run), make("span", { class: "number muted" }, last === undefined ? "" : valueText(last)));
    }));
    if (found.length > MOST_LISTED) legend.append(make("p", { class: "muted small" }, `and ${found.length - MOST_LISTED} more: find them by a word`));
  }

  const choose = (runs) => {
    table.chosen.clear();
    runs.forEach((run) => table.chosen.add(run.id));
    show();
  };
  const search = make("input", { type: "search", placeholder: "Find runs", "aria-label": "Find runs", value: curves.words,
    oninput: () => { curves.words = search.value; showLegend(); } });
  const button = (label, runs) => make("button", { type: "button", class: "quiet", onclick: () => choose(runs()) }, label);
  const withMetric = () => able.filter((run) => run.curves.columns[curves.metric]);
  const smoothing = make("input", { type: "range", min: 0, max: 0.98, step: 0.02, value: curves.smoothing,
    oninput: () => { curves.smoothing = Number(smoothing.value); place.firstChild && redraw(place.firstChild); } });
  const controls = make("div", { class: "controls" },
    choice("Metric", [...metrics, ...names.filter(isStep)].map((name) => [name, name]), curves.metric, (value) => { curves.metric = value; show(); }),
    choice("Across", [["", "step"], ...names.filter((name) => isStep(name) && name !== "step").map((name) => [name, name])], curves.x, (value) => { curves.x = value; show(); }),
    make("label", { class: "field" }, make("span", {}, "Smoothing"), smoothing),
    toggle("Logarithmic", curves.isLogarithmic, (isOn) => { curves.isLogarithmic = isOn; show(); }));
  setTimeout(show);
  return [title, make("div", { class: "split" },
    panel("", {}, controls, place, note),
    panel("Runs", { class: "panel side" }, search,
      make("div", { class: "bar" }, button("newest 8", () => withMetric().slice(0, 8)), button(`all${withMetric().length > MOST_LINES ? ` (${MOST_LINES} at most)` : ""}`, () => withMetric().slice(0, MOST_LINES)), button("none", () => [])),
      legend))];
}

function pointsOf(run, metric, x) {
  const across = x && run.curves.columns[x] ? run.curves.columns[x] : run.curves.columns.step ?? run.curves.steps;
  return run.curves.columns[metric]
    .map((value, index) => [across[index], value])
    .filter(([place, value]) => typeof place === "number" && typeof value === "number");
}

// An exponential moving average; its weight is made right for the first points.
function smoothed(points, weight) {
  if (!weight) return points;
  let sum = 0;
  let whole = 0;
  return points.map(([place, value]) => {
    sum = sum * weight + value * (1 - weight);
    whole = whole * weight + (1 - weight);
    return [place, sum / whole];
  });
}

// Small charts of all metrics of one run.
function curvesOf(run) {
  const names = Object.keys(run.curves.columns);
  const metrics = names.filter((name) => !isStep(name));
  const all = metrics.length ? metrics : names;
  const more = Math.max(0, all.length - MOST_SMALL);
  const charts = make("div", { class: "small-charts" }, all.slice(0, MOST_SMALL).map((name, index) => make("figure", {},
    make("figcaption", {}, name),
    chart(`${name} by step`, 170, () => ({
      ...lineOptions([{ name, look: { color: lineLook(index).color, type: "solid" }, points: pointsOf(run, name, "") }], { x: "", y: "" }),
      grid: { left: 4, right: 10, top: 10, bottom: 4, containLabel: true },
    })))));
  const notes = [
    more > 0 && `${countText(more, "metric")} more: see the view Learning curves.`,
    run.curves.left_out > 0 && `${countText(run.curves.left_out, "metric")} more: left out of this report.`,
  ].filter(Boolean).join(" ");
  return [charts, notes && make("p", { class: "muted small" }, notes)];
}
