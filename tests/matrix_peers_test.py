"""Matrix memories beside their authors' code in torch: values, states, gradients.

xlstm and mlstm_kernels 2.0.6, fla-core 0.6.0. The packages add 1e-6 to a denominator
of mLSTM by default, which depends on the scale of what is kept; it is told to be 0.
"""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import B, D, initial, noise, parameters, quick

from unroll import cells, scan

pytestmark = pytest.mark.peers

T, H, HEADS, CHUNK = 32, 8, 2, 8
WIDTH = H // HEADS


@pytest.fixture(scope="module")
def torch():
  return pytest.importorskip("torch")


def drawn(name, evaluation, dtype, fresh):
  """Our cell, its parameters, a carry, inputs, and what each result is weighed by."""
  cell = cells.CELLS[name](D, H, heads=HEADS, evaluation=evaluation, chunk=CHUNK)
  params = parameters(cell, dtype)
  carry = cell.carry(params, B) if fresh else initial(cell, params)
  weights = [
    noise(60 + i, *shape, dtype=dtype)
    for i, shape in enumerate([(T, B, H), *(leaf.shape for leaf in carry)])
  ]
  return cell, params, carry, noise(3, T, B, D, dtype=dtype), weights


def compared(torch, name, evaluation, peer, dtype, rtol, fresh=False):
  """Asserts that outputs, last carry and all gradients are those of a peer.

  Args:
    torch: the module.
    name: of the cell.
    evaluation: how ours runs.
    peer: `(torch, params, carry, xs) -> (ys, carry)`, of tensors; None for a carry
      that it does not give.
    dtype: of all numbers.
    rtol: how far off, of the largest number.
    fresh: starts from the cell's own carry.
  """
  cell, params, carry, xs, weights = drawn(name, evaluation, dtype, fresh)
  leaves, tree = jax.tree.flatten((params, carry, xs))
  tensors = [torch.tensor(np.asarray(leaf), requires_grad=True) for leaf in leaves]
  ys, last = peer(torch, *jax.tree.unflatten(tree, tensors))
  results = [ys, *(() if last is None else last)]
  total = sum((r * torch.tensor(w)).sum() for r, w in zip(results, weights))
  total.backward()

  def ours(params, carry, xs):
    carry, ys = scan.unroll(cell, params, carry, xs)
    found = [ys, *(() if last is None else carry)]
    return sum(jnp.sum(r * w) for r, w in zip(found, weights)), found

  take = quick(jax.grad(ours, (0, 1, 2), has_aux=True))
  grads, found = take(params, carry, xs)
  pairs = [*zip(found, results, strict=True)]
  for mine, tensor in zip(jax.tree.leaves(grads), tensors, strict=True):
    if tensor.grad is not None:  # the carry of a peer that takes none
      pairs.append((mine, tensor.grad))
  for mine, other in pairs:
    other = other.detach().numpy()
    size = rtol * max(1.0, float(np.max(np.abs(other))))
    np.testing.assert_allclose(mine, other, rtol=0, atol=size)


def heads(part):
  """`[T, B, H]` as `[B, heads, T, d]`, or `[T, B, heads]` as `[B, heads, T]`."""
  if part.shape[-1] == HEADS:
    return part.permute(1, 2, 0)
  return part.reshape(T, B, HEADS, WIDTH).permute(1, 2, 0, 3)


def joined(part):
  """`[B, heads, T, d]` as `[T, B, H]`."""
  return part.permute(2, 0, 1, 3).reshape(T, B, H)


def of_mlstm(torch, params, xs):
  """q, k, v, i, f by heads, and the output gate."""
  z = xs @ params.w_x
  wide, narrow = z[..., : 4 * H] + params.b, z[..., 4 * H :] + params.b_gates
  q, k, v, o = wide.split(H, -1)
  i, f = narrow.split(HEADS, -1)
  return [heads(part) for part in (q, k, v, i, f)], torch.sigmoid(o)


def xlstm_steps(torch, params, carry, xs):
  backends = pytest.importorskip("xlstm.blocks.mlstm.backends")
  parts, gate = of_mlstm(torch, params, xs)
  state = (carry.c, carry.n[..., None], carry.m[..., None, None])
  outputs = []
  for t in range(T):
    q, k, v = (part[:, :, t : t + 1].clone() for part in parts[:3])
    i, f = (part[:, :, t, None, None] for part in parts[3:])
    h, state = backends.recurrent_step_stabilized_simple(
      *state, q=q, k=k, v=v, igate_preact=i, fgate_preact=f, eps=0.0
    )
    outputs.append(h)
  c, n, m = state
  ys = gate * joined(torch.cat(outputs, dim=2))
  return ys, (c, n[..., 0], m[..., 0, 0])


def xlstm_parallel(torch, params, carry, xs):
  backends = pytest.importorskip("xlstm.blocks.mlstm.backends")
  (q, k, v, i, f), gate = of_mlstm(torch, params, xs)
  gates = (i[..., None], f[..., None])
  h = backends.parallel_stabilized_simple(q, k, v, *gates, eps=0.0)
  return gate * joined(h), None


def kernels_steps(torch, params, carry, xs):
  """mlstm_kernels divides q by √d, so that its C and n are √d times as large."""
  native = pytest.importorskip("mlstm_kernels.torch.recurrent.native_step")
  parts, gate = of_mlstm(torch, params, xs)
  root = WIDTH**0.5
  state, outputs = (carry.c * root, carry.n * root, carry.m[..., None]), []
  for t in range(T):
    q, k, v = (part[:, :, t] for part in parts[:3])
    i, f = (part[:, :, t, None] for part in parts[3:])
    h, state = native.mlstm_recurrent_step__native_fw(
      *(*state, q, k, v, i, f), eps=0.0, dtype_state=xs.dtype
    )
    outputs.append(h)
  c, n, m = state
  ys = gate * joined(torch.stack(outputs, dim=2))
  return ys, (c / root, n / root, m[..., 0])


def kernels_chunks(torch, params, carry, xs):
  native = pytest.importorskip("mlstm_kernels.torch.chunkwise.native")
  parts, gate = of_mlstm(torch, params, xs)
  root = WIDTH**0.5
  h, (c, n, m) = native.mlstm_chunkwise__native_autograd(
    *parts,
    *(carry.c * root, carry.n * root, carry.m),
    return_last_states=True,
    eps=0.0,
    chunk_size=CHUNK,
  )
  return gate * joined(h), (c / root, n / root, m.reshape(carry.m.shape))


EVALUATIONS = pytest.mark.parametrize("evaluation", ["sequential", "chunked"])


@EVALUATIONS
@pytest.mark.parametrize(
  "peer", [xlstm_steps, xlstm_parallel, kernels_steps, kernels_chunks]
)
def test_mlstm(torch, peer, evaluation):
  with jax.enable_x64(True):
    fresh = peer is xlstm_parallel
    compared(torch, "mlstm", evaluation, peer, np.float64, 1e-8, fresh)


@pytest.fixture(scope="module")
def naive():
  """One file of fla, whose package wants Triton and a GPU at once."""
  found = importlib.util.find_spec("fla")
  if found is None:
    pytest.skip("needs fla-core")
  pytest.importorskip("einops")
  [folder] = found.submodule_search_locations
  path = Path(folder) / "ops" / "gated_delta_rule" / "naive.py"
  spec = importlib.util.spec_from_file_location("fla_naive", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@EVALUATIONS
@pytest.mark.parametrize("form", ["recurrent", "chunk"])
def test_gated_delta(torch, naive, form, evaluation):
  """fla divides q by √d if it is not told a scale; the paper does not."""

  def peer(torch, params, carry, xs):
    z = xs @ params.w_x
    q, k, v = torch.nn.functional.silu(z[..., : 3 * H]).split(H, -1)
    b, a = (z[..., 3 * H :] + params.b).split(HEADS, -1)
    q, k, v = (part.reshape(T, B, HEADS, WIDTH).transpose(0, 1) for part in (q, k, v))
    q, k = (x * torch.rsqrt((x * x).sum(-1, keepdim=True) + 1e-6) for x in (q, k))
    g = -torch.exp(params.decay) * torch.nn.functional.softplus(a)
    run = getattr(naive, f"naive_{form}_gated_delta_rule")
    more = {"chunk_size": CHUNK} if form == "chunk" else {}
    y, s = run(  # by name: the two functions take g and beta in opposite orders
      q=q,
      k=k,
      v=v,
      beta=torch.sigmoid(b).transpose(0, 1),
      g=g.transpose(0, 1),
      scale=1.0,
      initial_state=carry.s,
      output_final_state=True,
      **more,
    )
    return y.transpose(0, 1).reshape(T, B, H), (s,)

  compared(torch, "gated_delta", evaluation, peer, np.float32, 1e-5)
