"""Full backpropagation through time."""

import jax

from unroll.gradients.scheme import ChunkLoss, Estimator, Scheme, memoryless


def full() -> Scheme:
  """The gradient through every step of the sequence (Werbos 1990)."""

  def estimator(loss: ChunkLoss) -> Estimator:
    value_and_grad = jax.value_and_grad(loss, has_aux=True)

    def take(params, carry, batch):
      return value_and_grad(params, jax.lax.stop_gradient(carry), batch)

    return memoryless(take)

  return Scheme(estimator)
