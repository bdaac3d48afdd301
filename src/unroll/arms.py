"""Many runs in one program: arms of one shape, spread over the devices.

Nothing passes between arms, so each device runs its own: one after another, a whole
dispatch each, so that what an arm works on stays in the cache of a core; or at once, as
one batch, so that a step in time costs its overhead once.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

# B·H of an arm up to which a core of a CPU too runs several at once.
SMALL = 512


def one_by_one(size: int) -> bool:
  """Whether a device runs arms faster one after another.

  Args:
    size: of an arm, B·H; an accelerator takes any at once.
  """
  return jax.default_backend() == "cpu" and size > SMALL


class Arms:
  """Arms, spread evenly over devices.

  Where the devices do not divide the arms, the last arm is repeated as padding. The
  padding costs no time, because some device has that many arms to run anyway.

  Args:
    count: of arms.
    devices: at most as many as there are.
    looped: one after another on a device, or vmapped.
  """

  def __init__(self, count: int, devices: int, *, looped: bool):
    devices = min(devices, count)
    self.count, self._places = count, -(-count // devices) * devices
    self._mesh = Mesh(np.array(jax.devices()[:devices]), ("arm",))
    self._looped = looped

  def program(
    self,
    function: Callable[..., Any],
    axes: Sequence[int | None],
    *,
    donate: Sequence[int] = (),
  ) -> Any:
    """Compiles a function of one arm for all of them.

    Args:
      function: of pytrees of arrays, to a pytree of arrays.
      axes: of each argument the axis of the arms; None: they share it.
      donate: the arguments that are donated.

    Returns:
      The function; what it returns has the arms on its first axis.
    """
    each = _loop(function, axes) if self._looped else jax.vmap(function, in_axes=axes)
    sharded = jax.shard_map(
      each,
      mesh=self._mesh,
      in_specs=tuple(map(_spec, axes)),
      out_specs=_spec(0),
      check_vma=False,  # nothing is communicated
    )
    return jax.jit(sharded, donate_argnums=tuple(donate))

  def stack(self, trees: Sequence[Any]) -> Any:
    """The arms' values, stacked into one argument on the devices, arms first."""
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *self.filled(trees))
    return jax.device_put(stacked, self.sharding(0))

  def filled(self, each: Sequence[Any]) -> list[Any]:
    """Something of each arm, with the last one in the places left over."""
    return [*each, *[each[-1]] * (self._places - self.count)]

  def split(self, tree: Any) -> list[Any]:
    """The part of each arm in a result, on the host."""
    host = jax.device_get(tree)
    return [jax.tree.map(lambda leaf, i=i: leaf[i], host) for i in range(self.count)]

  def sharding(self, axis: int | None) -> NamedSharding:
    """Of an argument with the arms on that axis, or which they share."""
    return NamedSharding(self._mesh, _spec(axis))


def _spec(axis: int | None) -> PartitionSpec:
  return PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, "arm")


def _loop(function: Callable[..., Any], axes: Sequence[int | None]):
  """The result of `jax.vmap`, computed one after another."""

  def call(*arguments: Any) -> Any:
    def at(i: jax.Array) -> Any:
      own = [
        argument
        if axis is None
        else jax.tree.map(
          lambda leaf, axis=axis: jax.lax.dynamic_index_in_dim(leaf, i, axis, False),
          argument,
        )
        for argument, axis in zip(arguments, axes)
      ]
      return function(*own)

    sizes = [
      jax.tree.leaves(argument)[0].shape[axis]
      for argument, axis in zip(arguments, axes)
      if axis is not None
    ]
    return jax.lax.map(at, jnp.arange(sizes[0]))

  return call
