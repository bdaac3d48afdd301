// Reads `{"scripts", "program", "tokens", "options", "length"}` and runs the program of a page:
// `{"logits", "shown"}` after each token, and the tokens `drawn` after the last of them. `splits`
// are texts to be split, each `[tokenizer, normalize, text]`.
const fs = require("fs"), vm = require("vm");
const given = JSON.parse(fs.readFileSync(0, "utf8"));
const scripts = given.scripts.map(path => fs.readFileSync(path, "utf8")).join("\n");
const page = vm.runInThisContext(`"use strict";${scripts}\n({compile, drawn, gumbel, foldIn, keyOf, SPLIT, NORMALIZED})`);
const found = {logits: [], shown: [], drawn: []};
if (given.program) {
  const program = page.compile(given.program);
  let states = program.start, logits = null;
  const read = token => {
    const after = program.run(token, states);
    ({states, logits} = after);
    return after;
  };
  for (const token of given.tokens) {
    const {shown} = read(token);
    found.logits.push(Array.from(logits));
    found.shown.push(Array.from(shown));
  }
  const begun = performance.now();
  for (let t = 0; t < (given.length || 0); t++) {
    found.drawn.push(page.drawn(logits, given.options, t));
    read(found.drawn[t]);
  }
  found.rate = given.length / ((performance.now() - begun) / 1000);
}
if (given.seed !== undefined)
  found.noise = given.tokens.map(t => page.gumbel(page.foldIn(page.keyOf(given.seed), t), t));
found.splits = (given.splits || []).map(([tokenizer, normalize, text]) =>
  page.SPLIT[tokenizer](page.NORMALIZED[normalize](text)));
console.log(JSON.stringify(found));
