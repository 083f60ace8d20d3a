"""Parameters with an adapter's changes added."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from my3dgen_jax.tracing.derivatives import custom_vjp
from my3dgen_jax.tracing.platforms import (
  by_platform,
  for_each,
  one_by_one,
  together,
)
from my3dgen_jax.types import Array, LayerDelta, LayerWeights, LowRank

# Up to this rank a product is computed as a sum of outer products; a GPU would
# autotune a matrix product for each shape.
_FEW = 8
_KERNEL = "kernel"


def product(change: LowRank) -> jax.Array:
  """The change itself, a @ b, [kh, kw, I, O] or [I, O], in float32."""
  return _products([change])[0]


def added(kernel: Array, change: LowRank) -> jax.Array:
  """The kernel with its change, sealed (see `sealed`)."""
  return changed(
    [LayerWeights(stored={"kernel": kernel}, delta=LayerDelta(low_rank=change))]
  )[0]["kernel"]


def changed(layers: Sequence[LayerWeights]) -> list[dict[str, jax.Array]]:
  """The layers' parameters with the adapter's changes added, sealed.

  Args:
    layers: the layers; their affine maps are left unchanged.

  Returns: for each layer, its `stored` plus the changes in its `delta`.
  """
  changes = [
    {
      name: (layer.stored[name], change)
      for name, change in (
        *((name, getattr(layer.delta, name)) for name in layer.stored),
        (_KERNEL, layer.delta.low_rank),
      )
      if change is not None
    }
    for layer in layers
  ]
  if not any(changes):
    return [dict(layer.stored) for layer in layers]
  return [
    {**layer.stored, **sums} for layer, sums in zip(layers, _changed(changes))
  ]


def matmul(change: LowRank) -> jax.Array:
  """The change as a matrix product."""
  return jnp.matmul(change.a, change.b, precision=lax.Precision.HIGHEST)


def _outer_sum(change: LowRank) -> jax.Array:
  if change.b.shape[0] > _FEW:
    return matmul(change)
  return jnp.sum(change.a[..., None] * change.b, axis=-2)


@custom_vjp
def sealed(values: Any) -> Any:
  """The values unchanged, compiled as if they were stored parameters.

  A generator with an adapter that changes nothing must equal the generator
  without one, bit for bit. XLA's CPU compiler would fuse the sum with zero
  into its consumers and then choose different loops there (a bias that is not
  a plain parameter is added after a product, not before it). The only thing
  it does not fuse across is a branch that it cannot predict;
  `lax.optimization_barrier` is removed before that stage.

  Args:
    values: pytree of arrays, at least one.
  """
  first = jax.tree.leaves(values)[0].ravel()[0]
  return lax.cond(
    first == first,
    lambda x: x,
    lambda x: jax.tree.map(lambda leaf: leaf + 1, x),
    values,
  )


sealed.defvjp(
  lambda values: (sealed(values), None), lambda _, cotangent: (cotangent,)
)


def _sums(
  products: Callable[[Sequence[LowRank]], list[jax.Array]],
  seal: Callable[[Any], Any],
) -> Callable[[Any], Any]:
  """The sums of many layers {name: (stored, change)}, by name."""

  def function(layers):
    made = iter(
      products(
        [
          layer[_KERNEL][1]
          for layer in layers
          if isinstance(layer.get(_KERNEL, (None, None))[1], LowRank)
        ]
      )
    )
    sums = [
      {
        name: stored + (next(made) if isinstance(change, LowRank) else change)
        for name, (stored, change) in layer.items()
      }
      for layer in layers
    ]
    return [seal(own) if own else own for own in sums]

  return function


_products = for_each(cpu=matmul, default=_outer_sum)
_changed = by_platform(
  cpu=_sums(one_by_one(matmul), sealed),
  default=_sums(together(_outer_sum), lambda values: values),
)
