// What the flags do: importance as bars, and two flags as a heat map.

function importance(holder) {
  const bars = Object.entries(DATA.importance)
    .filter(([, x]) => finite(x))
    .sort((a, b) => b[1] - a[1]);
  if (!bars.length) {
    const basis = DATA.basis || "Known once more trials are complete.";
    holder.replaceChildren(
      node("p", { class: "none" }, basis[0].toUpperCase() + basis.slice(1)),
    );
    return;
  }
  const row = 30;
  const { svg, width } = canvas(holder, row * bars.length + 8, "Importance of the flags");
  const left = Math.min(Math.max(...bars.map(([name]) => textWidth(name))) + 12, width * 0.45);
  const most = bars[0][1] || 1;
  bars.forEach(([name, x], i) => {
    const y = 4 + i * row,
      long = Math.max(((width - left - 48) * x) / most, 1);
    const share = x > 0 && x < 0.01 ? "< 1 %" : `${Math.round(100 * x)} %`;
    svg.append(
      shape(
        "text",
        { x: left - 10, y: y + 19, "text-anchor": "end", class: "strong" },
        fit(name, left - 12),
      ),
      shape("rect", { class: "bar", x: left, y: y + 4, width: long, height: row - 9, rx: 3 }),
      shape("text", { x: left + long + 7, y: y + 19 }, share),
    );
  });
  if (DATA.basis) holder.append(node("p", { class: "none" }, `The shares are told ${DATA.basis}.`));
}

const pair = { rows: null, columns: null };

function heat(holder) {
  const trials = ranked();
  if (!trials.length || !NAMES.length) {
    holder.replaceChildren(node("p", { class: "none" }, "No trial is complete yet."));
    return;
  }
  const byImportance = [...NAMES].sort(
    (a, b) => (DATA.importance[b] ?? -1) - (DATA.importance[a] ?? -1),
  );
  pair.columns ??= byImportance[0];
  pair.rows ??= byImportance[1] ?? byImportance[0];
  const flags = NAMES.map((name) => [name, name]);
  const change = (key, other) => (name) => {
    if (pair[other] === name) pair[other] = pair[key]; // a flag against itself says nothing
    pair[key] = name;
    heat(holder);
  };
  const picture = node("div", { class: "picture" });
  holder.replaceChildren(
    node(
      "div",
      { class: "controls" },
      select("rows", flags, pair.rows, change("rows", "columns")),
      select("columns", flags, pair.columns, change("columns", "rows")),
    ),
    picture,
  );
  drawHeat(picture, trials);
}

// A flag's values, or bins of them, as an axis of cells.
function cells(name) {
  if (numeric(name)) return edges(name);
  const values = distinct(name),
    labels = values.map(shown);
  return { labels, middles: labels, of: (x) => values.indexOf(x) };
}

function drawHeat(holder, trials) {
  const rows = cells(pair.rows),
    columns = cells(pair.columns);
  const found = new Map();
  for (const trial of trials) {
    const r = rows.of(trial.params[pair.rows]),
      c = columns.of(trial.params[pair.columns]);
    const key = `${r} ${c}`;
    if (r >= 0 && c >= 0) found.set(key, [...(found.get(key) ?? []), trial]);
  }
  const middle = (some) => {
    const sorted = some.map(value).sort((a, b) => a - b);
    return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
  };
  const range = limits([...found.values()].map(middle)),
    bad = badness(range);
  const R = rows.labels.length,
    C = columns.labels.length;
  const left = Math.min(Math.max(...rows.middles.map(textWidth)) + 12, holder.clientWidth * 0.34);
  const cell = Math.min((Math.max(holder.clientWidth, 240) - left) / C, 150);
  const tall = clamp(cell * 0.62, 26, 52);
  const turned = columns.middles.some((text) => textWidth(text) > cell - 6);
  const longest = Math.max(...columns.middles.map(textWidth));
  const foot = turned ? Math.min(longest, 90) * 0.75 + 18 : 22;
  const top = 24,
    bottom = top + R * tall;
  const { svg, width } = canvas(
    holder,
    bottom + foot + 66,
    `Heat map of ${pair.rows} and ${pair.columns}`,
  );
  svg.append(shape("text", { x: 0, y: 12, class: "title" }, pair.rows));
  rows.middles.forEach((text, i) =>
    svg.append(
      shape(
        "text",
        {
          x: left - 8,
          y: bottom - (i + 0.5) * tall + 4,
          "text-anchor": "end",
        },
        fit(text, left - 10),
      ),
    ),
  );
  columns.middles.forEach((text, i) => {
    const x = left + (i + 0.5) * cell;
    const turn = {
      transform: `translate(${x + 4},${bottom + 14}) rotate(-40)`,
      "text-anchor": "end",
    };
    const plain = { x, y: bottom + 17, "text-anchor": "middle" };
    svg.append(shape("text", turned ? turn : plain, fit(text, 90)));
  });
  const right = Math.min(left + C * cell, width);
  svg.append(
    shape(
      "text",
      {
        x: right,
        y: bottom + foot + 12,
        "text-anchor": "end",
        class: "title",
      },
      pair.columns,
    ),
  );
  for (let r = 0; r < R; r++) {
    for (let c = 0; c < C; c++) {
      const some = found.get(`${r} ${c}`);
      const x = left + c * cell,
        y = bottom - (r + 1) * tall;
      const box = { x: x + 1, y: y + 1, width: cell - 2, height: tall - 2, rx: 3 };
      if (!some) {
        svg.append(shape("rect", { ...box, class: "cell empty" }));
        continue;
      }
      const color = heatOf(bad(middle(some)));
      const text = number(middle(some), 3);
      const tell = (event) => {
        focus(null);
        showTip(event, [
          `${pair.rows} ${rows.labels[r]}`,
          `${pair.columns} ${columns.labels[c]}`,
          `${goalName()} ${number(middle(some))}`,
          `median of ${some.length} trial${some.length > 1 ? "s" : ""}`,
        ]);
      };
      svg.append(
        shape("rect", {
          ...box,
          fill: rgb(color),
          class: "cell",
          pointermove: tell,
          pointerdown: tell,
        }),
      );
      if (textWidth(text) < cell - 6)
        svg.append(
          shape(
            "text",
            {
              x: x + cell / 2,
              y: y + tall / 2 + 4,
              "text-anchor": "middle",
              class: "inside",
              style: `fill:${inkOn(color)}`,
            },
            text,
          ),
        );
    }
  }
  svg.addEventListener("pointerleave", () => focus(null));
  colourBar(svg, range, Math.max(left - 60, 0), right, bottom + foot + 30);
}

function colourBar(svg, [low, high], left, right, y) {
  const n = 40,
    wide = (right - left) / n,
    bad = badness([low, high]);
  for (let i = 0; i < n; i++) {
    const x = low + ((high - low) * (i + 0.5)) / n;
    svg.append(
      shape("rect", {
        x: left + i * wide,
        y,
        width: wide + 0.5,
        height: 8,
        fill: rgb(heatOf(bad(x))),
      }),
    );
  }
  const better = `${lower() ? "lower" : "higher"} is better`,
    long = `${goalName()}, ${better}`;
  const goal = textWidth(long) < right - left - 110 ? long : better;
  svg.append(
    shape("text", { x: left, y: y + 23 }, number(low)),
    shape(
      "text",
      { x: (left + right) / 2, y: y + 23, "text-anchor": "middle", class: "title" },
      goal,
    ),
    shape("text", { x: right, y: y + 23, "text-anchor": "end" }, number(high)),
  );
}
