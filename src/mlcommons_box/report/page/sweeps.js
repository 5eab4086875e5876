// Sweeps: what each trial was given, and what came of it, as parallel coordinates and as a table.

const MOST_AXES = 10;
const sweepChoice = { key: null, metric: null, isLess: null };

function sweepsView() {
  const all = sweeps();
  const title = heading(1, "Sweeps", { tabindex: "-1" });
  if (!all.length) return [title, make("p", { class: "empty" }, "No run is a part of a sweep.")];
  const sweep = all.find((each) => each.key === sweepChoice.key) ?? all[0];
  const metrics = namesOf(sweep.runs, "metrics").filter((name) => !isStep(name));
  const goal = goalOf(sweep, metrics);
  const { metric, isLess } = goal;
  const change = () => showRoute();
  const controls = make("div", { class: "controls" },
    all.length > 1 && choice("Sweep", all.map((each) => [each.key, `${each.name} (${countText(each.runs.length, "trial")})`]), sweep.key,
      (value) => Object.assign(sweepChoice, { key: value, metric: null, isLess: null }) && change()),
    metrics.length > 0 && choice("Metric", metrics.map((name) => [name, name]), metric, (value) => { sweepChoice.metric = value; sweepChoice.isLess = null; change(); }),
    metrics.length > 0 && choice("Best is", [["more", "the highest"], ["less", "the lowest"]], isLess ? "less" : "more", (value) => { sweepChoice.isLess = value === "less"; change(); }));
  const best = metric ? bestOf(sweep.runs, metric, isLess) : null;
  const measured = sweep.runs.filter((run) => typeof run.metrics[metric] === "number");
  return [
    title, controls,
    make("div", { class: "tiles" }, sweepTiles(sweep, metric, best)),
    measured.length > 1 && panel("Trials side by side", {}, make("p", { class: "muted small" }, "Each line is a trial. Drag along an axis to keep only the trials that pass there; click the axis to see all again."),
      parallel(sweep, measured, metric, isLess, best)),
    panel("Trials", {}, trialsTable(sweep, metric, isLess, best, metrics)),
  ];
}

function goalOf(sweep, metrics) {
  const said = [sweep.group.metric, sweep.group.objective].find((name) => metrics.includes(name));
  const metric = metrics.includes(sweepChoice.metric) ? sweepChoice.metric : said ?? metrics[0];
  const goal = metric === said ? valueText(sweep.group.goal ?? sweep.group.mode ?? sweep.group.direction) : "";
  const isLess = sweepChoice.isLess ?? (/^min/i.test(goal) || (!/^max/i.test(goal) && Boolean(metric) && isCost(metric)));
  return { metric, isLess };
}

function sweepTiles(sweep, metric, best) {
  const tile = (value, label, kind = "") => make("div", { class: `tile ${kind}` }, make("b", {}, value), make("span", {}, label));
  const failed = sweep.runs.filter((run) => run.status === "failed").length;
  return [
    tile(String(sweep.runs.length), sweep.runs.length === 1 ? "trial" : "trials"),
    failed > 0 && tile(String(failed), "failed", "failed"),
    best && make("a", { class: "tile best", href: `#run/${encodeURIComponent(best.id)}` },
      make("b", {}, "★ ", numberText(best.metrics[metric])),
      make("span", {}, `best ${metric}: `, sweep.varied.map((name) => `${name} = ${valueText(groupOf(best).values?.[name])}`).join(", ") || labelOf(best))),
  ];
}

function dimensionsOf(sweep, measured, metric) {
  const varied = sweep.varied.slice(0, MOST_AXES - 1).map((name) => ({ name, value: (run) => groupOf(run).values?.[name] }));
  return [...varied, { name: metric, value: (run) => run.metrics[metric], isGoal: true }].map((each) => {
    const values = measured.map(each.value);
    const numbers = values.filter((value) => typeof value === "number");
    const isNumber = numbers.length === values.length;
    const isLogarithmic = isNumber && Math.min(...numbers) > 0 && Math.max(...numbers) / Math.min(...numbers) >= (each.isGoal ? 1000 : 50);
    return { ...each, isNumber, isLogarithmic, values };
  });
}

function parallel(sweep, measured, metric, isLess, best) {
  const dimensions = dimensionsOf(sweep, measured, metric);
  const goal = dimensions.length - 1;
  // Colours go by rank, which tells trials apart however their metric is spread; it stands behind the values.
  const ranked = [...measured].sort((one, other) => (one.metrics[metric] - other.metrics[metric]) * (isLess ? 1 : -1));
  const row = (run) => [...dimensions.map((each) => (each.isNumber ? each.value(run) : valueText(each.value(run)) || "–")), ranked.indexOf(run)];
  const options = () => ({
    tooltip: tooltip({ trigger: "item", formatter: ({ name }) => tooltipOf(RUN_BY_ID.get(name), sweep, metric) }),
    parallel: { left: 44, right: 60, top: 48, bottom: 26, axisExpandable: false },
    parallelAxis: dimensions.map((each, dim) => axis({
      dim, name: each.name, scale: true,
      type: each.isNumber ? (each.isLogarithmic ? "log" : "value") : "category",
      ...(each.isNumber ? {} : { data: [...new Set(each.values.map((value) => valueText(value) || "–"))].sort((one, other) => one.localeCompare(other, undefined, { numeric: true })) }),
      nameTextStyle: { color: colour(each.isGoal ? "accent" : "text"), fontWeight: each.isGoal ? "bold" : "normal", fontSize: 12 },
      nameTruncate: { maxWidth: 110 }, nameGap: 16,
      z: 10, axisLabel: { backgroundColor: colour("panel"), padding: [1, 4], borderRadius: 3, ...(each.isNumber ? { formatter: numberText } : {}) },
      areaSelectStyle: { color: colour("accent-soft"), borderColor: colour("accent"), opacity: 0.6, width: 16 },
    })),
    visualMap: {
      show: false, type: "continuous", seriesIndex: 0, dimension: goal + 1, min: 0, max: ranked.length - 1,
      inRange: { color: [colour("good"), colour("middling"), colour("bad")] },
    },
    series: [
      { type: "parallel", lineStyle: { width: 1.6, opacity: 0.55 }, emphasis: { lineStyle: { width: 3, opacity: 1 } }, inactiveOpacity: 0.04, activeOpacity: 0.8,
        data: measured.map((run) => ({ name: run.id, value: row(run) })) },
      ...(best ? [{ type: "parallel", z: 4, lineStyle: { width: 4, opacity: 1, color: colour("best") }, inactiveOpacity: 0.3, data: [{ name: best.id, value: row(best) }] }] : []),
    ],
  });
  const label = `${countText(measured.length, "trial")} of the sweep ${sweep.name}: ${sweep.varied.join(", ")} and ${metric}`;
  const place = chart(label, 400, options, (drawn) => drawn.on("click", ({ name }) => { if (RUN_BY_ID.has(name)) location.hash = `run/${encodeURIComponent(name)}`; }));
  place.style.minWidth = `${Math.max(300, 96 * dimensions.length)}px`;
  return make("div", { class: "scroll plain-scroll", tabindex: "0", role: "region", "aria-label": "Trials side by side" }, place);
}

function tooltipOf(run, sweep, metric) {
  if (!run) return "";
  return [labelOf(run), `${metric}: ${valueText(run.metrics[metric])}`, ...sweep.varied.map((name) => `${name}: ${valueText(groupOf(run).values?.[name])}`)].join("\n");
}

function trialsTable(sweep, metric, isLess, best, metrics) {
  const value = (run) => run.metrics[metric];
  const runs = [...sweep.runs].sort((one, other) => {
    const missing = (typeof value(one) !== "number") - (typeof value(other) !== "number");
    return missing || (isLess ? value(one) - value(other) : value(other) - value(one)) || trialOf(one) - trialOf(other);
  });
  const shown = [metric, ...metrics.filter((name) => name !== metric)].filter(Boolean).slice(0, 4);
  const rows = runs.map((run) => [
    noBreak(linkTo(run, run === best ? "★ " : "", `#${trialOf(run)} ${run.short}`)),
    badge(run.status),
    ...sweep.varied.map((name) => groupOf(run).values?.[name] ?? "").map((each) => (typeof each === "number" ? each : valueText(each))),
    ...shown.map((name) => run.metrics[name] ?? ""),
    noBreak(durationText(run.duration)),
  ]);
  const place = plainTable(["Trial", "Status", ...sweep.varied, ...shown, "Duration"], rows, { label: "Trials" });
  if (best) place.querySelectorAll("tbody tr")[runs.indexOf(best)].className = "best";
  return place;
}
