// The first page: how many runs there are and how they ended, when they were, and all of them in a table.

function overview() {
  const notes = [];
  if (!RUNS.length) notes.push("There are no runs yet: 'mlbox run' makes one.");
  if (REPORT.runs_left_out) notes.push(`The ${REPORT.runs_left_out} oldest runs are left out.`);
  if (REPORT.logs_left_out) notes.push("The logs of older runs are left out.");
  const unreadable = REPORT.unreadable.length && make("details", { class: "panel warning" },
    make("summary", {}, `${countText(REPORT.unreadable.length, "record")} cannot be read`),
    make("ul", {}, REPORT.unreadable.map((each) => make("li", {}, code(each.id), " ", each.reason))));
  return [
    heading(1, "Overview", { class: "unseen", tabindex: "-1" }),
    make("div", { class: "tiles" }, tiles()),
    notes.length > 0 && make("p", { class: "note" }, notes.join(" ")),
    unreadable || null,
    RUNS.length > 1 && panel("Runs over time", {}, overTime()),
    RUNS.length > 0 && panel("Runs", {}, runsTable()),
  ];
}

function tiles() {
  const count = (status) => RUNS.filter((run) => run.status === status).length;
  const ended = RUNS.filter((run) => run.status === "succeeded" || run.status === "failed").length;
  const seconds = RUNS.reduce((sum, run) => sum + (run.status === "running" ? 0 : run.duration ?? 0), 0);
  const configurations = new Set(RUNS.map((run) => run.run)).size;
  const tile = (value, label, kind = "") => make("div", { class: `tile ${kind}` }, make("b", {}, value), make("span", {}, label));
  return [
    tile(String(RUNS.length), RUNS.length === 1 ? "run" : "runs"),
    ended > 0 && tile(`${Math.round((100 * count("succeeded")) / ended)} %`, "of ended runs succeeded", "succeeded"),
    tile(String(count("failed")), "failed", count("failed") ? "failed" : ""),
    count("running") > 0 && tile(String(count("running")), "running", "running"),
    count("cancelled") + count("lost") > 0 && tile(String(count("cancelled") + count("lost")), "cancelled or lost"),
    tile(durationText(seconds), "in runs that have ended"),
    tile(String(configurations), configurations === 1 ? "run configuration" : "run configurations"),
  ];
}

const PERIODS = [1, 5, 15, 60, 180, 720, 1440, 2880, 10080, 43200].map((minutes) => minutes * 60000);

// How many runs began in each period, by how they ended; a click shows those of one period alone.
function overTime() {
  const times = RUNS.map((run) => Date.parse(run.started_at)).filter((time) => !Number.isNaN(time));
  const first = Math.min(...times);
  const last = Math.max(...times);
  const period = PERIODS.find((each) => (last - first) / each <= 60) ?? Math.ceil((last - first) / 60 / PERIODS.at(-1)) * PERIODS.at(-1);
  const start = Math.floor(first / period) * period;
  const count = Math.floor((last - start) / period) + 1;
  const iso = (time) => new Date(time).toISOString();
  const label = (index) => iso(start + index * period).slice(period >= 1440 * 60000 ? 0 : 5, period >= 1440 * 60000 ? 10 : 16).replace("T", " ");
  const labels = Array.from({ length: count }, (_, index) => label(index));
  const counts = Object.fromEntries(STATUSES.map((status) => [status, new Array(count).fill(0)]));
  for (const run of RUNS) {
    const index = Math.floor((Date.parse(run.started_at) - start) / period);
    if (index >= 0) counts[run.status][index] += 1;
  }
  const options = () => ({
    grid: { left: 22, right: 34, top: 30, bottom: 4, containLabel: true },
    tooltip: tooltip({ trigger: "axis", axisPointer: { type: "shadow" } }),
    legend: { type: "scroll", pageIconColor: colour("muted"), top: 0, left: 0, itemWidth: 12, itemHeight: 12, textStyle: { color: colour("muted") } },
    xAxis: axis({ type: "category", data: labels }),
    yAxis: axis({ type: "value", minInterval: 1 }),
    series: STATUSES.filter((status) => counts[status].some(Boolean)).map((status) => ({
      type: "bar", stack: "all", name: status, data: counts[status], itemStyle: { color: colour(status) }, barMaxWidth: 36, barCategoryGap: "15%",
    })),
  });
  return chart(`Runs by the time of their start, from ${labels[0]} to ${labels.at(-1)} UTC`, 200, options, (drawn) => {
    drawn.on("click", ({ dataIndex }) => {
      table.period = [iso(start + dataIndex * period), iso(start + (dataIndex + 1) * period)];
      table.show();
    });
  });
}
