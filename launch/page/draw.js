// Elements, numbers, scales and the frame of a picture.

// An element with attributes (functions listen, "on" left out) and text or elements in it.
function node(name, attributes = {}, ...children) {
  return dress(document.createElement(name), attributes, children);
}

function shape(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  return dress(made, attributes, children);
}

function dress(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  element.append(...children); // strings become text, never markup
  return element;
}

const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const finite = (x) => typeof x === "number" && Number.isFinite(x);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

// 1234567 -> 1,234,567; 0.123456 -> 0.1235; 0.00001234 -> 1.23e-5
function number(x, digits = 4) {
  if (x === null || x === undefined) return "–";
  if (typeof x !== "number") return String(x);
  const size = Math.abs(x);
  if (x !== 0 && (size < 1e-3 || size >= 1e9)) {
    return x
      .toPrecision(Math.min(digits, 3))
      .replace(/\.?0+(e|$)/, "$1")
      .replace("+", "");
  }
  if (Number.isInteger(x) || size >= 1000) return Math.round(x).toLocaleString("en");
  return String(Number(x.toPrecision(digits)));
}

// The ticks of an axis, all in one unit: 5000 -> 5 k where the highest is 20 k.
function short(x, most) {
  for (const [unit, name] of [
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ]) {
    if (most >= 5 * unit) return x ? `${Number((x / unit).toPrecision(3))} ${name}` : "0";
  }
  return number(x, 3);
}

function duration(seconds) {
  if (!finite(seconds)) return "–";
  if (seconds < 100) return `${Number(seconds.toPrecision(3))} s`;
  const of = (big, small) => `${Math.floor(seconds / big)} ${small}`;
  const rest = (unit, name) => `${Math.floor(seconds / unit) % 60} ${name}`;
  return seconds < 3600
    ? `${of(60, "min")} ${rest(1, "s")}`
    : `${of(3600, "h")} ${rest(60, "min")}`;
}

// As many digits as the deviation has meaning for: two, or those of a whole column.
const meant = (deviation) => clamp(1 - Math.floor(Math.log10(deviation || 1e-3)), 0, 6);
function spread(mean, deviation, digits = meant(deviation)) {
  if (!finite(mean)) return "–";
  if (!finite(deviation)) return mean >= 0.001 && mean < 1000 ? mean.toPrecision(4) : number(mean);
  return `${mean.toFixed(digits)} ± ${deviation.toFixed(digits)}`;
}

const pen = document.createElement("canvas").getContext("2d");
function textWidth(text) {
  pen.font = "600 12.5px system-ui, sans-serif"; // the widest that pictures use
  return pen.measureText(text).width;
}

// A text cut to so many pixels.
function fit(text, width) {
  if (textWidth(text) <= width) return text;
  let kept = text;
  while (kept && textWidth(`${kept}…`) > width) kept = kept.slice(0, -1);
  return `${kept}…`;
}

// value -> pixel, with ticks; log where it can be.
function scale([low, high], [from, to], log = false) {
  if (log && !(low > 0)) log = false;
  if (low === high) [low, high] = log ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
  const t = log ? Math.log10 : (x) => x;
  const place = (x) => from + ((t(x) - t(low)) / (t(high) - t(low))) * (to - from);
  const ticks = (count) => (log ? decades(low, high, count) : steps(low, high, count));
  return Object.assign(place, { low, high, log, ticks });
}

function steps(low, high, count) {
  const rough = (high - low) / Math.max(count, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((s) => s >= rough * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high * (1 + 1e-12) + 1e-15; i++) {
    ticks.push(Number((i * step).toPrecision(12)));
  }
  return ticks;
}

function decades(low, high, count) {
  if (high < 4 * low) return steps(low, high, count);
  const all = (factors, every) => {
    const found = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++) {
      if (e % every) continue;
      for (const f of factors) {
        const tick = Number((f * 10 ** e).toPrecision(3));
        if (tick >= low * 0.999 && tick <= high * 1.001) found.push(tick);
      }
    }
    return found;
  };
  for (const factors of [[1, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]]) {
    const found = all(factors, 1);
    if (found.length >= 2 && found.length <= Math.max(count, 2)) return found;
  }
  const sparse = all([1], Math.ceil(Math.log10(high / low) / Math.max(count, 1)));
  return sparse.length >= 2 ? sparse : steps(low, high, Math.min(count, 3));
}

// An empty SVG as wide as its holder, in CSS pixels, and a way to lay more of them over
// it: to fade a thousand marks behind one is then no new drawing of them.
function canvas(holder, height, label) {
  const width = Math.max(holder.clientWidth, 240);
  const stack = node("div", { class: "stack", role: "img", "aria-label": label });
  const layer = (name) => {
    const box = { width, height, viewBox: `0 0 ${width} ${height}`, class: name };
    return stack.appendChild(shape("svg", box));
  };
  const svg = layer("base");
  holder.replaceChildren(stack);
  return { stack, svg, layer, width, height };
}

// Axes with titles and ticks, and a group of marks that is cut at its edges.
function frame(holder, { height, xs, ys, logX, logY, xTitle, yTitle, label }) {
  const { stack, svg, layer, width } = canvas(holder, height, label);
  const top = 26,
    bottom = height - 38,
    right = width - 14;
  const y = scale(ys, [bottom, top], logY);
  const yTicks = y.ticks(Math.round((bottom - top) / 46));
  const left = Math.max(...yTicks.map((tick) => textWidth(number(tick))), 20) + 10;
  const x = scale(xs, [left + 4, right - 4], logX);
  for (const tick of yTicks) {
    svg.append(
      shape("line", { class: "grid", x1: left, x2: right, y1: y(tick), y2: y(tick) }),
      shape("text", { x: left - 7, y: y(tick) + 4, "text-anchor": "end" }, number(tick)),
    );
  }
  let end = -Infinity; // of the label before
  const xTicks = x.ticks(Math.round((right - left) / 64));
  for (const tick of xTicks) {
    const text = short(tick, xTicks[xTicks.length - 1]),
      half = textWidth(text) / 2;
    svg.append(
      shape("line", { class: "tick", x1: x(tick), x2: x(tick), y1: bottom, y2: bottom + 4 }),
    );
    if (x(tick) - half < end + 6) continue;
    end = x(tick) + half;
    const at = { x: Math.min(x(tick), width - half), y: bottom + 17 };
    svg.append(shape("text", { ...at, "text-anchor": "middle" }, text));
  }
  const foot = { x: right, y: height - 4, class: "title", "text-anchor": "end" };
  const cut = `cut-${(frame.count = (frame.count || 0) + 1)}`;
  const box = { x: left, y: top - 5, width: right - left, height: bottom - top + 10 };
  const plot = shape("g", { "clip-path": `url(#${cut})` });
  layer("marks").append(plot);
  layer("front").append(shape("g", { "clip-path": `url(#${cut})`, class: "lit" }));
  svg.append(
    shape("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }),
    shape("text", { x: 0, y: 12, class: "title" }, yTitle),
    shape("text", foot, xTitle),
    shape("clipPath", { id: cut }, shape("rect", box)),
  );
  return { stack, plot, x, y, left, right, top, bottom, width };
}

// The path through points; a gap where there is none.
function path(points) {
  let draw = false,
    d = "";
  for (const point of points) {
    if (point) d += `${draw ? "L" : "M"}${point[0].toFixed(1)},${point[1].toFixed(1)}`;
    draw = Boolean(point);
  }
  return d;
}

function select(label, options, chosen, change) {
  const choice = node("select", { change: () => change(choice.value) });
  for (const [value, text] of options) choice.append(node("option", { value }, text));
  choice.value = chosen;
  return node("label", {}, node("span", {}, label), choice);
}

function check(label, on, change) {
  const box = node("input", { type: "checkbox", change: () => change(box.checked) });
  box.checked = on;
  return node("label", {}, box, node("span", {}, label));
}

const tip = document.getElementById("tip");
function showTip(event, lines) {
  tip.replaceChildren(...lines.map((line) => node("div", {}, line)));
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const beside = event.clientX + 14 + width < innerWidth;
  const x = beside ? event.clientX + 14 : event.clientX - width - 14;
  tip.style.left = `${clamp(x, 4, Math.max(innerWidth - width - 4, 4))}px`;
  tip.style.top = `${clamp(event.clientY - height - 12, 4, innerHeight - height - 4)}px`;
}

// Calls `at(x, y, event)` with the pixel in the picture under a mouse or a finger.
function hover(stack, at) {
  const move = (event) => {
    const box = stack.getBoundingClientRect();
    at(event.clientX - box.left, event.clientY - box.top, event);
  };
  stack.addEventListener("pointermove", move);
  stack.addEventListener("pointerdown", move);
  stack.addEventListener("pointerleave", () => focus(null));
}
