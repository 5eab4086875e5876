// The page of one run: everything that its record holds.

function runView(run) {
  const plan = isObject(run.plan) ? run.plan : {};
  const index = RUNS.indexOf(run);
  const near = (other, text) => other && make("a", { class: "button", href: `#run/${encodeURIComponent(other.id)}` }, text);
  return [
    make("p", { class: "crumbs" }, make("a", { href: "#overview" }, "Overview"), " / ", run.run),
    make("div", { class: "run-head" },
      heading(1, run.run, { tabindex: "-1" }), badge(run.status),
      make("span", { class: "grow" }), near(RUNS[index + 1], "← Older"), near(RUNS[index - 1], "Newer →")),
    run.reason && make("p", { class: `reason ${run.status}` }, run.reason),
    make("div", { class: "side-by-side" },
      panel("Run", {}, facts([
        ["Id", code(run.id)], ["Exit status", run.exit_status], ["Box", `${run.box} ${run.box_version}`], ["Task", run.task],
        ["Platform", run.platform === run.runner ? run.platform : `${run.platform} (${run.runner} runner)`],
        ["Started", `${timeText(run.started_at)} UTC`], ["Ended", run.ended_at && `${timeText(run.ended_at)} UTC`],
        ["Duration", durationText(run.duration)], ["Peak memory", sizeText(run.usage?.peak_memory)],
        ["Processor time", durationText(run.usage?.cpu_time)], ["Part of", groupText(run)], ["Engine's id", run.native_id && code(run.native_id)],
        ["Started by", `mlbox ${run.tool_version}, process ${valueText(run.supervisor?.pid)} of ${valueText(run.supervisor?.host)}`],
        ["Up to date", run.unproved === null ? "proved" : run.unproved && `not proved: ${run.unproved}`],
      ])),
      Object.keys(run.metrics).length > 0 && panel("Metrics", {}, valuesTable(Object.entries(run.metrics), "Metric"),
        run.metrics_left_out > 0 && make("p", { class: "muted small" }, `${countText(run.metrics_left_out, "metric")} more: left out of this report.`)),
      hyperparameters(run)),
    run.curves && panel("Learning curves", {}, curvesOf(run)),
    panel("Parameters", {}, parametersTable(run, plan)),
    run.commands.length > 0 && panel("Commands", {}, run.commands.map((command) => block(command))),
    logs(run),
    make("div", { class: "columns" },
      nested("Code", run.code), nested("Image", run.image), nested("Engine", run.engine), nested("Machine", run.machine),
      nested("Environment", plan.environment), nested("Limits and options", limits(plan))),
    everything(run),
  ];
}

const valuesTable = (entries, head) => plainTable([head, "Value"], entries.map(([name, value]) => [name, typeof value === "number" ? value : valueText(value)]), { label: head });

function hyperparameters(run) {
  const inputs = entriesOf(run.hyperparameters).filter(([, held]) => entriesOf(held).length);
  const trial = entriesOf(groupOf(run).values);
  if (!inputs.length && !trial.length) return null;
  return panel("Hyper-parameters", {},
    trial.length > 0 && [heading(3, `chosen by ${groupText(run)}`), valuesTable(trial, "Name")],
    inputs.map(([input, held]) => [heading(3, `of the input ${input}`), valuesTable(entriesOf(held), "Name")]));
}

function parametersTable(run, plan) {
  const parameters = Array.isArray(plan.parameters) ? plan.parameters : [];
  if (!parameters.length) return make("p", { class: "muted" }, "The task has no parameters.");
  const rows = parameters.map((each) => {
    if (!isObject(each)) return ["", each, "", "", "", ""]; // says how many more there are
    const found = (each.direction === "output" ? run.outputs : run.inputs)?.[each.name];
    const held = isObject(found) ? found : {};
    const files = typeof held.files === "number" && held.kind === "directory" ? `, ${countText(held.files, "file")}` : "";
    return [
      each.direction === "output" ? "out" : "in", each.name, make("code", { class: "path" }, each.path),
      held.kind ? `${valueText(held.kind)}${files}` : valueText(each.type), sizeText(held.size), held.digest ? digestCode(held.digest) : "",
    ];
  });
  return plainTable(["", "Name", "Path", "Holds", "Size", "SHA-256"], rows, { label: "Parameters" });
}

function logs(run) {
  const shown = [["stdout", "Standard output"], ["stderr", "Standard error"]].filter(([stream]) => isObject(run.logs?.[stream]));
  if (!shown.length) return null;
  return panel("What the task wrote", {}, shown.map(([stream, title]) => {
    const log = run.logs[stream];
    const part = log.is_cut ? `the end of ${sizeText(log.size)}` : sizeText(log.size);
    return [heading(3, title), make("p", { class: "muted small" }, part), block(log.text, "log")];
  }));
}

function block(text, kind = "") {
  return make("div", { class: "block" }, copyButton(text), make("pre", { class: kind, tabindex: "0" }, text));
}

function limits(plan) {
  const { network, timeout, resources, options, arguments: given, ca_bundle: bundle } = plan;
  return { network, timeout, resources, options, arguments: given, certificates: bundle };
}

// A panel with all that an object holds, names joined by dots; null when that is nothing.
function nested(title, value) {
  const rows = flat(value);
  if (!rows.length) return null;
  return panel(title, {}, facts(rows.map(([name, each]) => [name, shownValue(name, each)])));
}

function shownValue(name, value) {
  const last = name.slice(name.lastIndexOf(".") + 1);
  if (typeof value === "number" && /memory|size|bytes/.test(last)) return sizeText(value);
  if (typeof value === "string" && /^([0-9a-z]+:)?[0-9a-f]{40,}$/.test(value)) return code(value);
  return valueText(value) || "–";
}

function flat(value, prefix = "") {
  return entriesOf(value).flatMap(([name, each]) => {
    const path = prefix ? `${prefix}.${name}` : name;
    if (each === null && !prefix) return [];
    if (each === undefined || (Array.isArray(each) && !each.length)) return [];
    if (isObject(each)) return flat(each, path);
    if (each === null) return [];
    return [[path, Array.isArray(each) ? each.map(valueText).join(" ") : each]];
  });
}

function everything(run) {
  const details = make("details", { class: "panel", ontoggle: fill }, make("summary", {}, "The whole record, as JSON"));
  function fill() {
    if (!details.open || details.children.length > 1) return;
    const { values, text, short, curves: drawn, logs: tails, ...record } = run;
    details.append(block(JSON.stringify(record, null, 2)));
  }
  return details;
}
