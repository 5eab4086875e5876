// The pipeline: the latest run of every run configuration with its state, and the data that joins them.

function pipelineView() {
  const { nodes, lines, width, height, runs_left_out: leftOut } = REPORT.pipeline;
  const line = ({ path, is_part: isPart, title }) =>
    draw("path", { class: isPart ? "line part" : "line", d: path, "marker-end": "url(#arrow)" }, draw("title", {}, title));
  const data = ({ name, text, x, y, width: wide, height: high }) =>
    draw("g", { class: "data" }, draw("title", {}, name),
      draw("rect", { x, y, width: wide, height: high, rx: high / 2 }),
      draw("text", { x: x + wide / 2, y: y + high / 2 + 4, "text-anchor": "middle" }, text));
  const node = (each) => {
    const run = RUN_BY_ID.get(each.run);
    if (!run) return data(each); // it is older than what the report shows
    const { name, text, x, y, width: wide, height: high } = each;
    const state = [run.status, durationText(run.duration)].filter(Boolean).join(" · ");
    return draw("a", { href: `#run/${encodeURIComponent(run.id)}`, class: `node ${run.status}`, "aria-label": `${name}: ${run.status}` },
      draw("title", {}, `${name} (task ${run.task}): ${run.status}, ${timeText(run.started_at)} UTC`),
      draw("rect", { x, y, width: wide, height: high, rx: 8 }),
      draw("rect", { class: "state", x, y, width: 6, height: high, rx: 3 }),
      draw("text", { x: x + 18, y: y + 23, class: "name" }, text),
      draw("text", { x: x + 18, y: y + 41, class: "detail" }, `${SIGNS[run.status]} ${state}`));
  };
  const arrow = draw("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse" },
    draw("path", { d: "M0,0 L8,4 L0,8 z", class: "arrow" }));
  const picture = draw("svg", { viewBox: `-4 -4 ${width + 8} ${height + 8}`, width: width + 8, height: height + 8, class: "graph", role: "group", "aria-label": "Pipeline" },
    draw("defs", {}, arrow), lines.map(line), nodes.map((each) => (each.kind === "run" ? node(each) : data(each))));
  picture.style.minWidth = `${Math.round(0.72 * width)}px`;
  const runs = nodes.filter((each) => each.kind === "run").map((each) => RUN_BY_ID.get(each.run)).filter(Boolean);
  const rows = runs.map((run) => [
    linkTo(run, run.run), badge(run.status), run.task, noBreak(timeText(run.started_at)), noBreak(durationText(run.duration)),
  ]);
  return [
    heading(1, "Pipeline", { tabindex: "-1" }),
    panel("", {}, make("p", { class: "muted small" }, "The latest run of every run configuration, with what it reads and writes; a dashed line joins data with a part of it.",
      leftOut > 0 && ` Left out: ${countText(leftOut, "run configuration")} whose latest run is older.`),
      make("div", { class: "scroll plain-scroll", tabindex: "0", role: "region", "aria-label": "Pipeline" }, picture)),
    panel("Latest runs", {}, plainTable(["Run", "Status", "Task", "Started (UTC)", "Duration"], rows, { label: "Latest runs" })),
  ];
}
