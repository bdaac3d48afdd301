// A language model: a text that goes on, token by token, from any of its places.
const FEW = 12, PASTS = 24;

function languagePage(data, source, main) {
  const {pieces, strips, unknown} = data, joined = new Set(data.joined);
  const width = strips.reduce((sum, strip) => sum + strip.shown, 0);
  const remembered = Math.max(256, Math.floor(2 ** 25 / (4 * (pieces.length + width))));

  // A node is a token at its place in a text; branches are leaves of the tree.
  const root = {token: -1, depth: 0, parent: null, children: new Map()};
  let here = root, leaf = root, prompt = 0, playing = false, busy = false;
  const seen = new Map();  // node -> {logits, shown}, of the last that were read
  const line = node => { const found = []; for (; node !== root; node = node.parent) found.push(node); return found.reverse(); };
  const child = (node, token) => {
    if (!node.children.has(token))
      node.children.set(token, {token, depth: node.depth + 1, parent: node, children: new Map(), nats: null});
    return node.children.get(token);
  };
  const endOf = node => { while (node.children.size) node = [...node.children.values()].pop(); return node; };
  const keep = (node, what) => {
    seen.delete(node);
    seen.set(node, what);
    if (seen.size > remembered) seen.delete(seen.keys().next().value);
  };
  const piece = node => {
    const own = pieces[node.token], before = node.parent === root ? "\n" : pieces[node.parent.token];
    const space = data.spaced && !joined.has(node.token) && own !== "\n" && before !== "\n";
    return (space ? " " : "") + own;
  };

  // Reads what is not known yet up to a node, and what of the last steps is to be seen.
  async function look(node) {
    if (node === root || (seen.get(node) && seen.get(node).logits)) return;
    const nodes = line(node), tokens = nodes.map(one => one.token);
    const known = seen.get(node.parent) && node.nats !== null ? node.depth - 1 : 0;
    const found = await source.read(tokens, known);
    for (let i = 0; i < found.nats.length; i++) nodes[known + 1 + i].nats = found.nats[i];
    const steps = width ? found.shown.length / width : 0;
    for (let i = 0; i < steps - 1; i++) {
      const of = nodes[nodes.length - steps + i];
      if (!seen.has(of)) keep(of, {logits: null, shown: found.shown.subarray(i * width, (i + 1) * width)});
    }
    keep(node, {logits: found.logits, shown: found.shown.subarray(Math.max(steps - 1, 0) * width)});
  }
  const logitsOf = async node => {
    await look(node);
    return seen.get(node).logits;
  };

  const options = () => ({
    temperature: Math.max(+at.temperature.value || 0, 0), topK: Math.max(Math.trunc(+at.topK.value) || 0, 0),
    seed: Math.min(Math.max(Math.trunc(+at.seed.value) || 0, 0), 2 ** 31 - 2), unknown,
  });
  async function take(token) {  // goes on with a token
    const logits = await logitsOf(here), node = child(here, token);
    if (node.nats === null) node.nats = surprise(logits, token);
    await look(node);
    here = node;
    leaf = endOf(node);
  }
  async function step() {
    if (here === root) await read();
    if (here.depth >= data.longest) { stop(); throw new Error(`A text has at most ${data.longest} tokens: go on from an earlier one.`); }
    const logits = await logitsOf(here);
    if (here.depth < prompt) prompt = here.depth;
    await take(drawn(logits, options(), here.depth - prompt));
  }
  function branching() {  // another text from here on needs other random numbers
    if (here.children.size && options().temperature) at.seed.value = options().seed + 1;
  }
  async function read() {
    const tokens = await source.encode(at.prefix.value);
    let node = root;
    for (const token of tokens) node = child(node, token);
    await look(node);
    here = leaf = node;
    prompt = node.depth;
  }
  async function play() {
    playing = true;
    at.play.textContent = "Pause";
    branching();
    while (playing) {
      const pace = +at.pace.value, begun = performance.now();
      do await step(); while (playing && !pace && performance.now() - begun < 12);
      draw();
      const left = pace ? 1000 / pace - (performance.now() - begun) : 0;
      await new Promise(done => left > 4 ? setTimeout(done, left) : requestAnimationFrame(done));
    }
  }
  function stop() {
    playing = false;
    at.play.textContent = "Play";
  }
  const alone = run => guarded(at.said, async event => {  // one thing at a time
    stop();  // what plays; it ends after a token
    for (let tries = 0; busy; tries++) {
      if (tries > 100) throw new Error("The page is busy: try again.");
      await new Promise(done => setTimeout(done, 20));
    }
    busy = true;
    try { await run(event); } catch (error) { stop(); throw error; } finally { busy = false; draw(); }
  });
  async function go(node, end = leaf) {
    await look(node);
    here = node;
    leaf = end;
  }

  // The text: spans of the line to the leaf, of which those after `here` are grey.
  let spans = [], drawnTo = null;
  const colour = nats => `rgba(var(--up), ${(0.75 * Math.min((nats ?? 0) / 6, 1)).toFixed(3)})`;
  function drawText() {
    const nodes = line(leaf);
    let same = 0;
    while (same < spans.length && same < nodes.length && spans[same].node === nodes[same]) same++;
    for (const {span} of spans.splice(same)) span.remove();
    for (const node of nodes.slice(same)) {
      const span = make("span", {"data-depth": node.depth}, piece(node));
      spans.push({node, span});
      at.text.append(span);
    }
    const from = drawnTo === null ? 0 : Math.min(drawnTo, same, here.depth) - 1;
    for (let i = Math.max(from, 0); i < spans.length; i++) {
      const {node, span} = spans[i];
      span.className = (node === here ? "here" : node.depth > here.depth ? "later" : "")
        + (span.textContent.endsWith("\n") ? " break" : "");
      span.style.background = colour(node.nats);
    }
    drawnTo = here.depth;
    if (here === leaf) at.text.scrollTop = at.text.scrollHeight;
    at.place.setAttribute("aria-live", playing ? "off" : "polite");
    at.place.textContent = here === root ? "Read a prefix to begin." : describe(here);
  }
  function describe(node) {
    const nats = node.nats === null ? "" : `, probability ${Math.exp(-node.nats).toPrecision(2)}, surprise ${node.nats.toFixed(2)} nats`;
    return `Token ${node.depth} of ${leaf.depth}, “${visible(piece(node))}”${nats}.`;
  }
  function drawNext() {
    const found = seen.get(here);
    if (!found || !found.logits) return;
    const rows = likeliest(found.logits, options(), FEW), top = rows.length ? rows[0][1] : 1;
    at.next.replaceChildren(...rows.map(([token, p]) => make("li", {},
      make("button", {type: "button", "aria-label": `go on with ${visible(pieces[token])}, ${percent(p)}`,
        onclick: alone(() => take(token))},
      make("code", {}, visible(pieces[token])), bar(p / top), make("span", {class: "number"}, percent(p))))));
  }
  function drawBranches() {
    const ends = [];
    (function walk(node) {  // without recursion where there is one way only
      while (node.children.size === 1) node = [...node.children.values()][0];
      if (!node.children.size) { if (node !== root) ends.push(node); return; }
      for (const one of node.children.values()) walk(one);
    })(root);
    at.branches.replaceChildren(...ends.map(end => {
      let fork = end, sum = 0, count = 0;
      for (let one = end; one !== root; one = one.parent) if (one.nats !== null) { sum += one.nats; count++; }
      while (fork.parent !== root && fork.parent.children.size === 1) fork = fork.parent;
      const own = line(end).slice(fork.depth - 1), text = own.slice(0, 120).map(piece).join("");
      const facts = `${end.depth} tokens, ${count ? (sum / count).toFixed(2) : "0"} nats each, from token ${fork.depth} on:`;
      return make("li", {},
        make("button", {type: "button", class: "open", "aria-pressed": String(end === leaf), onclick: alone(() => go(end, end))},
          make("span", {class: "facts"}, facts), visible(text)),
        make("button", {type: "button", "aria-label": "forget this branch", disabled: ends.length < 2,
          onclick: alone(() => forget(fork, end))}, "✕"));
    }));
  }
  async function forget(fork, end) {
    fork.parent.children.delete(fork.token);
    for (let one = end; one !== fork.parent; one = one.parent) seen.delete(one);
    if (line(leaf).includes(fork)) await go(here.depth >= fork.depth ? fork.parent : here, endOf(fork.parent));
  }

  function draw() {
    drawText();
    drawNext();
    units.draw(line(here).slice(-PASTS).reverse().map(node => seen.get(node) && seen.get(node).shown));
    if (!playing) drawBranches();
  }

  function number(label, value, given) {
    const input = make("input", {type: "number", value, onchange: draw, ...given});
    return [input, make("label", {}, label, input)];
  }
  const at = {
    prefix: make("textarea", {id: "prefix", rows: 2, spellcheck: "false"}),
    play: make("button", {type: "button", class: "strong"}, "Play"),
    pace: make("select", {}, ...[["as fast as it goes", 0], ["20 tokens a second", 20], ["4 tokens a second", 4]]
      .map(([name, value]) => make("option", {value}, name))),
    text: make("pre", {id: "text", tabindex: 0, role: "group", "aria-describedby": "place",
      "aria-label": "The text. Arrow keys move to another token, from which another branch can go on."}),
    place: make("p", {id: "place", class: "hint", "aria-live": "polite"}),
    said: errorLine(),
    next: make("ol", {class: "bars"}),
    branches: make("ol", {class: "branches"}),
  };
  const fields = {
    temperature: number("temperature", 1, {min: 0, step: 0.1}), topK: number("top k (0: all)", 0, {min: 0, step: 1}),
    seed: number("seed", 0, {min: 0, max: 2 ** 31 - 2, step: 1}),
  };
  for (const [name, [input]] of Object.entries(fields)) at[name] = input;
  const units = unitStrips(strips, PASTS);
  const single = make("button", {type: "button", onclick: alone(async () => { branching(); await step(); })}, "Step");
  const reading = alone(read);
  at.play.addEventListener("click", event => playing ? stop() : alone(play)(event));
  at.prefix.addEventListener("keydown", event => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) reading(event); });
  at.text.addEventListener("click", event => {
    const depth = +(event.target.dataset || {}).depth;
    if (depth) alone(() => go(spans[depth - 1].node))(event);
  });
  const MOVES = {ArrowLeft: () => here.depth - 1, ArrowRight: () => here.depth + 1, Home: () => 1, End: () => spans.length};
  at.text.addEventListener("keydown", event => {
    const to = MOVES[event.key];  // from where an earlier key has led
    if (!to || event.ctrlKey || event.metaKey || event.altKey) return;
    alone(async () => { if (spans[to() - 1]) await go(spans[to() - 1].node); })(event);
  });
  main.append(
    make("section", {},
      make("label", {for: "prefix"}, "Prefix (empty: a line break)"), at.prefix,
      make("div", {class: "row"}, make("button", {type: "button", onclick: reading}, "Read"), single, at.play,
        make("label", {}, "pace", at.pace)),
      make("div", {class: "row"}, ...Object.values(fields).map(([, label]) => label)),
      at.said, at.text, at.place,
      make("p", {class: "hint"}, "The redder a token, the more it surprised the model. Click one, or move there with the ",
        "arrow keys: what follows stays as a branch, and Step or Play goes on from there with the next seed.")),
    make("div", {class: "columns"},
      make("section", {}, make("h2", {}, "Next token"), make("p", {class: "hint"}, "At this temperature and top k; choose one to go on with it."), at.next),
      make("section", {}, make("h2", {}, "Units"), make("p", {class: "hint"}, "Left to right the units: the upper row after this token, ",
        "below it the tokens before, the last on top. Red is above 0, blue below; a gate at 1 keeps all of its state."), ...units.parts)),
    section("Branches", at.branches));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
}
