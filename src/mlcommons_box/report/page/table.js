// The table of runs: sorted by any column, and filtered by words, statuses, platforms and sweeps.

const PAGE = 100;
const table = {
  words: "", statuses: new Set(), platform: "", group: "", period: null, sort: "started", isDown: true, shown: PAGE,
  chosen: new Set(), columns: null,
};

function columnsOfRuns() {
  const fixed = [
    { key: "status", label: "Status", value: (run) => run.status, cell: (run) => badge(run.status) },
    { key: "run", label: "Run", value: (run) => run.run, cell: (run) => linkTo(run, run.run) },
    { key: "id", label: "Id", value: (run) => run.short, cell: (run) => code(run.short) },
    { key: "platform", label: "Platform", value: (run) => run.platform },
    { key: "started", label: "Started (UTC)", value: (run) => run.started_at, cell: (run) => timeText(run.started_at) },
    { key: "duration", label: "Duration", isNumber: true, value: (run) => run.duration, cell: (run) => durationText(run.duration) },
  ];
  const named = (kind, field) => namesOf(RUNS, field).map((name) => ({
    key: `${kind}:${name}`, label: name, kind, name, isOptional: true,
    isNumber: RUNS.some((run) => typeof run[field][name] === "number"),
    value: (run) => run[field][name],
    cell: (run) => valueText(run[field][name]),
  }));
  const others = [
    { key: "exit", label: "Exit status", kind: "more", name: "exit", isOptional: true, isNumber: true, value: (run) => run.exit_status },
    { key: "memory", label: "Peak memory", kind: "more", name: "memory", isOptional: true, isNumber: true,
      value: (run) => run.usage?.peak_memory, cell: (run) => sizeText(run.usage?.peak_memory) },
    { key: "group", label: "Part of", kind: "more", name: "group", isOptional: true, value: groupText },
    { key: "box", label: "Box", kind: "more", name: "box", isOptional: true, value: (run) => `${run.box} ${run.box_version}` },
  ];
  return [...fixed, ...named("metric", "metrics"), ...named("hyper-parameter", "values"), ...others];
}

function groupText(run) {
  const group = groupOf(run);
  if (group.kind === undefined) return "";
  const parts = [group.kind, group.name, group.trial === undefined ? "" : `#${valueText(group.trial)}`, group.of && `of ${valueText(group.of)}`];
  return parts.map(valueText).filter(Boolean).join(" ");
}

// The metrics of most runs are shown unless somebody chooses.
function usualColumns(columns) {
  const metrics = columns.filter((each) => each.kind === "metric" && !isStep(each.name)).slice(0, 3);
  return new Set(metrics.map((each) => each.key));
}

// "accuracy>0.9" compares a column; other words have to be somewhere in the run.
function isMeant(run, columns) {
  if (table.statuses.size && !table.statuses.has(run.status)) return false;
  if (table.platform && run.platform !== table.platform) return false;
  if (table.group && groupKey(run) !== table.group) return false;
  if (table.period && !(run.started_at >= table.period[0] && run.started_at < table.period[1])) return false;
  return table.words.toLowerCase().split(/\s+/).filter(Boolean).every((word) => {
    const [, name, sign, wanted] = /^(.+?)(<=|>=|<|>|=)(.+)$/.exec(word) ?? [];
    const column = name && columns.find((each) => each.label.toLowerCase() === name || each.key === name);
    return column ? compares(column.value(run), sign, wanted) : textOf(run).includes(word);
  });
}

function compares(value, sign, wanted) {
  if (value === null || value === undefined) return false;
  if (typeof value !== "number" || Number.isNaN(Number(wanted))) {
    return sign === "=" && valueText(value).toLowerCase() === wanted;
  }
  const number = Number(wanted);
  return { "<": value < number, ">": value > number, "<=": value <= number, ">=": value >= number, "=": value === number }[sign];
}

function textOf(run) {
  run.text ??= [
    run.id, run.run, run.task, run.box, run.status, run.platform, run.runner, run.started_at, run.reason, groupText(run),
    ...Object.entries(run.values).map(([name, value]) => `${name}=${valueText(value)}`),
  ].filter(Boolean).join(" ").toLowerCase();
  return run.text;
}

function groupKey(run) {
  const group = groupOf(run);
  return group.kind === undefined ? "" : valueText(group.id ?? `${valueText(group.kind)} ${valueText(group.name)}`);
}

function sorted(runs, column) {
  const isMissing = (value) => value === null || value === undefined || value === "";
  const compare = (one, other) =>
    typeof one === "number" && typeof other === "number" ? one - other : valueText(one).localeCompare(valueText(other), undefined, { numeric: true });
  return runs
    .map((run) => [column.value(run), run])
    .sort(([one], [other]) => {
      if (isMissing(one) || isMissing(other)) return isMissing(one) - isMissing(other);
      return table.isDown ? compare(other, one) : compare(one, other);
    })
    .map(([, run]) => run);
}

// The table with its controls; "change" draws the rows again and leaves the controls, so that nobody loses the focus.
function runsTable() {
  const columns = columnsOfRuns();
  table.columns ??= usualColumns(columns);
  const rows = make("div", {});
  const count = make("p", { class: "count", role: "status" });
  const change = () => { table.shown = PAGE; show(); };

  function show() {
    const visible = columns.filter((each) => !each.isOptional || table.columns.has(each.key));
    const column = columns.find((each) => each.key === table.sort) ?? columns[0];
    const meant = sorted(RUNS.filter((run) => isMeant(run, columns)), column);
    count.replaceChildren(
      meant.length === RUNS.length ? countText(RUNS.length, "run") : `${meant.length} of ${countText(RUNS.length, "run")}`,
      table.period ? [" ", make("button", { type: "button", class: "quiet", onclick: () => { table.period = null; change(); } },
        `of ${timeText(table.period[0])} to ${timeText(table.period[1])} ✕`)] : [],
    );
    const focused = document.activeElement?.dataset?.sort;
    rows.replaceChildren(
      meant.length ? rowsTable(meant.slice(0, table.shown), visible) : make("p", { class: "empty" }, "No run is meant by this filter."),
      meant.length > table.shown && make("button", { type: "button", class: "more", onclick: () => { table.shown += 2 * PAGE; show(); } },
        `Show more (${meant.length - table.shown} left)`) || "",
    );
    if (focused) rows.querySelector(`[data-sort="${CSS.escape(focused)}"]`)?.focus();
  }

  function head(column) {
    const isSorted = table.sort === column.key;
    const sign = isSorted ? (table.isDown ? "↓" : "↑") : "";
    const sort = () => {
      table.isDown = isSorted ? !table.isDown : Boolean(column.isNumber) || column.key === "started";
      table.sort = column.key;
      change();
    };
    return make("th", { scope: "col", class: column.isNumber && "number", "aria-sort": isSorted ? (table.isDown ? "descending" : "ascending") : "none" },
      make("button", { type: "button", "data-sort": column.key, title: column.kind && `${column.kind} ${column.label}`, onclick: sort },
        column.label, make("span", { class: "sign", "aria-hidden": "true" }, sign)));
  }

  function rowsTable(runs, visible) {
    const hasCurves = RUNS.some((run) => run.curves);
    const box = (run) => make("td", { class: "choose" }, run.curves && make("input", {
      type: "checkbox", checked: table.chosen.has(run.id), "aria-label": `compare ${labelOf(run)}`,
      onchange: (event) => { table.chosen[event.target.checked ? "add" : "delete"](run.id); showChosen(); },
    }));
    const cell = (column, run) => make("td", { class: `${column.isNumber ? "number " : ""}of-${column.kind ? "more" : column.key}`, "data-label": column.label },
      column.cell ? column.cell(run) : valueText(column.value(run)));
    return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Runs" },
      make("table", { class: "runs" },
        make("thead", {}, make("tr", {}, hasCurves && make("th", { class: "choose" }, make("span", { class: "unseen" }, "Compare")), visible.map(head))),
        make("tbody", {}, runs.map((run) => make("tr", { class: run.status }, hasCurves && box(run), visible.map((column) => cell(column, run)))))));
  }

  const compare = make("a", { class: "button", href: "#curves", hidden: true });
  function showChosen() {
    compare.hidden = table.chosen.size === 0;
    compare.textContent = `Compare ${countText(table.chosen.size, "learning curve")}`;
  }

  table.show = change;
  show();
  showChosen();
  return make("div", {}, controls(columns, change), make("div", { class: "bar" }, count, compare), rows);
}

function controls(columns, change) {
  const search = make("input", {
    type: "search", id: "filter", value: table.words, placeholder: "Filter: words, or accuracy>0.9", "aria-label": "Filter runs", autocomplete: "off", spellcheck: "false",
    oninput: () => { table.words = search.value; change(); },
  });
  const chips = STATUSES.filter((status) => RUNS.some((run) => run.status === status)).map((status) => {
    const chip = make("button", {
      type: "button", class: `chip ${status}`, "aria-pressed": String(table.statuses.has(status)),
      onclick: () => {
        if (!table.statuses.delete(status)) table.statuses.add(status);
        chip.setAttribute("aria-pressed", String(table.statuses.has(status)));
        change();
      },
    }, make("span", { "aria-hidden": "true" }, SIGNS[status]), ` ${status} `, make("b", {}, String(RUNS.filter((run) => run.status === status).length)));
    return chip;
  });
  const platforms = [...new Set(RUNS.map((run) => run.platform))].sort();
  const groups = [...new Map(RUNS.filter((run) => groupKey(run)).map((run) => [groupKey(run), `${valueText(groupOf(run).kind)} ${valueText(groupOf(run).name)}`.trim()]))];
  return make("div", { class: "controls" },
    search,
    make("div", { class: "chips", role: "group", "aria-label": "Statuses" }, chips),
    platforms.length > 1 && choice("Platform", [["", "all"], ...platforms.map((each) => [each, each])], table.platform, (value) => { table.platform = value; change(); }),
    groups.length > 0 && choice("Part of", [["", "all"], ...groups], table.group, (value) => { table.group = value; change(); }),
    make("div", { class: "narrow" }, choice("Sort by", columns.map((each) => [each.key, each.label]), table.sort, (value) => { table.sort = value; change(); })),
    columnChoice(columns, change));
}

function columnChoice(columns, change) {
  const optional = columns.filter((each) => each.isOptional);
  const kinds = [...new Set(optional.map((each) => each.kind))];
  return make("details", { class: "menu" },
    make("summary", {}, "Columns"),
    make("div", { class: "menu-body" }, kinds.map((kind) => make("fieldset", {}, make("legend", {}, kind === "more" ? "more" : `${kind}s`),
      optional.filter((each) => each.kind === kind).slice(0, 60).map((each) => toggle(each.label, table.columns.has(each.key), (isOn) => {
        table.columns[isOn ? "add" : "delete"](each.key);
        change();
      }))))));
}
