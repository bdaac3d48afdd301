// The page: what it says in words, and when its pictures are drawn.

function header() {
  const count = (state) => TRIALS.filter((trial) => trial.state === state).length;
  const seeds = Math.max(0, ...TRIALS.map((trial) => trial.seeds));
  const states = STATES.map((s) => [s, count(s)]).filter(([, n]) => n);
  const facts = [
    DATA.search && `${DATA.search} search`,
    `${number(TRIALS.length)} trials${seeds > 1 ? ` × ${seeds} seeds` : ""}`,
    ...states.map(([s, n]) => `${number(n)} ${s}`),
    DATA.finished ? "finished" : "under way when this page was made",
  ].filter(Boolean);
  document.getElementById("facts").replaceChildren(...facts.map((fact) => node("span", {}, fact)));
  const fixed = Object.entries(DATA.flags)
    .map(([name, text]) => `--${name}=${text}`)
    .join(" ");
  const parts = [];
  if (DATA.command) parts.push(node("pre", {}, DATA.command));
  if (fixed)
    parts.push(
      node("p", { class: "hint" }, "Flags that all trials share: ", node("code", {}, fixed)),
    );
  const details = node("details", {}, node("summary", {}, "Command and flags"), ...parts);
  document.getElementById("command").replaceChildren(...(parts.length ? [details] : []));
  if (DATA.objectives.length > 1) {
    const names = DATA.objectives.map((name, i) => [i, name]);
    const change = (i) => {
      goal = Number(i);
      draw();
    };
    document
      .getElementById("command")
      .append(node("div", { class: "controls" }, select("objective", names, goal, change)));
  }
}

function chosen(holder) {
  const trial = DATA.chosen && SLOTS.get(DATA.chosen.slot);
  holder.hidden = !trial;
  document.querySelector('nav a[href="#chosen"]').hidden = !trial;
  if (!trial) return;
  const figure = (name, text) =>
    node("div", { class: "figure" }, node("b", {}, text), node("span", {}, name));
  const tests = Object.entries(DATA.chosen.test ?? {}).map(([name, x]) => figure(name, number(x)));
  holder.replaceChildren(
    node("h2", {}, `Chosen: trial ${trial.slot}`),
    node(
      "p",
      { class: "flags" },
      ...Object.entries(trial.params).map(([name, x]) =>
        node("code", { title: `--${name}=${x}` }, `--${name}=${number(x)}`),
      ),
    ),
    node(
      "div",
      { class: "figures" },
      ...DATA.objectives.map((name, i) => figure(name, score(trial, i))),
      ...tests,
      ...(finite(trial.parameters) ? [figure("parameters", number(trial.parameters))] : []),
      ...(finite(trial.speed) ? [figure("tokens/s", number(trial.speed))] : []),
      figure("time", duration(trial.seconds)),
    ),
    node(
      "p",
      { class: "hint" },
      tests.length
        ? "Chosen by validation data alone; the test score was taken once, afterwards. "
        : "Chosen by validation data alone. ",
      ...(trial.pages.length ? ["Pages of its runs, by seed: ", pages(trial)] : []),
    ),
  );
}

function samples(holder) {
  const cards = DATA.samples.map(({ slot, text }) => {
    const trial = SLOTS.get(slot),
      of = { class: "sample", "data-slot": slot };
    const title = [`trial ${slot}: ${named(trial)}`, `${goalName()} ${number(value(trial))}`];
    return node(
      "figure",
      of,
      node("figcaption", {}, ...title.map((t) => node("div", {}, t))),
      // It scrolls, also by keys.
      node("pre", { tabindex: 0, role: "region", "aria-label": `Sample of trial ${slot}` }, text),
    );
  });
  holder.replaceChildren(
    ...(cards.length ? cards : [node("p", { class: "none" }, "No run has written a sample yet.")]),
  );
}

const SECTIONS = { leaderboard, curves, parallel, importance, heat, search, tradeoff, samples };
const body = (id) => document.querySelector(`#${id} .body`);

function draw() {
  focus(null);
  for (const [id, part] of Object.entries(SECTIONS)) part(body(id));
}

header();
chosen(document.getElementById("chosen"));
document.querySelector("#curves .hint").textContent = TRIALS.some((t) => t.seeds > 1)
  ? "Mean over the seeds of a trial; the band reaches from the lowest to the highest seed."
  : "A curve is a trial. A point of a long curve is the mean over its stretch of steps.";
draw();
dark.addEventListener("change", draw);
let width = innerWidth,
  timer = 0;
addEventListener("resize", () => {
  if (innerWidth === width) return; // a phone's address bar comes and goes
  width = innerWidth;
  clearTimeout(timer);
  timer = setTimeout(draw, 120);
});
