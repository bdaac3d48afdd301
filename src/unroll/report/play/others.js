// Pages of a box and an answer: labels of a text, words with labels, a forecast.
function asking(data, main, {label, hint, rows, example, answer}) {
  const box = make("textarea", {id: "box", rows, spellcheck: "false"}), said = errorLine(), found = make("div", {"aria-live": "polite"});
  box.value = example;
  const ask = guarded(said, async () => { found.replaceChildren(...answer(await posted("/predict", {text: box.value}))); });
  box.addEventListener("keydown", event => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask(event); });
  main.append(
    make("section", {}, make("label", {for: "box"}, label), box, make("p", {class: "hint"}, hint),
      make("div", {class: "row"}, make("button", {type: "button", class: "strong", onclick: ask}, data.button)), said),
    section("Answer", found));
}
function labelsOf({labels}) {
  return [make("ol", {class: "bars"}, ...labels.map(([name, p]) => make("li", {},
    make("div", {}, make("code", {title: name}, name), bar(p), make("span", {class: "number"}, percent(p))))))];
}
function wordsOf({sentences}) {
  return sentences.map(words => make("ol", {class: "words"}, ...words.map(({word, labels}) => make("li", {
    title: labels.map(([name, p]) => `${name} ${percent(p)}`).join(", "),
  }, make("b", {}, word), labels[0][0], make("span", {}, percent(labels[0][1])),
    ...labels.slice(1, 2).map(([name, p]) => make("span", {}, `${name} ${percent(p)}`))))));
}

// The past and the forecast of a column: a line each, and a band between quantiles.
function pictureOf({name, past, ahead, quantiles, times}) {
  const wide = 720, high = 260, left = 64, right = 12, low = 34, top = 10, count = past.length + ahead.length;
  const values = [...past, ...ahead.flat()].filter(Number.isFinite), least = Math.min(...values), most = Math.max(...values);
  const x = i => left + (wide - left - right) * i / Math.max(count - 1, 1);
  const y = value => high - low - (high - low - top) * (most > least ? (value - least) / (most - least) : 0.5);
  const middle = quantiles.length ? quantiles.reduce((best, q, i) => Math.abs(q - 0.5) < Math.abs(quantiles[best] - 0.5) ? i : best, 0) : 0;
  const points = (rows, start) => rows.map((value, i) => `${x(start + i).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  const upper = points(ahead.map(row => row[row.length - 1]), past.length), lower = points(ahead.map(row => row[0]), past.length);
  const last = past.length ? [past[past.length - 1]] : [];
  const text = (content, given) => make("text@svg", given, content);
  const drawing = make("svg@svg", {viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": `${name}: ${past.length} rows of the past and a forecast of ${ahead.length}`},
    make("line@svg", {class: "axis", x1: left, x2: wide - right, y1: high - low, y2: high - low}),
    text(most.toPrecision(4), {x: left - 6, y: y(most) + 4, "text-anchor": "end"}),
    text(least.toPrecision(4), {x: left - 6, y: y(least) + 4, "text-anchor": "end"}),
    text(times[0], {x: left, y: high - 10}), text(times[1], {x: wide - right, y: high - 10, "text-anchor": "end"}),
    ...(quantiles.length > 1 ? [make("polygon@svg", {class: "band", points: upper + " " + lower.split(" ").reverse().join(" ")})] : []),
    make("polyline@svg", {class: "past", points: points(past, 0)}),
    make("polyline@svg", {class: "ahead", points: points([...last, ...ahead.map(row => row[middle])], past.length - last.length)}));
  return [make("h3", {}, name), drawing];
}
const forecastOf = ({columns, csv}) => [...columns.flatMap(pictureOf), make("details", {}, make("summary", {}, "As CSV"), make("pre", {}, csv))];

const PAGES = {
  language: (data, main) => languagePage(data, data.program ? offline(data) : server, main),
  classify: (data, main) => asking(data, main, {label: "Text", rows: 4, answer: labelsOf, hint: "Ctrl+Enter asks.", ...data}),
  tag: (data, main) => asking(data, main, {label: "Sentences, one a line", rows: 3, answer: wordsOf, hint: "Ctrl+Enter asks. The first label of a word is the answer; below it stands the next likely.", ...data}),
  forecast: (data, main) => asking(data, main, {label: "Past values as CSV", rows: 8, answer: forecastOf, ...data}),
};
function begin() {
  const data = JSON.parse(document.getElementById("data").textContent), main = document.getElementById("main");
  main.replaceChildren();
  PAGES[data.kind](data, main);
}
begin();
