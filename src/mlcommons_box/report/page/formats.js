// Numbers, times and sizes as people read them; times are UTC, as they are in the ids of runs.

function numberText(value) {
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(3).replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(5)));
}

function durationText(seconds) {
  if (typeof seconds !== "number") return "";
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const two = (number) => String(number).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${two(whole % 60)}s`;
  return `${Math.floor(whole / 3600)}h ${two(Math.floor((whole % 3600) / 60))}m`;
}

function sizeText(bytes) {
  if (typeof bytes !== "number") return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; bytes >= 1024 && unit < units.length - 1; unit += 1) bytes /= 1024;
  return `${unit ? bytes.toFixed(1) : bytes} ${units[unit]}`;
}

const timeText = (text) => (typeof text === "string" ? text.slice(0, 19).replace("T", " ") : "");
const countText = (count, one, several = `${one}s`) => `${count} ${count === 1 ? one : several}`;

// Any value on one line.
function valueText(value) {
  if (typeof value === "number") return numberText(value);
  if (typeof value === "string") return value;
  return value === null || value === undefined ? "" : JSON.stringify(value);
}

// "123456789abc" of a long digest, with all of it as its title.
function digestCode(digest) {
  const text = String(digest);
  const [, prefix, hash] = /^(?:(\w+):)?(.*)$/s.exec(text);
  const short = hash.length > 16 ? `${prefix ? `${prefix}:` : ""}${hash.slice(0, 12)}…` : text;
  return make("code", { title: text, class: "digest" }, short);
}
