"""Batches on a mesh with JAX's explicit sharding axes.

With explicit axes, the default of `jax.make_mesh`, an array's type states its
sharding, and each of a few hundred reshapes and look-ups in here would have to
state its result's. Inside a module there is no choice to make: samples are
independent, so the compiler can follow the batch.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def along_batch(method: Callable[..., Any]) -> Callable[..., Any]:
  """Adapts a module's method to arguments with a sharded leading batch axis.

  Its results are sharded along their leading axis like the arguments, and the
  other axes are left to the compiler.

  Args:
    method: a method of a `flax.linen.Module`; all arrays that it returns have
      the batch axis.
      batch axis.
  """

  name = getattr(method, "__name__")  # noqa: B009, any callable may lack it

  @functools.wraps(method)
  def wrapper(self: nn.Module, *arguments: Any, **options: Any) -> Any:
    sharding = None if self.is_initializing() else _batch((arguments, options))
    if sharding is None:
      return method(self, *arguments, **options)
    module, variables = self.unbind()
    rngs: Any = self.scope and self.scope.rngs
    rngs = {name: rng.as_jax_rng() for name, rng in rngs.items()}

    def run(variables, rngs, arguments, options):
      return module.apply(
        variables, *arguments, **options, rngs=rngs, method=name
      )

    return _run(run, sharding, variables, rngs, arguments, options)

  return wrapper


def apply_along_batch(function: Callable[..., Any], *trees: Any) -> Any:
  """`function(*trees)`, for functions that are not methods of modules.

  Args:
    function: a function; all arrays that it returns have the batch axis.
    *trees: arguments: the last has the batch axis, the others are weights.
  """
  sharding = _batch(trees[-1])
  if sharding is None:
    return function(*trees)
  return _run(function, sharding, *trees)


def _run(
  function: Callable[..., Any], sharding: NamedSharding, *trees: Any
) -> Any:
  """Calls a function with the mesh's axes left to the compiler."""
  leaves, structure = jax.tree.flatten(trees)
  arrays = [leaf for leaf in leaves if isinstance(leaf, jax.Array)]

  def run(arrays):
    own = iter(arrays)
    return function(
      *jax.tree.unflatten(
        structure,
        [next(own) if isinstance(leaf, jax.Array) else leaf for leaf in leaves],
      )
    )

  return jax.sharding.auto_axes(run, out_sharding=sharding)(arrays)


def _batch(tree: Any) -> NamedSharding | None:
  """Sharding of leading axes; None if types do not include it."""
  found = None
  for leaf in jax.tree.leaves(tree):
    if not isinstance(leaf, jax.Array):
      continue
    sharding = jax.typeof(leaf).sharding
    if AxisType.Explicit not in (sharding.mesh.axis_types or ()):
      continue
    first = sharding.spec[0] if leaf.ndim and len(sharding.spec) else None
    if found is None or first is not None:
      found = NamedSharding(sharding.mesh, PartitionSpec(first))
    if first is not None:
      break
  return found
