// Runs a program of ONNX's operators whose shapes are known: `compile(program).run(…)`.
// Numbers stand in typed arrays that are made once; a step makes none but its results.
const TYPES = {
  float32: Float32Array, int32: Int32Array, uint32: Uint32Array, bool: Uint8Array,
  int64: Float64Array, uint8: Uint8Array, int8: Int8Array,
};
const sizeOf = shape => shape.reduce((a, b) => a * b, 1);
const tensor = (type, shape, data) =>
  ({type, shape, data: data || new TYPES[type](sizeOf(shape))});
const stridesOf = shape => {
  const strides = new Array(shape.length);
  for (let axis = shape.length - 1, step = 1; axis >= 0; step *= shape[axis--]) strides[axis] = step;
  return strides;
};
const axisOf = (axis, shape) => axis < 0 ? axis + shape.length : axis;

// The places of an array that an index [i, j, …] of a shape stands for: sum of strides.
function places(shape, strides, start = 0) {
  const found = new Int32Array(sizeOf(shape)), index = new Array(shape.length).fill(0);
  for (let i = 0, at = start; i < found.length; i++) {
    found[i] = at;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += strides[axis];
      if (++index[axis] < shape[axis]) break;
      at -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return found;
}
function broadcast(...shapes) {
  const rank = Math.max(...shapes.map(shape => shape.length)), found = new Array(rank).fill(1);
  for (const shape of shapes)
    shape.forEach((size, axis) => { if (size !== 1) found[axis + rank - shape.length] = size; });
  return found;
}
function placesIn(shape, value) {  // null: those of the result itself
  if (sizeOf(shape) === value.data.length) return null;
  const lead = shape.length - value.shape.length, strides = stridesOf(value.shape);
  return places(shape, shape.map((_, axis) =>
    axis < lead || value.shape[axis - lead] === 1 ? 0 : strides[axis - lead]));
}

function erf(x) {  // W. J. Cody's accuracy is not needed: Press et al., 6.2, to 1.2e-7
  const t = 1 / (1 + 0.5 * Math.abs(x));
  const c = [0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806,
    0.09678418, 0.37409196, 1.00002368, -1.26551223];
  const inner = c.reduce((sum, one) => sum * t + one, 0);
  const tail = t * Math.exp(-x * x + inner);
  return x >= 0 ? 1 - tail : tail - 1;
}
function even(x) {  // halves to the even one
  const low = Math.floor(x), off = x - low;
  return off < 0.5 || (off === 0.5 && low % 2 === 0) ? low : low + 1;
}
const UNARY = {
  Abs: Math.abs, Ceil: Math.ceil, Cos: Math.cos, Erf: erf, Exp: Math.exp, Floor: Math.floor,
  Log: Math.log, Neg: x => -x, Not: x => x ? 0 : 1, Reciprocal: x => 1 / x, Round: even,
  Sigmoid: x => 1 / (1 + Math.exp(-x)), Sign: Math.sign, Sin: Math.sin, Sqrt: Math.sqrt,
  Tan: Math.tan, Tanh: Math.tanh,
};
const COMPARED = {
  Equal: (a, b) => a === b ? 1 : 0, Greater: (a, b) => a > b ? 1 : 0,
  GreaterOrEqual: (a, b) => a >= b ? 1 : 0, Less: (a, b) => a < b ? 1 : 0,
  LessOrEqual: (a, b) => a <= b ? 1 : 0,
};
const BINARY = {
  Add: (a, b) => a + b, Sub: (a, b) => a - b, Mul: (a, b) => a * b, Div: (a, b) => a / b,
  Max: Math.max, Min: Math.min, Mod: (a, b) => a % b, Pow: Math.pow,
  And: (a, b) => a & b, Or: (a, b) => a | b, Xor: (a, b) => a ^ b,
};
const REDUCED = {
  ReduceSum: [0, (a, b) => a + b], ReduceProd: [1, (a, b) => a * b],
  ReduceMax: [-Infinity, Math.max], ReduceMin: [Infinity, Math.min],
};

// Each rule: (inputs, options, outputs wanted) -> [results, what computes their numbers].
const RULES = {
  Where([which, yes, no]) {
    const shape = broadcast(which.shape, yes.shape, no.shape), out = tensor(yes.type, shape);
    const [w, y, n] = [which, yes, no].map(one => placesIn(shape, one));
    return [[out], () => {
      for (let i = 0; i < out.data.length; i++)
        out.data[i] = which.data[w ? w[i] : i] ? yes.data[y ? y[i] : i] : no.data[n ? n[i] : i];
    }];
  },
  Cast([x], {to}) {
    const out = tensor(to, x.shape);
    if (to === "bool")
      return [[out], () => { for (let i = 0; i < out.data.length; i++) out.data[i] = x.data[i] ? 1 : 0; }];
    const whole = to.includes("int");
    return [[out], () => {
      for (let i = 0; i < out.data.length; i++) out.data[i] = whole ? Math.trunc(x.data[i]) : x.data[i];
    }];
  },
  Reshape: ([x], {to}) => [[{...x, shape: to}], null],
  Expand: ([x, shape]) => moved(x, [...shape.data], placesIn([...shape.data], x)),
  Transpose([x], {perm}) {
    const strides = stridesOf(x.shape), shape = perm.map(axis => x.shape[axis]);
    return moved(x, shape, places(shape, perm.map(axis => strides[axis])));
  },
  Slice([x, starts, ends, axes, steps]) {
    const shape = [...x.shape], strides = stridesOf(x.shape);
    let first = 0;
    for (let i = 0; i < starts.data.length; i++) {
      const axis = axisOf(axes ? axes.data[i] : i, shape), size = x.shape[axis];
      const step = steps ? steps.data[i] : 1, clip = (at, low, high) =>
        Math.min(Math.max(at < 0 ? at + size : at, low), high);
      const start = step > 0 ? clip(starts.data[i], 0, size) : clip(starts.data[i], 0, size - 1);
      const end = step > 0 ? clip(ends.data[i], 0, size) : clip(ends.data[i], -1, size - 1);
      shape[axis] = Math.max(Math.ceil((end - start) / step), 0);
      first += start * strides[axis];
      strides[axis] *= step;
    }
    return moved(x, shape, places(shape, strides, first));
  },
  Split([x, sizes], {axis}) {
    const at = axisOf(axis, x.shape), strides = stridesOf(x.shape), runs = [], outs = [];
    let start = 0;
    for (const size of sizes.data) {
      const shape = x.shape.map((old, i) => i === at ? size : old);
      const [[out], run] = moved(x, shape, places(shape, strides, start * strides[at]));
      outs.push(out); runs.push(run);
      start += size;
    }
    return [outs, () => { for (const run of runs) run(); }];
  },
  Concat(xs, {axis}) {
    const at = axisOf(axis, xs[0].shape), shape = [...xs[0].shape];
    shape[at] = xs.reduce((sum, x) => sum + x.shape[at], 0);
    const out = tensor(xs[0].type, shape), strides = stridesOf(shape);
    let start = 0;
    const into = xs.map(x => {
      const found = places(x.shape, strides, start * strides[at]);
      start += x.shape[at];
      return found;
    });
    return [[out], () => xs.forEach((x, n) => {
      for (let i = 0; i < x.data.length; i++) out.data[into[n][i]] = x.data[i];
    })];
  },
  Pad([x, pads, fill]) {
    const rank = x.shape.length, shape = x.shape.map((size, i) => size + pads.data[i] + pads.data[i + rank]);
    const out = tensor(x.type, shape), strides = stridesOf(shape);
    const start = strides.reduce((sum, stride, i) => sum + stride * pads.data[i], 0);
    const into = places(x.shape, strides, start);
    return [[out], () => {
      out.data.fill(fill ? fill.data[0] : 0);
      for (let i = 0; i < into.length; i++) out.data[into[i]] = x.data[i];
    }];
  },
  Range([start, end, step]) {
    const size = Math.max(Math.ceil((end.data[0] - start.data[0]) / step.data[0]), 0);
    const out = tensor(start.type, [size]);
    return [[out], () => { for (let i = 0; i < size; i++) out.data[i] = start.data[0] + i * step.data[0]; }];
  },
  MatMul([a, b]) {
    const [inner, columns] = b.shape, rows = a.data.length / inner;
    const out = tensor("float32", [...a.shape.slice(0, -1), columns]);
    return [[out], () => product(a.data, b.data, out.data, rows, inner, columns)];
  },
  Einsum([a, b], {equation}) {
    const [left, right, result] = equation.split(/,|->/), size = {};
    [...left].forEach((letter, i) => { size[letter] = a.shape[i]; });
    [...right].forEach((letter, i) => { size[letter] = b.shape[i]; });
    const summed = [...new Set(left + right)].filter(letter => !result.includes(letter));
    const along = (letters, own, shape) => {
      const strides = stridesOf(shape);
      const step = [...letters].map(letter => own.includes(letter) ? strides[own.indexOf(letter)] : 0);
      return places([...letters].map(letter => size[letter]), step);
    };
    const out = tensor("float32", [...result].map(letter => size[letter]));
    const [aOut, bOut] = [along(result, left, a.shape), along(result, right, b.shape)];
    const [aIn, bIn] = [along(summed, left, a.shape), along(summed, right, b.shape)];
    return [[out], () => {
      for (let i = 0; i < out.data.length; i++) {
        let sum = 0;
        for (let j = 0; j < aIn.length; j++) sum += a.data[aOut[i] + aIn[j]] * b.data[bOut[i] + bIn[j]];
        out.data[i] = sum;
      }
    }];
  },
  CumSum([x, axis], {reverse = 0}) {
    const {out, lines, step, size} = alongAxis(x, axis.data[0]);
    return [[out], () => {
      for (const line of lines)
        for (let i = 0, sum = 0; i < size; i++) {
          const at = line + step * (reverse ? size - 1 - i : i);
          out.data[at] = sum += x.data[at];
        }
    }];
  },
  Gather([x, ids], {axis = 0}) {
    const at = axisOf(axis, x.shape), inner = sizeOf(x.shape.slice(at + 1)), size = x.shape[at];
    const outer = sizeOf(x.shape.slice(0, at)), count = ids.data.length;
    const out = tensor(x.type, [...x.shape.slice(0, at), ...ids.shape, ...x.shape.slice(at + 1)]);
    return [[out], () => {
      for (let o = 0; o < outer; o++)
        for (let i = 0; i < count; i++) {
          const row = ids.data[i] < 0 ? ids.data[i] + size : ids.data[i], from = (o * size + row) * inner;
          for (let j = 0; j < inner; j++) out.data[(o * count + i) * inner + j] = x.data[from + j];
        }
    }];
  },
  GatherElements([x, ids], {axis = 0}) {
    const at = axisOf(axis, x.shape), strides = stridesOf(x.shape), size = x.shape[at];
    const base = places(ids.shape, strides.map((stride, i) => i === at ? 0 : stride));
    const out = tensor(x.type, ids.shape);
    return [[out], () => {
      for (let i = 0; i < out.data.length; i++)
        out.data[i] = x.data[base[i] + strides[at] * (ids.data[i] < 0 ? ids.data[i] + size : ids.data[i])];
    }];
  },
};
for (const [name, f] of Object.entries(UNARY))
  RULES[name] = ([x]) => {
    const out = tensor(x.type, x.shape);
    return [[out], () => { for (let i = 0; i < out.data.length; i++) out.data[i] = f(x.data[i]); }];
  };
for (const [name, f] of Object.entries({...BINARY, ...COMPARED}))
  RULES[name] = ([a, b]) => {
    const shape = broadcast(a.shape, b.shape), [p, q] = [placesIn(shape, a), placesIn(shape, b)];
    const out = tensor(name in COMPARED ? "bool" : a.type, shape), whole = name === "Div" && a.type.includes("int");
    if (!p && !q && !whole)
      return [[out], () => { for (let i = 0; i < out.data.length; i++) out.data[i] = f(a.data[i], b.data[i]); }];
    return [[out], () => {
      for (let i = 0; i < out.data.length; i++) {
        const found = f(a.data[p ? p[i] : i], b.data[q ? q[i] : i]);
        out.data[i] = whole ? Math.trunc(found) : found;
      }
    }];
  };
for (const [name, [start, f]] of Object.entries(REDUCED))
  RULES[name] = ([x, given], {axes, keepdims = 1}) => {
    const gone = [...(given ? given.data : axes)].map(axis => axisOf(axis, x.shape));
    const kept = x.shape.map((size, i) => gone.includes(i) ? 1 : size), strides = stridesOf(kept);
    const into = places(x.shape, strides.map((stride, i) => gone.includes(i) ? 0 : stride));
    const out = tensor(x.type, keepdims ? kept : kept.filter((_, i) => !gone.includes(i)));
    return [[out], () => {
      out.data.fill(x.type === "float32" ? start : Math.max(Math.min(start, 2 ** 31 - 1), -(2 ** 31)));
      for (let i = 0; i < into.length; i++) out.data[into[i]] = f(out.data[into[i]], x.data[i]);
    }];
  };
for (const [name, sign] of [["ArgMax", 1], ["ArgMin", -1]])
  RULES[name] = ([x], {axis = 0}) => {
    const {at, lines, step, size} = alongAxis(x, axis);
    const out = tensor("int64", x.shape.filter((_, i) => i !== at));
    return [[out], () => lines.forEach((line, n) => {
      let best = 0;
      for (let i = 1; i < size; i++)
        if (sign * x.data[line + step * i] > sign * x.data[line + step * best]) best = i;
      out.data[n] = best;
    })];
  };

function moved(x, shape, from) {
  const out = tensor(x.type, shape);
  return [[out], () => { for (let i = 0; i < out.data.length; i++) out.data[i] = x.data[from ? from[i] : i]; }];
}
function alongAxis(x, axis) {  // where the lines along an axis begin
  const at = axisOf(axis, x.shape), strides = stridesOf(x.shape);
  const shape = x.shape.map((size, i) => i === at ? 1 : size);
  return {at, lines: places(shape, strides), step: strides[at], size: x.shape[at], out: tensor(x.type, x.shape)};
}
function product(a, b, out, rows, inner, columns) {  // four rows of b at a time
  out.fill(0);
  for (let row = 0; row < rows; row++) {
    const to = row * columns, from = row * inner;
    let k = 0;
    for (; k + 3 < inner; k += 4) {
      const a0 = a[from + k], a1 = a[from + k + 1], a2 = a[from + k + 2], a3 = a[from + k + 3];
      if (!a0 && !a1 && !a2 && !a3) continue;
      const b0 = k * columns, b1 = b0 + columns, b2 = b1 + columns, b3 = b2 + columns;
      for (let n = 0; n < columns; n++)
        out[to + n] += a0 * b[b0 + n] + a1 * b[b1 + n] + a2 * b[b2 + n] + a3 * b[b3 + n];
    }
    for (; k < inner; k++) {
      const one = a[from + k], b0 = k * columns;
      for (let n = 0; n < columns; n++) out[to + n] += one * b[b0 + n];
    }
  }
}
function decoded(text, type) {  // numbers from base64
  const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
  return new TYPES[type](bytes.buffer);
}

// A program as `unroll.playing.offline` writes it -> `run(token, states)`.
function compile(program) {
  const read = ({shape, type, data, index}) => {
    if (data) return tensor(type, shape, TYPES[type].from(data.map(Number)));
    const stored = type === "float32" ? type : "int32";
    return tensor(type, shape, TYPES[type].from(decoded(program.weights[index], stored)));
  };
  const values = {}, free = new Set(["tokens"]), steps = [];
  for (const [name, one] of Object.entries(program.constants)) values[name] = read(one);
  values.tokens = tensor("int32", [1]);
  for (const [name, one] of Object.entries(program.states)) { values[name] = read(one); free.add(name); }
  const start = Object.fromEntries(Object.keys(program.states).map(name => [name, values[name].data.slice()]));
  for (const node of program.nodes) {
    const [found, run] = RULES[node.op](node.in.map(name => values[name]), node.with || {});
    node.out.forEach((name, i) => { values[name] = found[i]; });
    if (!node.in.some(name => free.has(name))) { if (run) run(); continue; }
    node.out.forEach(name => free.add(name));
    if (run) steps.push(run);
  }
  return {
    start,
    run(token, states) {  // -> {logits, shown, states}
      values.tokens.data[0] = token;
      for (const name in start) values[name].data.set(states[name]);
      for (const step of steps) step();
      const after = {};
      for (const name in start) after[name] = values[program.outputs["next" + name.slice(5)]].data.slice();
      const {logits, shown} = program.outputs;
      return {logits: values[logits].data.slice(), shown: values[shown].data.slice(), states: after};
    },
  };
}
