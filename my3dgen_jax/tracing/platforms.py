"""Functions with one implementation for CPUs and another for accelerators.

What is fast on a CPU (narrow products, shifted copies that stay in cache,
convolutions split into phases) is hundreds of small operations, each of which a
GPU compiles and autotunes for as long as a large one. Accelerators get fewer
and larger operations.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from my3dgen_jax.tracing import derivatives

# Numbers in an array; larger arrays keep a GPU busy on their own, and stacking
# would copy them.
_MOST_STACKED = 2**20

_both_ways = True  # on a CPU: trace both implementations


def trace_for_cpu_alone(alone: bool = True):
  """Chooses whether a CPU process also traces the code for other platforms.

  That code is needed for `lower(lowering_platforms=("cuda",))` and
  `jax.export`, and takes nearly half of the tracing time. Functions that were
  traced before stay as they were: call this first, or `jax.clear_caches` after
  it.

  Args:
    alone: trace only for this machine's CPU from now on.
  """
  global _both_ways
  _both_ways = not alone


def is_symbolic(size: Any) -> bool:
  """Whether `jax.export` has only a symbol, and no number, for a size."""
  return not isinstance(size, int)


def either(
  *arguments: Any, cpu: Callable[..., Any], default: Callable[..., Any]
) -> Any:
  """One of two implementations, chosen at compile time.

  In a process whose default backend is not a CPU, all platforms get the
  default; see also `trace_for_cpu_alone`.

  Args:
    *arguments: pytrees of arrays.
    cpu: function of them.
    default: the same function, for every other platform.
  """
  # With a GPU present, half of the tracing time would be spent on the CPU.
  if jax.default_backend() != "cpu":
    return default(*arguments)
  if not _both_ways:
    return cpu(*arguments)
  if derivatives.is_automatic():
    # New functions, because JAX caches traces by the functions' identity.
    cpu, default = functools.partial(cpu), functools.partial(default)
  return lax.platform_dependent(*arguments, cpu=cpu, default=default)


def by_platform(
  cpu: Callable[..., Any],
  default: Callable[..., Any],
  *,
  recompute: bool = False,
) -> Callable[..., Any]:
  """A function with two implementations, chosen between at compile time.

  For the gradient only the arguments are kept and the chosen implementation is
  differentiated, so both should be linear in what is large, or cheap. It is
  traced once for arguments of the same shapes, however often it is called:
  create one at the top of a module, not at each call.

  Args:
    cpu: pytrees of floating-point arrays in and out; differentiable.
    default: the same function, for every other platform.
    recompute: whether the gradient of `default` recomputes what it needs
      besides the arguments; otherwise XLA notices that it is computed twice,
      and keeps it.

  Returns: the function, for reverse-mode differentiation; inside
    `derivatives.automatic`, whatever the implementations support.
  """

  @derivatives.custom_vjp
  def chosen(*arguments):
    return either(*arguments, cpu=cpu, default=default)

  def forward(*arguments):
    return chosen(*arguments), arguments

  def backward(arguments, cotangent):
    def pull_back(function):
      return lambda arguments, cotangent: jax.vjp(function, *arguments)[1](
        cotangent
      )

    def pull_back_late(arguments, cotangent):
      return pull_back(default)(
        *lax.optimization_barrier((arguments, cotangent))
      )

    return either(
      arguments,
      cotangent,
      cpu=pull_back(cpu),
      default=pull_back_late if recompute else pull_back(default),
    )

  chosen.defvjp(forward, backward)
  return derivatives.jit(chosen)


def for_each(
  cpu: Callable[[Any], Any], default: Callable[[Any], Any]
) -> Callable[[Sequence[Any]], list[Any]]:
  """Maps a function over small pytrees; on a GPU, equal shapes at once.

  A network's layers have only a few different shapes; what each does to a few
  hundred numbers costs a GPU as much as doing it for all.

  Args:
    cpu: function of one pytree of arrays of rank >= 1; differentiable.
    default: the same function, for every other platform.

  Returns: the function of a list, see `by_platform`; it returns a list.
  """
  return by_platform(cpu=one_by_one(cpu), default=together(default))


def one_by_one(
  function: Callable[[Any], Any],
) -> Callable[[Sequence[Any]], list[Any]]:
  """Maps a function over a list; traced once per shape."""
  one = derivatives.jit(function)
  return lambda items: [one(item) for item in items]


def together(
  function: Callable[[Any], Any],
) -> Callable[[Sequence[Any]], list[Any]]:
  """Maps a function over a list; items of equal shapes in one `vmap`."""
  return functools.partial(_together, function)


def _together(
  function: Callable[[Any], Any], items: Sequence[Any]
) -> list[Any]:
  alike: dict[Any, list[int]] = {}
  for i, item in enumerate(items):
    leaves, structure = jax.tree.flatten(item)
    kind = structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
    alike.setdefault(kind, []).append(i)
  results: list[Any] = [None] * len(items)
  for places in alike.values():
    made = jax.eval_shape(function, items[places[0]])
    sizes = [leaf.size for leaf in jax.tree.leaves((items[places[0]], made))]
    if len(places) == 1 or any(
      is_symbolic(size) or size > _MOST_STACKED for size in sizes
    ):
      for place in places:
        results[place] = function(items[place])
      continue
    count = len(places)
    stacked = jax.tree.map(_stack, *(items[i] for i in places))
    leaves, structure = jax.tree.flatten(jax.vmap(function)(stacked))
    # Split, not indexed: the gradient of indexing is a sum of arrays of zeros.
    parts = [lax.split(_rows(leaf), [leaf.shape[1]] * count) for leaf in leaves]
    for place, own in zip(places, zip(*parts)):
      results[place] = jax.tree.unflatten(structure, own)
  return results


def _stack(*leaves: jax.Array) -> jax.Array:
  """Stacks [A, ...] each to [L, A, ...]; fewer operations than `jnp.stack`."""
  return jnp.concatenate(leaves).reshape((len(leaves),) + leaves[0].shape)


def _rows(stacked: jax.Array) -> jax.Array:
  """Reshapes [L, A, ...] to [L A, ...]."""
  return stacked.reshape((-1,) + stacked.shape[2:])
