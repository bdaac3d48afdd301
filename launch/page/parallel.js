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
  const { svg, width, height } = canvas(
    holder, upright ? 380 : 64 * axes.length + 20, "Parallel coordinates");
  const place = upright ? uprightAxes(width, height, axes) : lyingAxes(width, axes);
  const bad = badness(range);
  const group = shape("g");
  const drawn = trials.map((trial) => {
    const points = axes.map((axis, i) => {
      const at = axis.of(trial);
      return at === null ? null : place.point(i, at);
    });
    group.append(shape("path", {
      "data-slot": trial.slot, class: "strand", fill: "none", d: bend(points, upright),
      stroke: rgb(heatOf(bad(value(trial)))), "stroke-width": trials.length > 100 ? 1 : 1.6,
    }));
    return { trial, points };
  });
  svg.append(group);
  axes.forEach((axis, i) => place.axis(svg, axis, i));
  hover(svg, (px, py, event) => {
    let best = { far: 14 };
    for (const { trial, points } of drawn) {
      const far = distance(points, px, py, upright);
      if (far <= best.far) best = { far, trial };
    }
    if (best.trial) focus(best.trial.slot, event, facts(best.trial));
    else focus(null);
  });
}

// Where a trial crosses an axis, from 0 to 1, and the ticks.
function flagAxis(name, trials) {
  const values = distinct(name, trials);
  if (!values.every(finite) || values.length <= 1) {
    const at = (i) => (values.length > 1 ? 0.06 + (0.88 * i) / (values.length - 1) : 0.5);
    const of = (t) => (t.params[name] == null ? null : at(values.indexOf(t.params[name])));
    return { name, of, ticks: () => values.map((v, i) => [at(i), shown(v)]) };
  }
  const log = wide(values), low = values[0], high = values[values.length - 1];
  const to = scale([low, high], [0, 1], log);
  const ticks = (count) =>
    (values.length <= 6 ? values : to.ticks(count)).map((v) => [to(v), number(v, 3)]);
  return { name, of: (t) => (t.params[name] == null ? null : to(t.params[name])), ticks };
}

function goalAxis(trials, [low, high]) {
  const to = scale([low, high], [0, 1], false);
  const over = trials.some((t) => value(t) > high || value(t) < low);
  return {
    name: goalName(), goal: true, of: (t) => clamp(to(value(t)), 0, 1),
    note: over ? "the worst end here" : "",
    ticks: (count) => to.ticks(count).map((v) => [to(v), number(v)]),
  };
}

function uprightAxes(width, height, axes) {
  const top = 44, bottom = height - 14;
  const room = axes[0].ticks(7).map(([, text]) => textWidth(text));
  const left = Math.max(...room, textWidth(axes[0].name) / 2) + 12;
  const right = width - Math.max(textWidth(axes[axes.length - 1].name) / 2, 50) - 4;
  const x = (i) => left + ((right - left) * i) / Math.max(axes.length - 1, 1);
  const y = (t) => bottom - t * (bottom - top);
  const gap = (right - left) / Math.max(axes.length - 1, 1);
  const axis = (svg, { name, ticks, goal }, i) => {
    const last = i === axes.length - 1;
    const title = { x: x(i), y: 16, "text-anchor": "middle", class: goal ? "title strong" : "title" };
    svg.append(
      shape("line", { class: "axis", x1: x(i), x2: x(i), y1: top - 6, y2: bottom + 6 }),
      shape("text", title, fit(name, gap)));
    for (const [t, text] of ticks(7)) {
      const at = { x: x(i) + (last ? 8 : -8), y: y(t) + 4, "text-anchor": last ? "start" : "end", class: "halo" };
      svg.append(
        shape("line", { class: "axis", x1: x(i) - 3, x2: x(i) + 3, y1: y(t), y2: y(t) }),
        shape("text", at, fit(text, gap * 0.8)));
    }
  };
  return { axis, point: (i, t) => [x(i), y(t)] };
}

function lyingAxes(width, axes) {
  const left = 14, right = width - 14;
  const x = (t) => left + t * (right - left);
  const y = (i) => 34 + 64 * i;
  const axis = (svg, { name, ticks, goal }, i) => {
    const title = { x: 0, y: y(i) - 10, class: goal ? "title strong halo" : "title halo" };
    svg.append(
      shape("line", { class: "axis", x1: left - 6, x2: right + 6, y1: y(i), y2: y(i) }),
      shape("text", title, name));
    let end = -Infinity;
    for (const [t, text] of ticks(5)) {
      const half = textWidth(text) / 2, at = clamp(x(t), half, width - half);
      svg.append(shape("line", { class: "axis", x1: x(t), x2: x(t), y1: y(i) - 3, y2: y(i) + 3 }));
      if (at - half < end + 5) continue;
      end = at + half;
      svg.append(shape("text", { x: at, y: y(i) + 17, "text-anchor": "middle", class: "halo" }, text));
    }
  };
  return { axis, point: (i, t) => [x(t), y(i)] };
}

// A smooth line that crosses every axis at a right angle.
function bend(points, upright) {
  let d = "", before = null;
  for (const p of points) {
    const f = (v) => v.toFixed(1);
    if (p && before) {
      const [a, b] = upright
        ? [[(before[0] + p[0]) / 2, before[1]], [(before[0] + p[0]) / 2, p[1]]]
        : [[before[0], (before[1] + p[1]) / 2], [p[0], (before[1] + p[1]) / 2]];
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
    const a = points[i - 1], b = points[i];
    if (!a || !b || pixel[along] < a[along] - 6 || pixel[along] > b[along] + 6) continue;
    const t = clamp((pixel[along] - a[along]) / (b[along] - a[along]), 0, 1);
    const s = t * t * (3 - 2 * t);
    return Math.abs(a[across] + (b[across] - a[across]) * s - pixel[across]);
  }
  return Infinity;
}
