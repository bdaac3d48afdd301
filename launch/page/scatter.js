// Dots: the objective against the number of the trial, and against what it costs.

function nearest(stack, dots) {
  hover(stack, (px, py, event) => {
    let best = { far: 18 };
    for (const dot of dots) {
      const far = Math.hypot(dot.x - px, dot.y - py);
      if (far < best.far) best = { far, dot };
    }
    if (best.dot) focus(best.dot.trial.slot, event, best.dot.lines ?? facts(best.dot.trial));
    else focus(null);
  });
}

function dot(plot, trial, x, y, color) {
  plot.append(
    shape("circle", {
      cx: x,
      cy: y,
      r: 4,
      fill: color,
      class: "dot",
      "data-slot": trial.slot,
    }),
  );
  return { trial, x, y };
}

function search(holder) {
  const valued = TRIALS.filter((t) => finite(value(t)));
  const done = valued.filter((t) => t.state === "complete").sort((a, b) => a.slot - b.slot);
  if (!done.length) {
    holder.replaceChildren(node("p", { class: "none" }, "No trial is complete yet."));
    return;
  }
  const range = limits(done.map(value)),
    last = Math.max(...TRIALS.map((t) => t.slot));
  const log = lower() && wide(done.map(value));
  const { stack, plot, x, y, top, bottom } = frame(holder, {
    height: 300,
    xs: [0, last],
    ys: padded(range, log),
    logY: log,
    xTitle: "trial",
    yTitle: goalName(),
    label: "Value against trials",
  });
  const edge = (v) => clamp(y(v), top, bottom);
  let best = null,
    d = "";
  for (const trial of done) {
    const v = value(trial);
    if (best !== null && !better(v, best)) continue;
    d += best === null ? `M${x(trial.slot)},${edge(v)}` : `H${x(trial.slot)}V${edge(v)}`;
    best = v;
  }
  plot.append(shape("path", { d: `${d}H${x(last)}`, class: "best", fill: "none" }));
  const dots = done.map((t) => dot(plot, t, x(t.slot), edge(value(t)), "var(--c0)"));
  for (const trial of TRIALS.filter((t) => t.state === "failed" || t.state === "pruned")) {
    const at = [x(trial.slot), finite(value(trial)) ? edge(value(trial)) : lower() ? top : bottom];
    const color = trial.state === "failed" ? "var(--bad)" : "var(--muted)";
    const [px, py] = at;
    plot.append(
      shape("path", {
        "data-slot": trial.slot,
        class: "cross",
        stroke: color,
        d: `M${px - 4},${py - 4}l8,8m0,-8l-8,8`,
      }),
    );
    dots.push({ trial, x: px, y: py, lines: [trial.error || "fell behind the others"] });
  }
  nearest(stack, dots);
  const crosses = ["pruned", "failed"].map((s) => [s, TRIALS.filter((t) => t.state === s).length]);
  const said = crosses
    .filter(([, n]) => n)
    .map(([s, n]) => `${n} ${s}`)
    .join(", ");
  if (said) holder.append(node("p", { class: "hint" }, `× ${said}`));
}

const trade = { cost: null, by: null };

// What can be weighed against the objective: title, of a trial, is less better?
function costs() {
  const others = DATA.objectives.map((name, i) => [name, (t) => t.values[i], lower(i)]);
  const all = [
    ["parameters", (t) => t.parameters, true],
    ["seconds", (t) => t.seconds, true],
    ["tokens/s", (t) => t.speed, false],
    ...others.filter((_, i) => i !== goal),
  ];
  return all.filter(([, of]) => ranked().some((t) => finite(of(t))));
}

function tradeoff(holder) {
  const known = costs(),
    flags = NAMES.map((name) => [name, name]);
  const trials = ranked();
  if (!trials.length || !known.length) {
    holder.replaceChildren(node("p", { class: "none" }, "No trial is complete yet."));
    return;
  }
  if (!known.some(([name]) => name === trade.cost)) trade.cost = known[0][0];
  trade.by ??= NAMES.find((name) => !numeric(name)) ?? NAMES[0] ?? "";
  const again = (key) => (to) => {
    trade[key] = to;
    tradeoff(holder);
  };
  const picture = node("div", { class: "picture" });
  const [title, of, less] = known.find(([name]) => name === trade.cost);
  const entries = trade.by ? groups(trials, trade.by) : groups(trials, "").slice(0, 1);
  holder.replaceChildren(
    node(
      "div",
      { class: "controls" },
      select(
        "against",
        known.map(([name]) => [name, name]),
        trade.cost,
        again("cost"),
      ),
      ...(flags.length ? [select("colour", flags, trade.by, again("by"))] : []),
    ),
    picture,
    node(
      "div",
      { class: "legend still" },
      ...entries.map((entry) =>
        node(
          "span",
          { class: "chip" },
          shape(
            "svg",
            { width: 10, height: 10 },
            shape("circle", { cx: 5, cy: 5, r: 4.5, fill: entry.color }),
          ),
          entry.label,
        ),
      ),
    ),
  );
  drawTrade(
    picture,
    trials.filter((t) => finite(of(t))),
    entries,
    title,
    of,
    less,
  );
}

function drawTrade(holder, trials, entries, title, of, less) {
  const spent = trials.map(of),
    log = wide(spent);
  const ends = [spent.reduce((a, b) => Math.min(a, b)), spent.reduce((a, b) => Math.max(a, b))];
  const { stack, plot, x, y, top, bottom } = frame(holder, {
    height: 300,
    xs: padded(ends, log),
    logX: log,
    ys: padded(limits(trials.map(value))),
    xTitle: title,
    yTitle: goalName(),
    label: `Objective against ${title}`,
  });
  const edge = (t) => clamp(y(value(t)), top, bottom);
  const colors = new Map(entries.flatMap((e) => e.trials.map((t) => [t.slot, e.color])));
  const front = [];
  const order = [...trials].sort(
    (a, b) => (less ? of(a) - of(b) : of(b) - of(a)) || (better(value(a), value(b)) ? -1 : 1),
  );
  for (const trial of order) {
    if (!front.length || better(value(trial), value(front[front.length - 1]))) front.push(trial);
  }
  const d = front
    .map((t, i) => (i ? `H${x(of(t))}V${edge(t)}` : `M${x(of(t))},${edge(t)}`))
    .join("");
  plot.append(shape("path", { d, class: "best", fill: "none" }));
  nearest(
    stack,
    [...trials].reverse().map((t) => ({
      ...dot(plot, t, x(of(t)), edge(t), colors.get(t.slot) ?? "var(--faint)"),
      lines: [...facts(t), `${title} ${number(of(t))}`],
    })),
  );
}
