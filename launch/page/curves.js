// Learning curves: the mean over a trial's seeds, and the band from lowest to highest.

const MOST = 40; // curves at first; the best in colour, the others behind them in grey
const BRIGHT = 8;
const STEP = 0,
  SECONDS = 1,
  MEAN = 2,
  LOW = 3,
  HIGH = 4; // columns of a curve
const view = { metric: null, x: STEP, by: "", logX: false, logY: false, others: true, on: null };

// The objective, unless it was hardly ever measured.
function defaultMetric() {
  const names = Object.keys(DATA.curves);
  const long = (name) => Object.values(DATA.curves[name]).some((c) => c[STEP].length > 2);
  return names.find(long) ?? names[0];
}

function curveOrder() {
  const first = ranked(),
    rest = TRIALS.filter((trial) => !first.includes(trial));
  return [...first, ...rest].filter((trial) => DATA.curves[view.metric][trial.slot]);
}

function curves(holder) {
  view.metric ??= defaultMetric();
  if (!view.metric) {
    holder.replaceChildren(node("p", { class: "none" }, "No run has logged anything yet."));
    return;
  }
  const all = curveOrder();
  const entries = view.by ? groups(all.slice(0, MOST), view.by) : groups(all, "");
  const few = entries.length <= BRIGHT + 2 || view.by ? entries.length : BRIGHT;
  view.on ??= new Set(entries.slice(0, few).map((entry) => entry.key));
  const again = (change) => (to) => {
    Object.assign(view, change(to));
    curves(holder);
  };
  const picture = node("div", { class: "picture" });
  const flags = NAMES.map((name) => [name, name]);
  const metrics = Object.keys(DATA.curves).map((name) => [name, name]);
  holder.replaceChildren(
    node(
      "div",
      { class: "controls" },
      select(
        "show",
        metrics,
        view.metric,
        again((metric) => ({ metric, on: null })),
      ),
      select(
        "against",
        [
          [STEP, "steps"],
          [SECONDS, "seconds"],
        ],
        view.x,
        again((x) => ({ x: Number(x) })),
      ),
      select(
        "colour",
        [["", "trial"], ...flags],
        view.by,
        again((by) => ({ by, on: null })),
      ),
      check(
        "log x",
        view.logX,
        again((logX) => ({ logX })),
      ),
      check(
        "log y",
        view.logY,
        again((logY) => ({ logY })),
      ),
      check(
        "others in grey",
        view.others,
        again((others) => ({ others })),
      ),
    ),
    picture,
    legend(entries, again),
  );
  drawCurves(picture, entries, all);
}

function legend(entries, again) {
  const toggle = (key) =>
    again(() => {
      const on = new Set(view.on);
      if (!on.delete(key)) on.add(key);
      return { on };
    });
  const some = (keys) => again(() => ({ on: new Set(keys) }));
  const chips = entries.map((entry) => {
    const swatch = shape(
      "svg",
      { width: 22, height: 8, "aria-hidden": true },
      shape("line", {
        x1: 0,
        x2: 22,
        y1: 4,
        y2: 4,
        stroke: entry.color,
        "stroke-width": 3,
        "stroke-dasharray": entry.dash,
      }),
    );
    const state =
      entry.trials.length === 1 && entry.trials[0].state !== "complete"
        ? ` (${entry.trials[0].state})`
        : "";
    const of = {
      type: "button",
      class: "chip",
      "aria-pressed": view.on.has(entry.key),
      click: toggle(entry.key),
    };
    if (!view.by)
      Object.assign(of, {
        "data-slot": entry.key,
        pointerenter: () => focus(entry.key),
        pointerleave: () => focus(null),
      });
    return node("button", of, swatch, `${entry.label}${state}`);
  });
  const keys = entries.map((entry) => entry.key);
  const quick = [
    ["none", []],
    [`best ${BRIGHT}`, keys.slice(0, BRIGHT)],
    [`all ${keys.length}`, keys],
  ]
    .filter(([text]) => !view.by || !text.startsWith("best"))
    .map(([text, keys]) =>
      node("button", { type: "button", class: "chip quick", click: some(keys) }, text),
    );
  const title = node("span", { class: "key" }, view.by || NAMES.join(" · "));
  return node("div", { class: "legend" }, ...quick, title, ...chips);
}

function drawCurves(holder, entries, all) {
  const columns = (trial) => DATA.curves[view.metric][trial.slot];
  const bright = entries.filter((entry) => view.on.has(entry.key));
  const coloured = new Set(bright.flatMap((entry) => entry.trials));
  const grey = view.others ? all.slice(0, MOST).filter((trial) => !coloured.has(trial)) : [];
  const drawn = [...grey, ...coloured];
  const xs = drawn
    .flatMap((t) => columns(t)[view.x])
    .filter((x) => finite(x) && (!view.logX || x > 0));
  const seen = drawn.flatMap((t) => columns(t)[MEAN]).filter(finite);
  if (!seen.length || !xs.length) {
    holder.replaceChildren(
      node("p", { class: "none" }, "Nothing to draw: switch a curve on below."),
    );
    return;
  }
  const at = DATA.objectives.findIndex((name) => name.replace(/^best\//, "") === view.metric);
  const extent = [xs.reduce((a, b) => Math.min(a, b)), xs.reduce((a, b) => Math.max(a, b))];
  const picture = frame(holder, {
    height: clamp(holder.clientWidth * 0.5, 260, 440),
    logX: view.logX,
    logY: view.logY,
    xs: view.logX ? extent : [0, extent[1]],
    ys: padded(curveLimits(seen, drawn.map(columns), at < 0 || lower(at)), view.logY, 0.03),
    xTitle: view.x === STEP ? "step" : "seconds",
    yTitle: unit(view.metric),
    label: `Learning curves: ${view.metric}`,
  });
  const { plot, x, y } = picture;
  const points = (trial, column = MEAN) => {
    const c = columns(trial),
      ok = (v, log) => finite(v) && (!log || v > 0);
    return c[column].map((v, i) =>
      ok(v, y.log) && ok(c[view.x][i], x.log) ? [x(c[view.x][i]), y(v)] : null,
    );
  };
  const line = (trial, name, of) => {
    const found = points(trial),
      real = found.filter(Boolean);
    const mark = real.length === 1 || (real.length <= 12 && of["stroke-width"] > 1);
    const marks = mark
      ? real.map(([cx, cy]) => shape("circle", { cx, cy, r: 2.6, fill: of.stroke }))
      : [];
    return shape(
      "g",
      { "data-slot": trial.slot, class: name },
      shape("path", { d: path(found), fill: "none", ...of }),
      ...marks,
    );
  };
  for (const trial of grey)
    plot.append(line(trial, "curve grey", { stroke: "var(--faint)", "stroke-width": 1 }));
  for (const entry of bright) {
    for (const trial of entry.trials) {
      if (trial.seeds < 2 || coloured.size > 12) continue;
      const low = points(trial, LOW),
        high = points(trial, HIGH);
      const ring = [...low.filter(Boolean), ...high.filter(Boolean).reverse()];
      plot.append(
        shape("path", {
          d: `${path(ring)}Z`,
          fill: entry.color,
          class: "band",
          "data-slot": trial.slot,
        }),
      );
    }
  }
  for (const entry of [...bright].reverse()) {
    for (const trial of entry.trials) {
      const of = { stroke: entry.color, "stroke-width": 1.8, "stroke-dasharray": entry.dash };
      plot.append(line(trial, "curve", of));
    }
  }
  hover(picture.stack, (px, py, event) => {
    let best = { far: 30 };
    for (const trial of drawn) {
      points(trial).forEach((point, i) => {
        const far = point ? Math.hypot((point[0] - px) * 1.5, point[1] - py) : Infinity;
        if (far < best.far) best = { far, trial, i };
      });
    }
    if (!best.trial) return focus(null);
    const c = columns(best.trial),
      i = best.i;
    const band = best.trial.seeds > 1 ? ` (${number(c[LOW][i])} – ${number(c[HIGH][i])})` : "";
    focus(best.trial.slot, event, [
      `${view.metric} ${number(c[MEAN][i])}${band}`,
      `step ${number(c[STEP][i])}, ${duration(c[SECONDS][i])}`,
    ]);
  });
}

// From the best to where curves start, and 98 of 100 of what is above: no lone spike.
function curveLimits(values, curves, low) {
  const sorted = [...values].sort((a, b) => (low ? a - b : b - a));
  const most = sorted[Math.floor(0.98 * (sorted.length - 1))];
  const starts = curves
    .map((c) => c[MEAN].find(finite))
    .filter(finite)
    .sort((a, b) => a - b);
  const start = starts[Math.floor(starts.length / 2)];
  const far = low ? Math.max(most, start) : Math.min(most, start);
  const last = sorted[sorted.length - 1];
  const edge = Math.abs(last - sorted[0]) > 1.5 * Math.abs(far - sorted[0]) ? far : last;
  return low ? [sorted[0], edge] : [edge, sorted[0]];
}

const UNITS = { "train/loss": "nats", "val/loss": "nats", grad_norm: "l2 norm before clipping" };
const unit = (name) => (UNITS[name] ? `${name}, ${UNITS[name]}` : name);
