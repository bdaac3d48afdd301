// The trials: their values, order, names and colours; the one that is pointed at.

const DATA = JSON.parse(document.getElementById("data").textContent);
const TRIALS = DATA.trials;
const SLOTS = new Map(TRIALS.map((trial) => [trial.slot, trial]));
let goal = 0; // which objective is shown

const goalName = () => DATA.objectives[goal];
const lower = (i = goal) => DATA.directions[i] !== "maximize";
const value = (trial) => trial.values[goal];
const better = (a, b) => (lower() ? a < b : a > b);

// Complete trials that have a value, the best first.
function ranked() {
  const done = TRIALS.filter((t) => t.state === "complete" && finite(value(t)));
  return done.sort((a, b) => (lower() ? 1 : -1) * (value(a) - value(b)));
}

// The different values of a flag: numbers in their order, then words as they come.
function distinct(name, trials = TRIALS) {
  const all = [...new Set(trials.map((t) => t.params[name]).filter((v) => v != null))];
  const numbers = all.filter(finite).sort((a, b) => a - b);
  return [...numbers, ...all.filter((v) => !finite(v))];
}

const numeric = (name) => distinct(name).every(finite);
// A flag that some trials do without varies too.
const everywhere = (name) => TRIALS.every((t) => t.params[name] != null);
const VARIED = DATA.names.filter((name) => distinct(name).length > 1 || !everywhere(name));
const NAMES = VARIED.length ? VARIED : DATA.names;

// Spread over orders of magnitude, most of them low: better seen on a logarithmic axis.
function wide(values) {
  const sorted = values.filter(finite).sort((a, b) => a - b);
  const low = sorted[0],
    middle = sorted[sorted.length >> 1],
    high = sorted[sorted.length - 1];
  return low > 0 && high >= 10 * low && middle < (low + high) / 3;
}

const shown = (x) => (x === true ? "true" : x === false ? "false" : number(x, 3));
const named = (trial) =>
  NAMES.filter((name) => trial.params[name] != null)
    .map((name) => (`${trial.params[name]}` === "true" ? name : shown(trial.params[name])))
    .join(" · ") || "no flags";
const lines = (trial) => [
  `trial ${trial.slot}${trial.state === "complete" ? "" : ` (${trial.state})`}`,
  ...NAMES.map((name) => `${name} ${shown(trial.params[name])}`),
];

// The range of values worth an axis: a few far off on the bad side are left outside.
function limits(values, low = lower()) {
  const sorted = values.filter(finite).sort((a, b) => (low ? a - b : b - a));
  if (!sorted.length) return [0, 1];
  const best = sorted[0],
    worst = sorted[sorted.length - 1];
  const most = sorted[Math.floor(0.9 * (sorted.length - 1))];
  const edge =
    Math.abs(worst - best) > 2.5 * Math.abs(most - best) && most !== best
      ? most + (most - best) * 0.25
      : worst;
  return low ? [best, edge] : [edge, best];
}

function padded([low, high], log = false, share = 0.05) {
  if (log && low > 0) return [low / (high / low) ** share, high * (high / low) ** share];
  return [low - share * (high - low), high + share * (high - low)];
}

// Viridis; the best is the end that stands out from the page.
const VIRIDIS = [
  "#440154",
  "#482475",
  "#414487",
  "#355f8d",
  "#2a788e",
  "#21918c",
  "#22a884",
  "#44bf70",
  "#7ad151",
  "#bddf26",
  "#fde725",
].map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
const dark = matchMedia("(prefers-color-scheme: dark)");

function viridis(t) {
  const at = clamp(t, 0, 1) * (VIRIDIS.length - 1),
    i = Math.min(Math.floor(at), 9);
  return VIRIDIS[i].map((a, k) => Math.round(a + (VIRIDIS[i + 1][k] - a) * (at - i)));
}

// 0 is the best, 1 the worst.
const heatOf = (t) => viridis(dark.matches ? 1 - 0.85 * clamp(t, 0, 1) : 0.92 * clamp(t, 0, 1));
const rgb = (color) => `rgb(${color.join(",")})`;
const inkOn = ([r, g, b]) => (0.299 * r + 0.587 * g + 0.114 * b > 130 ? "#111" : "#fff");

// How bad a value is among others, from 0 to 1.
const badness =
  ([low, high]) =>
  (x) =>
    high === low ? 0 : clamp(lower() ? (x - low) / (high - low) : (high - x) / (high - low), 0, 1);

// Trials by what they are coloured by: one each, or those of equal flag.
const HUES = 8,
  DASHES = ["none", "7 4", "2 3", "9 3 2 3", "4 2"];
function groups(trials, by) {
  if (!by) {
    return trials.map((trial, i) => ({
      label: named(trial),
      trials: [trial],
      color: `var(--c${i % HUES})`,
      dash: DASHES[Math.floor(i / HUES) % DASHES.length],
      key: trial.slot,
    }));
  }
  const numbers = numeric(by),
    bins = numbers && edges(by);
  const labels = numbers ? bins.labels : distinct(by).map(shown);
  const of = numbers ? (t) => bins.of(t.params[by]) : (t) => distinct(by).indexOf(t.params[by]);
  const members = labels.map(() => []);
  for (const trial of trials) members[of(trial)]?.push(trial);
  const ramp = (i) => rgb(viridis(0.08 + (0.8 * i) / Math.max(labels.length - 1, 1)));
  return labels
    .map((label, i) => ({
      label: `${label}`,
      trials: members[i],
      key: i,
      dash: DASHES[Math.floor(i / HUES) % 5],
      color: numbers ? ramp(i) : `var(--c${i % HUES})`,
    }))
    .filter((group) => group.trials.length);
}

// Few values of a number stay as they are; many are put into bins of equal width.
function edges(name, most = 6) {
  const values = distinct(name),
    labels = values.map(shown);
  if (values.length <= 8) return { labels, middles: labels, of: (x) => values.indexOf(x) };
  const log = wide(values),
    t = log ? Math.log : (x) => x,
    back = log ? Math.exp : (x) => x;
  const low = t(values[0]),
    step = (t(values[values.length - 1]) - low) / most;
  const at = (i) => number(back(low + i * step), 2),
    bins = [...Array(most).keys()];
  return {
    labels: bins.map((i) => `${at(i)} – ${at(i + 1)}`),
    middles: bins.map((i) => `~ ${at(i + 0.5)}`),
    of: (x) => (x == null ? -1 : clamp(Math.floor((t(x) - low) / step), 0, most - 1)),
  };
}

// Points at a trial in every picture and in the table.
let focused = null;
function focus(slot, event, extra = []) {
  if (slot === null) tip.hidden = true;
  else if (event) showTip(event, [...lines(SLOTS.get(slot)), ...extra]);
  if (slot === focused) return;
  for (const old of document.querySelectorAll(".hot")) old.classList.remove("hot");
  for (const lit of document.querySelectorAll(".lit")) lit.replaceChildren();
  focused = slot;
  document.body.classList.toggle("focused", slot !== null);
  if (slot === null) return;
  for (const one of document.querySelectorAll(`[data-slot="${slot}"]`)) {
    const lit = one.closest(".stack")?.querySelector(".lit");
    if (lit) lit.append(one.cloneNode(true));
    else one.classList.add("hot");
  }
}

// Mean and deviation, with the digits that half of the trials deserve.
const DIGITS = DATA.objectives.map((_, i) => {
  const all = TRIALS.map((t) => t.deviations[i]).filter((d) => finite(d) && d > 0);
  return all.length ? meant(all.sort((a, b) => a - b)[all.length >> 1]) : undefined;
});
const score = (t, i = goal) => spread(t.values[i], t.deviations[i], DIGITS[i]);
const facts = (trial) => [`${goalName()} ${score(trial)}`];
