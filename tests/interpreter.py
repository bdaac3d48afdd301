"""A traced program evaluated in NumPy, operation by operation: nothing is compiled.

To compile a small program takes some 50 times as long as to run it. What is here are
the operations that gradients of recurrent cells are made of; of any other, JAX
computes the value.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal


def evaluate(jaxpr, consts, args) -> list:
  """The outputs of a `jaxpr`, in NumPy."""
  values: dict = {}

  def read(atom):
    return atom.val if isinstance(atom, Literal) else values[atom]

  def write(variables, results):
    for variable, result in zip(variables, results, strict=True):
      values[variable] = result

  write(jaxpr.constvars, consts)
  write(jaxpr.invars, args)
  for eqn in jaxpr.eqns:
    name = eqn.primitive.name
    inputs = [read(atom) for atom in eqn.invars]
    if name in CONTROL:
      results = CONTROL[name](eqn.params, inputs)
    elif any(map(_is_key, inputs)):  # of which NumPy has no arrays
      results = _by_jax(eqn, inputs)
    elif name in ELEMENTWISE:
      results = [_typed(ELEMENTWISE[name](*inputs), eqn.outvars[0].aval)]
    elif name in OPERATIONS:
      results = OPERATIONS[name](eqn, *inputs)
      results = results if isinstance(results, list) else [results]
    else:
      results = _by_jax(eqn, inputs)
    write(eqn.outvars, results)
  return [read(atom) for atom in jaxpr.outvars]


def _typed(value, aval):
  value = np.asarray(value)
  return value if value.dtype == aval.dtype else value.astype(aval.dtype)


def _by_jax(eqn, inputs) -> list:
  results = eqn.primitive.bind(*map(jnp.asarray, inputs), **eqn.params)
  results = results if eqn.primitive.multiple_results else [results]
  return [r if _is_key(r) else np.asarray(r) for r in results]


def _is_key(x) -> bool:
  return jax.dtypes.issubdtype(jnp.result_type(x), jax.dtypes.extended)


def _closed(closed, inputs):
  return evaluate(closed.jaxpr, closed.consts, inputs)


def _scan(params, inputs):
  body, length = params["jaxpr"], params["length"]
  fixed, carry, sequences = _parts(params, inputs)
  carries = len(carry)
  rows: list = [None] * length
  for t in range(length)[:: -1 if params["reverse"] else 1]:
    out = _closed(body, [*fixed, *carry, *(s[t] for s in sequences)])
    carry, rows[t] = out[:carries], out[carries:]
  avals = body.out_avals[carries:]
  return [*carry, *map(_stack, zip(*rows) if length else [()] * len(avals), avals)]


def _parts(params, inputs):
  """What a scan closes over, its carry and its sequences."""
  if "num_consts" not in params:  # since jax 0.12
    return map(list, params["ft_in"].update(inputs).unpack())
  consts, carries = params["num_consts"], params["num_carry"]
  cut = consts + carries
  return inputs[:consts], inputs[consts:cut], inputs[cut:]


def _stack(rows, aval):
  if jax.dtypes.issubdtype(aval.dtype, jax.dtypes.extended):  # keys
    return jnp.stack(rows) if rows else jnp.empty((0, *aval.shape), aval.dtype)
  return np.stack(rows) if rows else np.zeros((0, *aval.shape), aval.dtype)


def _while(params, inputs):
  heads, bodies = params["cond_nconsts"], params["body_nconsts"]
  head, body = inputs[:heads], inputs[heads : heads + bodies]
  carry = inputs[heads + bodies :]
  while _closed(params["cond_jaxpr"], [*head, *carry])[0]:
    carry = _closed(params["body_jaxpr"], [*body, *carry])
  return carry


def _cond(params, inputs):
  index, *operands = inputs
  branches = params["branches"]
  return _closed(branches[int(np.clip(index, 0, len(branches) - 1))], operands)


CONTROL = {
  "scan": _scan,
  "while": _while,
  "cond": _cond,
  "jit": lambda params, inputs: _closed(params["jaxpr"], inputs),
  "pjit": lambda params, inputs: _closed(params["jaxpr"], inputs),
  "closed_call": lambda params, inputs: _closed(params["call_jaxpr"], inputs),
  "core_call": lambda params, inputs: evaluate(params["call_jaxpr"], [], inputs),
  "remat2": lambda params, inputs: evaluate(params["jaxpr"], [], inputs),
  "custom_jvp_call": lambda params, inputs: _closed(params["call_jaxpr"], inputs),
  "custom_vjp_call": lambda params, inputs: _closed(params["call_jaxpr"], inputs),
  "optimization_barrier": lambda params, inputs: inputs,
}


def _logistic(x):
  return 0.5 * np.tanh(0.5 * x) + 0.5


ELEMENTWISE = {
  "add": np.add,
  "add_any": np.add,
  "sub": np.subtract,
  "mul": np.multiply,
  "div": lambda a, b: a // b if np.issubdtype(a.dtype, np.integer) else a / b,
  "rem": np.fmod,
  "neg": np.negative,
  "tanh": np.tanh,
  "sin": np.sin,
  "cos": np.cos,
  "exp": np.exp,
  "log": np.log,
  "log1p": np.log1p,
  "logistic": _logistic,
  "sqrt": np.sqrt,
  "rsqrt": lambda x: 1 / np.sqrt(x),
  "square": np.square,
  "abs": np.abs,
  "sign": np.sign,
  "max": np.maximum,
  "min": np.minimum,
  "gt": np.greater,
  "ge": np.greater_equal,
  "lt": np.less,
  "le": np.less_equal,
  "eq": np.equal,
  "ne": np.not_equal,
  "and": np.bitwise_and,
  "or": np.bitwise_or,
  "not": np.invert,
  "copy": lambda x: x,
  "stop_gradient": lambda x: x,
}


def _select(eqn, which, *cases):
  which = np.asarray(which)
  if which.dtype == bool and len(cases) == 2:
    return _typed(np.where(which, cases[1], cases[0]), eqn.outvars[0].aval)
  return _by_jax(eqn, [which, *cases])[0]


def _dot(eqn, a, b):
  (left, right), (left_batch, right_batch) = eqn.params["dimension_numbers"]
  names_a = list(range(a.ndim))
  names_b = list(range(a.ndim, a.ndim + b.ndim))
  for i, j in zip((*left, *left_batch), (*right, *right_batch)):
    names_b[j] = names_a[i]
  out = [names_a[i] for i in left_batch]
  out += [n for i, n in enumerate(names_a) if i not in (*left, *left_batch)]
  out += [n for j, n in enumerate(names_b) if j not in (*right, *right_batch)]
  aval = eqn.outvars[0].aval
  # A product of few rows is one of many in the last places: no BLAS.
  return _typed(np.einsum(a, names_a, b, names_b, out), aval)


def _broadcast(eqn, x, *dynamic):
  del dynamic
  shape = eqn.params["shape"]
  own = [1] * len(shape)
  for i, axis in enumerate(eqn.params["broadcast_dimensions"]):
    own[axis] = np.shape(x)[i]
  return np.broadcast_to(np.reshape(x, own), shape)


def _slice(eqn, x):
  params = eqn.params
  steps = params["strides"] or (1,) * x.ndim
  return x[tuple(map(slice, params["start_indices"], params["limit_indices"], steps))]


def _starts(shape, sizes, indices):
  """Slices that XLA has begin where they fit."""
  return tuple(
    slice(start := min(max(int(i), 0), whole - size), start + size)
    for i, whole, size in zip(indices, shape, sizes)
  )


def _dynamic_slice(eqn, x, *indices):
  return x[_starts(x.shape, eqn.params["slice_sizes"], indices)]


def _dynamic_update_slice(eqn, x, update, *indices):
  x = np.array(x)
  x[_starts(x.shape, update.shape, indices)] = update
  return x


def _pad(eqn, x, value):
  config = eqn.params["padding_config"]
  whole = [n + max(n - 1, 0) * gap for n, (_, _, gap) in zip(x.shape, config)]
  low = [max(low, 0) for low, _, _ in config]
  high = [max(high, 0) for _, high, _ in config]
  out = np.full(np.add(np.add(low, whole), high), value, x.dtype)
  out[
    tuple(
      slice(start, start + size, gap + 1)
      for start, size, (_, _, gap) in zip(low, whole, config)
    )
  ] = x
  return out[  # less what a negative padding takes away
    tuple(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b, _) in zip(out.shape, config))
  ]


def _split(eqn, x):
  ends = np.cumsum(eqn.params["sizes"])[:-1]
  return list(np.split(x, ends, axis=eqn.params["axis"]))


def _power(eqn, x):
  return _typed(np.power(x, np.asarray(eqn.params["y"], x.dtype)), eqn.outvars[0].aval)


OPERATIONS = {
  "select_n": _select,
  "dot_general": _dot,
  "broadcast_in_dim": _broadcast,
  "reshape": lambda eqn, x, *_: np.reshape(x, eqn.params["new_sizes"]),
  "squeeze": lambda eqn, x: np.squeeze(x, eqn.params["dimensions"]),
  "expand_dims": lambda eqn, x: np.expand_dims(x, eqn.params["dimensions"]),
  "transpose": lambda eqn, x: np.transpose(x, eqn.params["permutation"]),
  "concatenate": lambda eqn, *xs: np.concatenate(xs, axis=eqn.params["dimension"]),
  "slice": _slice,
  "dynamic_slice": _dynamic_slice,
  "dynamic_update_slice": _dynamic_update_slice,
  "pad": _pad,
  "split": _split,
  "tile": lambda eqn, x: np.tile(x, eqn.params["reps"]),
  "rev": lambda eqn, x: np.flip(x, eqn.params["dimensions"]),
  "reduce_sum": lambda eqn, x: np.sum(x, eqn.params["axes"], dtype=x.dtype),
  "reduce_max": lambda eqn, x: np.max(x, eqn.params["axes"]),
  "integer_pow": _power,
  "convert_element_type": lambda eqn, x: np.asarray(x).astype(eqn.params["new_dtype"]),
  "iota": lambda eqn: np.broadcast_to(
    np.arange(
      eqn.params["shape"][eqn.params["dimension"]], dtype=eqn.params["dtype"]
    ).reshape(
      [
        -1 if i == eqn.params["dimension"] else 1
        for i in range(len(eqn.params["shape"]))
      ]
    ),
    eqn.params["shape"],
  ),
}


def run(function, *args):
  """`function(*args)`, traced, then evaluated in NumPy."""
  traced, shape = jax.make_jaxpr(function, return_shape=True)(*args)
  results = evaluate(traced.jaxpr, traced.consts, jax.tree.leaves(args))
  return jax.tree.unflatten(jax.tree.structure(shape), results)
