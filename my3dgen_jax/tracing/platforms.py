"""One function, computed in one way on a CPU and in another elsewhere.

What a CPU is quick at (narrow products, shifted copies that stay in cache,
convolutions cut into phases) is hundreds of small operations, each of which a
GPU compiles and tries out for as long as a large one. Accelerators get fewer
and larger operations.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from my3dgen_jax.tracing import derivatives

# Numbers in an array; larger ones keep a GPU busy on their own, and to stack
# them would copy them.
_MOST_STACKED = 2**20

_both_ways = True  # on a CPU: its own, and that of other platforms


def trace_for_cpu_alone(alone: bool = True):
  """Chooses whether a CPU's process traces ways for other platforms, too.

  They are what `lower(lowering_platforms=("cuda",))` and `jax.export` need,
  and cost nearly half of the time to trace. Functions that were traced before
  stay as they were: call it first, or `jax.clear_caches` after it.

  Args:
    alone: what is traced from now on is for this machine's CPU.
  """
  global _both_ways
  _both_ways = not alone


def is_symbolic(size: Any) -> bool:
  """Whether `jax.export` has a name for a size, and no number yet."""
  return not isinstance(size, int)


def either(
  *arguments: Any, cpu: Callable[..., Any], default: Callable[..., Any]
) -> Any:
  """One of two ways to compute something, chosen when it is compiled.

  In a process whose default backend is no CPU, all platforms get the default;
  see also `trace_for_cpu_alone`.

  Args:
    *arguments: pytrees of arrays.
    cpu: function of them.
    default: the same function, for every other platform.
  """
  # Where a GPU is there, half of the time to trace would be for a CPU.
  if jax.default_backend() != "cpu":
    return default(*arguments)
  if not _both_ways:
    return cpu(*arguments)
  if derivatives.is_automatic():
    # New functions: JAX keeps what it traced by the functions' identity.
    cpu, default = functools.partial(cpu), functools.partial(default)
  return lax.platform_dependent(*arguments, cpu=cpu, default=default)


def by_platform(
  cpu: Callable[..., Any],
  default: Callable[..., Any],
  *,
  recompute: bool = False,
) -> Callable[..., Any]:
  """A function with two ways to compute it, chosen when it is compiled.

  For the gradient the arguments alone are kept and the chosen way is
  differentiated, so both should be linear in what is large, or cheap. It is
  traced once for arguments of the same shapes, however often it is called:
  make one at the top of a module, not at each call.

  Args:
    cpu: pytrees of floating-point arrays in and out; differentiable.
    default: the same function, for every other platform.
    recompute: what the gradient of `default` needs besides the arguments is
      computed when it is needed; else XLA sees that it is computed twice, and
      keeps it.

  Returns: the function, for reverse-mode differentiation; inside
    `derivatives.automatic`, whatever the two ways can do.
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
  """A function of one small pytree, for many: those alike at once on a GPU.

  The layers of a network have few shapes between them; what each does to a
  few hundred numbers costs a GPU as much as if it did it for all.

  Args:
    cpu: of one pytree of arrays of rank 1 and more; differentiable.
    default: the same function, for every other platform.

  Returns: the function of a list, see `by_platform`; a list of results.
  """
  return by_platform(cpu=one_by_one(cpu), default=together(default))


def one_by_one(
  function: Callable[[Any], Any],
) -> Callable[[Sequence[Any]], list[Any]]:
  """The function of each; traced once for all of one shape."""
  one = derivatives.jit(function)
  return lambda items: [one(item) for item in items]


def together(
  function: Callable[[Any], Any],
) -> Callable[[Sequence[Any]], list[Any]]:
  """The function of each, all of one structure and shapes in one `vmap`."""
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
    # Not indexed: the gradient of that is a sum of arrays of zeros.
    parts = [lax.split(_rows(leaf), [leaf.shape[1]] * count) for leaf in leaves]
    for place, own in zip(places, zip(*parts)):
      results[place] = jax.tree.unflatten(structure, own)
  return results


def _stack(*leaves: jax.Array) -> jax.Array:
  """[A, ...] each to [L, A, ...]; fewer operations than `jnp.stack`."""
  return jnp.concatenate(leaves).reshape((len(leaves),) + leaves[0].shape)


def _rows(stacked: jax.Array) -> jax.Array:
  """[L, A, ...] to [L A, ...]."""
  return stacked.reshape((-1,) + stacked.shape[2:])
