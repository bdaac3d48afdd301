// The leaderboard: every trial, sorted by any column.

const FEW = 30; // rows until more are asked for
const board = { by: "rank", up: true, all: false, only: null };

// The objective of each trial when the first of the complete ones came to its end.
function equalTime() {
  const drawn = DATA.curves[goalName().replace(/^best\//, "")] ?? {};
  const ends = ranked().map((t) => drawn[t.slot]?.[SECONDS].at(-1));
  const first = ends.filter(finite).reduce((a, b) => Math.min(a, b), Infinity);
  const at = new Map();
  for (const [slot, c] of Object.entries(drawn)) {
    const i = c[SECONDS].findIndex((s) => s >= first);
    const [x0, x1] = [c[SECONDS][i - 1], c[SECONDS][i]];
    const [y0, y1] = [c[MEAN][i - 1], c[MEAN][i]];
    if (x1 === first) at.set(Number(slot), y1);
    else if ([x0, y0, y1].every(finite))
      at.set(Number(slot), y0 + ((y1 - y0) * (first - x0)) / (x1 - x0));
  }
  return { first, at };
}

function columns() {
  const order = new Map(ranked().map((trial, i) => [trial.slot, i + 1]));
  const several = DATA.objectives.length > 1;
  const early = equalTime();
  const made = [
    { key: "rank", title: "#", of: (t) => order.get(t.slot) ?? null, number: true },
    { key: "slot", title: "trial", of: (t) => t.slot, show: trialName, number: true },
    ...DATA.objectives.map((name, i) => ({
      key: `value ${i}`,
      title: `${name} ${lower(i) ? "↓" : "↑"}`,
      number: true,
      of: (t) => t.values[i],
      class: several && i !== goal ? "" : "goal",
      show: (t) => score(t, i),
    })),
    {
      key: "equal time",
      title: `after ${duration(early.first)}`,
      of: (t) => early.at.get(t.slot) ?? null,
      number: true,
    },
    ...DATA.names.map((name) => ({
      key: `flag ${name}`,
      title: name,
      of: (t) => t.params[name] ?? null,
      show: (t) => shown(t.params[name]),
      number: numeric(name),
    })),
    { key: "parameters", title: "parameters", of: (t) => t.parameters, number: true },
    { key: "speed", title: "tokens/s", of: (t) => t.speed, number: true },
    {
      key: "seconds",
      title: "time",
      of: (t) => t.seconds,
      show: (t) => duration(t.seconds),
      number: true,
    },
    { key: "pages", title: "runs", of: (t) => t.pages.length, show: pages },
    { key: "state", title: "state", of: (t) => t.state, show: state },
  ];
  const optional = {
    "equal time": early.at.size > 1,
    parameters: TRIALS.some((t) => t.parameters),
    speed: TRIALS.some((t) => t.speed),
  };
  return made.filter((c) => optional[c.key] ?? true);
}

function trialName(trial) {
  const chosen = DATA.chosen && DATA.chosen.slot === trial.slot;
  return chosen
    ? node("b", { title: "the chosen configuration" }, `★ ${trial.slot}`)
    : `${trial.slot}`;
}

function pages(trial) {
  const links = trial.pages.map(({ seed, href }) =>
    node("a", { href, title: `page of seed ${seed}` }, `${seed}`),
  );
  return links.length ? node("span", { class: "links" }, ...links) : "–";
}

function state(trial) {
  const tries = trial.attempts > 1 ? [` attempt ${trial.attempts}`] : [];
  const reason = trial.error || (trial.state === "pruned" && "fell behind the others");
  const why = reason ? [node("span", { class: "why" }, reason)] : [];
  const chip = node("span", { class: `state ${trial.state}` }, trial.state);
  return node("span", {}, chip, ...tries, ...why);
}

// Nothing comes last, whichever way.
function compare(a, b) {
  if (a == null || b == null) return (a == null) - (b == null);
  const order = finite(a) && finite(b) ? a - b : String(a).localeCompare(String(b));
  return board.up ? order : -order;
}

// The states that there are, to look at one alone.
function filters(holder) {
  const kinds = [null, ...STATES].map((state) => [
    state,
    TRIALS.filter((t) => !state || t.state === state).length,
  ]);
  const chips = kinds
    .filter(([, n]) => n)
    .map(([state, n]) => {
      const click = () => {
        board.only = state;
        leaderboard(holder);
      };
      const of = { type: "button", class: "chip", "aria-pressed": board.only === state, click };
      return node("button", of, `${number(n)} ${state ?? "trials"}`);
    });
  return node("div", { class: "legend" }, ...(chips.length > 2 ? chips : []));
}

const STATES = ["complete", "running", "pruned", "failed", "waiting"];

function leaderboard(holder) {
  const shownColumns = columns();
  const by = shownColumns.find((column) => column.key === board.by) ?? shownColumns[0];
  const stage = (t) => STATES.indexOf(t.state);
  const rows = TRIALS.filter((t) => !board.only || t.state === board.only).sort(
    (a, b) => compare(by.of(a), by.of(b)) || stage(a) - stage(b) || a.slot - b.slot,
  );
  const heads = shownColumns.map((column) => {
    const sorted = column === by;
    const sort = () => {
      board.up = sorted ? !board.up : true;
      board.by = column.key;
      leaderboard(holder);
    };
    const way = sorted ? (board.up ? "ascending" : "descending") : "none";
    const of = { "aria-sort": way, scope: "col", class: column.number ? "number" : "" };
    return node("th", of, node("button", { type: "button", click: sort }, column.title));
  });
  const body = node("tbody");
  for (const trial of board.all ? rows : rows.slice(0, FEW)) {
    const point = () => focus(trial.slot);
    const of = { "data-slot": trial.slot, class: trial.state, pointerenter: point };
    body.append(
      node(
        "tr",
        of,
        ...shownColumns.map((column) =>
          node(
            "td",
            { class: `${column.number ? "number" : ""} ${column.class ?? ""}` },
            column.show ? column.show(trial) : number(column.of(trial)),
          ),
        ),
      ),
    );
  }
  body.addEventListener("pointerleave", () => focus(null));
  const table = node("table", {}, node("thead", {}, node("tr", {}, ...heads)), body);
  const before = holder.querySelector(".scroll")?.scrollLeft ?? 0;
  const named = { class: "scroll", tabindex: 0, role: "region", "aria-label": "Leaderboard" };
  const scroll = node("div", named, table);
  holder.replaceChildren(filters(holder), scroll);
  scroll.scrollLeft = before;
  if (!TRIALS.length) holder.replaceChildren(node("p", { class: "none" }, "No trial yet."));
  if (rows.length > FEW) {
    const text = board.all ? `show the first ${FEW}` : `show all ${number(rows.length)} trials`;
    const more = () => {
      board.all = !board.all;
      leaderboard(holder);
    };
    holder.append(node("button", { type: "button", class: "more", click: more }, text));
  }
}
