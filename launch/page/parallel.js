// Parallel coordinates: a line a trial, through its flags to its objective.

function parallel(holder) {
  const trials = ranked().reverse(); // the best on top
  if (!trials.length) {
    holder.replaceChildren(node("p", { class: "none" }, "No trial is complete yet."));
    return;
  }
  const names = DATA.names.filter((name) => trials.some((t) => t.params[name] != null));
  const range = limits(trials.map(value));
  const axes = [...names.map((name) => flagAxis(name, trials)), goalAxis(trials, range)];
  // On a narrow page the axes lie on their side, one below the other.
  const upright = holder.clientWidth / axes.length > 105;
  const { stack, layer, width, height } = canvas(
    holder,
    upright ? 380 : 64 * axes.length + 20,
    "Parallel coordinates",
  );
  const place = upright ? uprightAxes(width, height, axes) : lyingAxes(width, axes);
  const bad = badness(range);
  const group = shape("g");
  const fans = axes.map((axis) => fanned(axis, trials));
  const drawn = trials.map((trial, nth) => {
    const points = fans.map((at, i) => (at[nth] === null ? null : place.point(i, at[nth])));
    group.append(
      shape("path", {
        "data-slot": trial.slot,
        class: "strand",
        fill: "none",
        d: bend(points, upright),
        stroke: rgb(heatOf(bad(value(trial)))),
        "stroke-width": trials.length > 100 ? 1 : 1.6,
      }),
    );
    return { trial, points };
  });
  layer("marks").append(group);
  layer("front").append(shape("g", { class: "lit" }));
  const over = layer("over");
  axes.forEach((axis, i) => place.axis(over, axis, i));
  hover(stack, (px, py, event) => {
    let best = { far: 14 };
    for (const { trial, points } of drawn) {
      const far = distance(points, px, py, upright);
      if (far <= best.far) best = { far, trial };
    }
    if (best.trial) focus(best.trial.slot, event, facts(best.trial));
    else focus(null);
  });
}

// Where a trial crosses an axis, from 0 to 1, and the ticks. Words, and numbers of which
// there are few, are places at equal distances; `room` is what each place has.
function flagAxis(name, trials) {
  const values = distinct(name, trials),
    n = values.length;
  const known = (place) => (t) => (t.params[name] == null ? null : place(t.params[name]));
  if (!values.every(finite) || n <= 8) {
    const at = (i) => (i + 0.5) / n;
    const ticks = () => values.map((v, i) => [at(i), shown(v)]);
    return { name, of: known((v) => at(values.indexOf(v))), ticks, room: 0.55 / n };
  }
  const to = scale([values[0], values[n - 1]], [0, 1], wide(values));
  const ticks = (count) => to.ticks(count).map((v) => [to(v), number(v, 3)]);
  return { name, of: known(to), ticks };
}

// Trials that share a place lie side by side in it, in their order.
function fanned(axis, trials) {
  const at = trials.map(axis.of);
  if (!axis.room) return at;
  const all = new Map(),
    met = new Map();
  for (const place of at) all.set(place, (all.get(place) ?? 0) + 1);
  return at.map((place) => {
    if (place === null) return null;
    const nth = met.get(place) ?? 0,
      n = all.get(place);
    met.set(place, nth + 1);
    return place + Math.min(axis.room, 0.018 * n) * ((nth + 0.5) / n - 0.5);
  });
}

function goalAxis(trials, [low, high]) {
  const to = scale([low, high], [0, 1], false);
  return {
    name: goalName(),
    goal: true,
    of: (t) => clamp(to(value(t)), 0, 1),
    ticks: (count) => to.ticks(count).map((v) => [to(v), number(v)]),
  };
}

function uprightAxes(width, height, axes) {
  const top = 44,
    bottom = height - 14;
  const room = axes[0].ticks(7).map(([, text]) => textWidth(text));
  const left = Math.max(...room, textWidth(axes[0].name) / 2) + 12;
  const right = width - 58;
  const x = (i) => left + ((right - left) * i) / Math.max(axes.length - 1, 1);
  const y = (t) => bottom - t * (bottom - top);
  const gap = (right - left) / Math.max(axes.length - 1, 1);
  const axis = (svg, { name, ticks, goal }, i) => {
    const last = i === axes.length - 1;
    const title = {
      x: last ? width : x(i),
      y: 16,
      class: goal ? "title strong" : "title",
      "text-anchor": last ? "end" : "middle",
    };
    svg.append(
      shape("line", { class: "axis", x1: x(i), x2: x(i), y1: top - 6, y2: bottom + 6 }),
      shape("text", title, fit(name, gap)),
    );
    for (const [t, text] of ticks(7)) {
      const at = {
        x: x(i) + (last ? 9 : -9),
        y: y(t) + 4,
        "text-anchor": last ? "start" : "end",
        class: "over",
      };
      const short = fit(text, gap * 0.8),
        long = textWidth(short) + 6;
      const box = { x: last ? x(i) + 6 : x(i) - 6 - long, y: y(t) - 9, width: long, height: 18 };
      svg.append(
        shape("line", { class: "axis", x1: x(i) - 3, x2: x(i) + 3, y1: y(t), y2: y(t) }),
        shape("rect", { ...box, rx: 3, class: "veil" }),
        shape("text", at, short),
      );
    }
  };
  return { axis, point: (i, t) => [x(i), y(t)] };
}

function lyingAxes(width, axes) {
  const left = 14,
    right = width - 14;
  const x = (t) => left + t * (right - left);
  const y = (i) => 34 + 64 * i;
  const axis = (svg, { name, ticks, goal }, i) => {
    const title = {
      x: 0,
      y: y(i) - 10,
      class: goal ? "title strong over halo" : "title over halo",
    };
    svg.append(
      shape("line", { class: "axis", x1: left - 6, x2: right + 6, y1: y(i), y2: y(i) }),
      shape("text", title, name),
    );
    let end = -Infinity;
    for (const [t, text] of ticks(5)) {
      const half = textWidth(text) / 2,
        at = clamp(x(t), half, width - half);
      svg.append(shape("line", { class: "axis", x1: x(t), x2: x(t), y1: y(i) - 3, y2: y(i) + 3 }));
      if (at - half < end + 5) continue;
      end = at + half;
      svg.append(
        shape("text", { x: at, y: y(i) + 17, "text-anchor": "middle", class: "over halo" }, text),
      );
    }
  };
  return { axis, point: (i, t) => [x(t), y(i)] };
}

// A smooth line that crosses every axis at a right angle.
function bend(points, upright) {
  let d = "",
    before = null;
  for (const p of points) {
    const f = (v) => v.toFixed(1);
    if (p && before) {
      const [a, b] = upright
        ? [
            [(before[0] + p[0]) / 2, before[1]],
            [(before[0] + p[0]) / 2, p[1]],
          ]
        : [
            [before[0], (before[1] + p[1]) / 2],
            [p[0], (before[1] + p[1]) / 2],
          ];
      d += `C${f(a[0])},${f(a[1])} ${f(b[0])},${f(b[1])} ${f(p[0])},${f(p[1])}`;
    } else if (p) d += `M${f(p[0])},${f(p[1])}`;
    before = p;
  }
  return d;
}

// From a pixel to such a line, across the direction it runs in.
function distance(points, px, py, upright) {
  const [along, across] = upright ? [0, 1] : [1, 0];
  const pixel = [px, py];
  for (let i = 1; i < points.length; i++) {
    const a = points[i - 1],
      b = points[i];
    if (!a || !b || pixel[along] < a[along] - 6 || pixel[along] > b[along] + 6) continue;
    const t = clamp((pixel[along] - a[along]) / (b[along] - a[along]), 0, 1);
    const s = t * t * (3 - 2 * t);
    return Math.abs(a[across] + (b[across] - a[across]) * s - pixel[across]);
  }
  return Infinity;
}
