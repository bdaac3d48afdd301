// Where the page asks about a text: a server, or a program that stands in the page.
// Both have `encode(text)` -> tokens, and `read(tokens, known)` -> {logits, nats, shown}.
async function posted(path, given) {
  const response = await fetch(path, {
    method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(given),
  }).catch(() => { throw new Error("The server does not answer: start it again, and open the address that it prints."); });
  const found = await response.json();
  if (!response.ok) throw new Error(found.error || response.statusText);
  return found;
}
const floatsOf = text => decoded(text, "float32");

const server = {
  encode: async text => (await posted("/encode", {text})).tokens,
  async read(tokens, known) {
    const found = await posted("/read", {tokens, from: known});
    for (const name of ["logits", "nats", "shown"]) found[name] = floatsOf(found[name]);
    return found;
  },
};

const NORMALIZED = {
  none: text => text,
  lower: text => text.toLowerCase(),
  spaced: text => text.toLowerCase().replace(/(?<=[^ ])[,.!?]/g, " $&"),
  letters: text => text.replace(/[^A-Za-z]+/g, " ").toLowerCase(),
};
const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";  // Python's
const WORDS = new RegExp(`<[^<>${SPACE}]+>|[\\p{L}\\p{N}\\p{M}_]+|\\r\\n?|\\n|[^\\p{L}\\p{N}\\p{M}_${SPACE}]`, "gu");
const SPLIT = {
  char: text => [...text],
  byte: text => [...new TextEncoder().encode(text)],
  whitespace: text => text.replace(/\r\n?|\n/g, " <eos> ").split(new RegExp(`[${SPACE}]+`)).filter(Boolean),
  word: text => (text.match(WORDS) || []).map(token => /^[\r\n]/.test(token) ? "<eos>" : token),
};

// The program in the page; it keeps the states after the tokens of the last text.
function offline(data) {
  const program = compile(data.program), {tokenizer, normalize, unknown, recent, longest} = data;
  const numbers = new Map(data.vocabulary.map((token, id) => [token, id]));
  const bytes = Object.values(program.start).reduce((sum, state) => sum + 4 * state.length, 0);
  const every = Math.max(1, Math.ceil(bytes * longest / 2 ** 27));  // states of 128 MiB
  let text = []; const kept = new Map();  // steps -> states after so many tokens
  return {
    async encode(given) {
      const split = SPLIT[tokenizer](NORMALIZED[normalize](given || "\n"));
      const found = tokenizer === "byte" ? split : split.map(token => numbers.get(token) ?? unknown ?? 0);
      if (!found.length) {
        if (given) throw new Error("The prefix holds no token of this model: give another one.");
        found.push(unknown ?? 0);
      }
      if (found.length > longest) throw new Error(`The text has ${found.length} tokens: give at most ${longest}.`);
      return found;
    },
    async read(tokens, known) { return this.readNow(tokens, known); },
    readNow(tokens, known) {
      let same = 0;
      while (same < text.length && same < tokens.length && text[same] === tokens[same]) same++;
      for (const step of kept.keys()) if (step > same) kept.delete(step);
      let at = 0;
      for (const step of kept.keys()) if (step > at && step <= known) at = step;
      let states = at ? kept.get(at) : program.start, found = null;
      const nats = [], shown = [];
      for (; at < tokens.length; at++) {
        if (at > known) nats.push(surprise(found.logits, tokens[at]));
        found = program.run(tokens[at], states);
        states = found.states;
        if (at >= known && at >= tokens.length - recent) shown.push(found.shown);
        if ((at + 1) % every === 0 || at + 1 === tokens.length) kept.set(at + 1, states);
      }
      text = tokens;
      const all = new Float32Array(shown.length * found.shown.length);
      shown.forEach((row, i) => all.set(row, i * found.shown.length));
      return {logits: found.logits, nats, shown: all};
    },
  };
}
