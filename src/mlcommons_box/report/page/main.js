// Which view is shown: it stands behind the "#" of the address, so that the browser's own buttons work.

const VIEWS = [
  ["overview", "Overview", overview, () => true],
  ["curves", "Learning curves", curvesView, () => RUNS.some((run) => run.curves)],
  ["sweeps", "Sweeps", sweepsView, () => sweeps().length > 0],
  ["pipeline", "Pipeline", pipelineView, () => RUNS.length > 0],
];

function showRoute() {
  const [name, id] = location.hash.slice(1).split("/").map(decoded);
  const run = name === "run" ? RUN_BY_ID.get(id) : null;
  const view = VIEWS.find(([key]) => key === name) ?? VIEWS[0];
  const isMissing = name === "run" && !run;
  const content = run ? runView(run) : isMissing ? [heading(1, "There is no such run", { tabindex: "-1" })] : view[2]();
  document.getElementById("main").replaceChildren(...[content].flat(Infinity).filter(Boolean));
  forgetCharts();
  for (const link of document.querySelectorAll("nav a")) {
    const isHere = !run && !isMissing && link.getAttribute("href") === `#${view[0]}`;
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${run ? labelOf(run) : view[1]} · ${REPORT.title}`;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const THEMES = [["auto", "◐", "as the system"], ["light", "☀", "light"], ["dark", "☾", "dark"]];

function themeButton() {
  const button = make("button", { type: "button", class: "quiet", onclick: next });
  let index = 0;
  const show = () => {
    const [name, sign, text] = THEMES[index];
    document.documentElement.dataset.theme = name;
    button.textContent = sign;
    button.setAttribute("aria-label", `Colours: ${text}`);
    button.title = `Colours: ${text}`;
    redrawAll();
  };
  function next() {
    index = (index + 1) % THEMES.length;
    show();
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
  show();
  return button;
}

function frame() {
  document.getElementById("top").replaceChildren(
    make("div", { class: "wide top" },
      make("a", { class: "title", href: "#overview" }, make("span", { class: "mark", "aria-hidden": "true" }), REPORT.title),
      make("nav", { "aria-label": "Views" }, VIEWS.filter(([, , , isThere]) => isThere()).map(([name, label]) => make("a", { href: `#${name}` }, label))),
      themeButton()));
  document.getElementById("bottom").replaceChildren(
    make("div", { class: "wide" }, `Made ${timeText(REPORT.made_at)} UTC by mlbox ${REPORT.tool_version} from `, make("code", {}, REPORT.workspace), ". Times are UTC."));
}

async function begin() {
  const main = document.getElementById("main");
  if (!("DecompressionStream" in window)) {
    main.replaceChildren(make("p", { class: "loading" }, "This browser is too old for this report: it needs one of 2023 or later."));
    return;
  }
  takeReport(JSON.parse(await unpacked("data")));
  frame();
  showRoute();
  window.addEventListener("hashchange", () => {
    showRoute();
    window.scrollTo(0, 0);
    document.querySelector("h1")?.focus({ preventScroll: true });
  });
  document.documentElement.dataset.ready = "yes";
}

begin();
