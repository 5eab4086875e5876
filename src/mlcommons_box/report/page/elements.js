// Makes elements.  Texts only ever become text nodes: no stranger's words are read as HTML.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, settings, children) {
  for (const [name, value] of Object.entries(settings)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((each) => each !== null && each !== undefined && each !== false));
  return element;
}

// An element: attributes and, under names such as "onclick", what happens; null and false are left out.
const make = (name, settings = {}, ...children) => filled(document.createElement(name), settings, children);
const draw = (name, settings = {}, ...children) => filled(document.createElementNS(SVG, name), settings, children);

const heading = (level, text, settings = {}) => make(`h${level}`, settings, text);
const muted = (...children) => make("span", { class: "muted" }, ...children);
const noBreak = (...children) => make("span", { class: "no-break" }, ...children);
const code = (text) => make("code", {}, text);

// A panel with a heading.
function panel(title, settings, ...children) {
  return make("section", { class: "panel", ...settings }, title && heading(2, title), ...children);
}

// Names and values; rows whose value is missing are left out.
function facts(rows) {
  const shown = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
  if (!shown.length) return null;
  return make("dl", { class: "facts" }, shown.map(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

// A list of choices; each is [value, label].
function choice(label, choices, chosen, onChange) {
  const select = make(
    "select",
    { onchange: () => onChange(select.value) },
    choices.map(([value, text]) => make("option", { value, selected: value === chosen }, text)),
  );
  return make("label", { class: "field" }, make("span", {}, label), select);
}

function toggle(label, isOn, onChange) {
  const box = make("input", { type: "checkbox", checked: isOn, onchange: () => onChange(box.checked) });
  return make("label", { class: "check" }, box, make("span", {}, label));
}

// A plain table: heads are texts, cells are texts or elements; numbers stand on the right.
function plainTable(heads, rows, settings = {}) {
  const isNumber = heads.map((_, index) => rows.every((row) => row[index] === "" || typeof row[index] === "number"));
  const cell = (value, index) =>
    make("td", { class: isNumber[index] && "number" }, typeof value === "number" ? numberText(value) : value);
  return make(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": settings.label },
    make(
      "table",
      { class: "plain" },
      make("thead", {}, make("tr", {}, heads.map((head, index) =>
        make("th", { scope: "col", class: isNumber[index] && "number" }, head)))),
      make("tbody", {}, rows.map((row) => make("tr", {}, row.map(cell)))),
    ),
  );
}

// A button that puts a text into the clipboard.
function copyButton(text) {
  const button = make("button", { type: "button", class: "quiet copy", onclick: copy }, "Copy");
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed here";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }
  return button;
}

// What is packed into the page, as text.
async function unpacked(id) {
  const letters = atob(document.getElementById(id).textContent);
  const bytes = Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}
