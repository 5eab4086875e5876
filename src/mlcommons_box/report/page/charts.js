// Charts, drawn by Apache ECharts, which is unpacked when the first one is wanted.

let library = null;
const live = new Map();

function loadLibrary() {
  library ??= unpacked("library").then((text) => {
    const script = document.createElement("script");
    script.textContent = text;
    document.head.append(script);
    return window.echarts;
  });
  return library;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const PALETTE = Array.from({ length: 10 }, (_, index) => `series-${index}`);
const DASHES = ["solid", "dashed", "dotted"];
// The look of the n-th line: ten colours, then the same ones dashed.
const lineLook = (index) => ({
  color: colour(PALETTE[index % 10]),
  type: DASHES[Math.floor(index / 10) % DASHES.length],
});

// A place for a chart; what it shows is asked for again when the colours change.
function chart(label, height, options, onChart) {
  const place = make("div", { class: "chart", role: "img", "aria-label": label });
  place.style.height = `${height}px`;
  loadLibrary().then((echarts) => {
    if (!place.isConnected) return;
    const drawn = echarts.init(place, null, { renderer: "canvas" });
    const watch = new ResizeObserver(() => drawn.resize());
    watch.observe(place);
    const show = () => drawn.setOption({ ...look(), ...options() }, { notMerge: true });
    live.set(place, { drawn, watch, show });
    show();
    onChart?.(drawn);
  });
  return place;
}

const redraw = (place) => live.get(place)?.show();
const redrawAll = () => live.forEach((each) => each.show());

function forgetCharts() {
  for (const [place, each] of live) {
    if (place.isConnected) continue;
    each.watch.disconnect();
    each.drawn.dispose();
    live.delete(place);
  }
}

function look() {
  return {
    animation: false,
    textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: colour("text") },
    color: PALETTE.map(colour),
  };
}

// Tooltips are drawn on the canvas, too: no text becomes HTML.
function tooltip(settings) {
  return {
    renderMode: "richText",
    confine: true,
    backgroundColor: colour("panel"),
    borderColor: colour("line"),
    textStyle: { color: colour("text"), fontSize: 12 },
    ...settings,
  };
}

function axis(settings) {
  return {
    axisLine: { lineStyle: { color: colour("line-strong") } },
    axisTick: { show: false },
    splitLine: { show: settings.type !== "category", lineStyle: { color: colour("line") } },
    nameTextStyle: { color: colour("muted"), fontSize: 12 },
    ...settings,
    axisLabel: { color: colour("muted"), fontSize: 12, hideOverlap: true, ...settings.axisLabel },
  };
}

// Lines of [x, y] points; each line has name, points and look.
function lineOptions(lines, { x, y, isLogarithmic, isZoomed }) {
  return {
    grid: { left: 8, right: 16, top: 34, bottom: isZoomed ? 62 : 30, containLabel: true },
    tooltip: tooltip({ trigger: "axis", order: "valueDesc", valueFormatter: (value) => numberText(value) }),
    xAxis: axis({
      type: "value", name: x, nameLocation: "middle", nameGap: 28, scale: true,
      axisPointer: { label: { formatter: ({ value }) => `${x || "step"} ${numberText(Math.round(value * 1e6) / 1e6)}` } },
    }),
    yAxis: axis({
      type: isLogarithmic ? "log" : "value", name: y, scale: true, nameTextStyle: { color: colour("muted"), align: "left" },
      axisLabel: { formatter: numberText },
    }),
    dataZoom: isZoomed ? [{ type: "inside", filterMode: "none" }, zoomBar()] : [],
    series: lines.map((line) => ({
      type: "line",
      name: line.name,
      data: isLogarithmic ? line.points.filter(([, value]) => value > 0) : line.points,
      showSymbol: line.points.length < 40,
      symbol: "circle",
      symbolSize: 5,
      connectNulls: true,
      lineStyle: { width: 2, type: line.look.type },
      itemStyle: { color: line.look.color },
      emphasis: { focus: "series" },
    })),
  };
}

function zoomBar() {
  return {
    type: "slider", height: 20, bottom: 6, filterMode: "none", borderColor: colour("line"), showDataShadow: false,
    fillerColor: colour("accent-soft"), handleStyle: { color: colour("accent") }, moveHandleSize: 0,
    textStyle: { color: colour("muted"), fontSize: 11 }, labelFormatter: (value) => numberText(value),
  };
}
