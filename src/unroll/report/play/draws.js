// Random numbers as JAX has them (threefry2x32), and draws as `unroll.generate` makes them.
const f32 = Math.fround, TINY = 2 ** -126;
const rotated = (x, by) => (x << by) | (x >>> (32 - by));

// Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3": 20 rounds.
function threefry([k0, k1], x0, x1) {
  const keys = [k0, k1, k0 ^ k1 ^ 0x1bd11bda], turns = [[13, 15, 26, 6], [17, 29, 16, 24]];
  x0 = (x0 + k0) | 0;
  x1 = (x1 + k1) | 0;
  for (let round = 0; round < 5; round++) {
    for (const by of turns[round % 2]) {
      x0 = (x0 + x1) | 0;
      x1 = rotated(x1, by) ^ x0;
    }
    x0 = (x0 + keys[(round + 1) % 3]) | 0;
    x1 = (x1 + keys[(round + 2) % 3] + round + 1) | 0;
  }
  return [x0, x1];
}
const keyOf = seed => [0, seed | 0];
const foldIn = (key, number) => threefry(key, 0, number | 0);

const bitsOf = new Uint32Array(1), floatOf = new Float32Array(bitsOf.buffer);
function gumbel(key, i) {
  const [high, low] = threefry(key, 0, i);
  bitsOf[0] = ((high ^ low) >>> 9) | 0x3f800000;
  const uniform = Math.max(f32(floatOf[0] - 1), TINY);
  return f32(-f32(Math.log(f32(-f32(Math.log(uniform))))));
}

// Ids from the likeliest token on, equal ones by number.
function ranked(logits) {
  const ids = Uint32Array.from(logits, (_, i) => i);
  return ids.sort((a, b) => logits[b] - logits[a] || a - b);
}
function permitted(logits, unknown) {
  if (unknown === null || unknown === undefined) return logits;
  const found = Float32Array.from(logits);
  found[unknown] = -Infinity;
  return found;
}

// The token that step t of the first sample of a seed draws; temperature 0: the likeliest.
function drawn(logits, {temperature, topK, seed, unknown}, t) {
  const allowed = permitted(logits, unknown), key = foldIn(foldIn(keyOf(seed), 0), t);
  const heat = f32(temperature);
  const cut = heat > 0 && topK > 0, ids = cut ? ranked(allowed).subarray(0, topK) : null;
  let best = -Infinity, found = -1;
  for (let rank = 0; rank < (cut ? ids.length : allowed.length); rank++) {
    const id = cut ? ids[rank] : rank, logit = allowed[id];
    if (logit === -Infinity) continue;
    const score = heat ? f32(logit + f32(heat * gumbel(key, rank))) : logit;
    if (score > best || (score === best && id < found)) { best = score; found = id; }
  }
  return found;
}

// The likeliest tokens as `[id, probability]` after temperature and top_k.
function likeliest(logits, {temperature, topK, unknown}, most) {
  const allowed = permitted(logits, unknown), ids = ranked(allowed);
  const kept = topK > 0 ? ids.subarray(0, topK) : ids;
  if (!temperature) return [[kept[0], 1]];
  const weights = Array.from(kept, id => Math.exp((allowed[id] - allowed[kept[0]]) / temperature));
  const total = weights.reduce((a, b) => a + b, 0);
  return Array.from(kept.subarray(0, most), (id, i) => [id, weights[i] / total]).filter(([, p]) => p > 0);
}

// Minus the log-probability of a token, in nats.
function surprise(logits, token) {
  let top = -Infinity, sum = 0;
  for (const one of logits) if (one > top) top = one;
  for (const one of logits) sum += Math.exp(one - top);
  return top + Math.log(sum) - logits[token];
}
