"""Parameters and what an adapter adds to them."""

from typing import Any, Dict, Mapping

import chex
import jax
import jax.numpy as jnp
from jax import lax

from my3dgen_jax.ops.platforms import by_platform
from my3dgen_jax.types import LayerDelta, LowRank

# Up to this rank a product is a sum of outer ones; a GPU would try out ways
# to multiply for each shape that there is.
_FEW = 8


def product(change: LowRank) -> jax.Array:
  """The change itself, a @ b, [kh, kw, I, O] or [I, O], in float32."""
  return _product(change.a, change.b)


def added(kernel: chex.Array, change: LowRank) -> jax.Array:
  """The changed kernel, sealed."""
  return sealed(kernel + product(change))


def changed(parameters: Mapping[str, jax.Array],
            delta: LayerDelta) -> Dict[str, jax.Array]:
  """A layer's parameters with what an adapter adds, sealed.

  Args:
    parameters: "kernel", "bias", "noise_strength", as far as there are.
    delta: changes of them; what is None stays as it is.
  """
  changes = {name: getattr(delta, name) for name in parameters}
  sums = {name: parameters[name] + change
          for name, change in changes.items() if change is not None}
  if delta.low_rank is not None:
    sums["kernel"] = parameters["kernel"] + product(delta.low_rank)
  return {**parameters, **(sealed(sums) if sums else {})}


def _matmul(a, b):
  return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def _outer_sum(a, b):
  if b.shape[0] > _FEW:
    return _matmul(a, b)
  return jnp.sum(a[..., None] * b, axis=-2)


_product = by_platform(cpu=_matmul, default=_outer_sum)


def _behind_a_branch(values):
  first = jax.tree.leaves(values)[0].ravel()[0]
  return lax.cond(first == first, lambda x: x,
                  lambda x: jax.tree.map(lambda leaf: leaf + 1, x), values)


def sealed(values: Any) -> Any:
  """Changed parameters as if they were stored so; the values themselves.

  A generator with an adapter that changes nothing is to equal the generator
  without one, bit for bit. XLA's CPU compiler would fuse the sum with zero
  into whatever reads it, and choose other loops there (a bias that is no
  plain parameter is added after a product, not before it). A branch that it
  cannot foresee is the only thing it does not fuse across;
  `lax.optimization_barrier` is gone by then.

  Args:
    values: pytree of arrays, at least one.
  """
  return _sealed(values)


_sealed = by_platform(cpu=_behind_a_branch, default=lambda values: values)
