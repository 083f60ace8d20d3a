"""Hand-written derivatives, and the switch to JAX's own.

Hand-written rules in the renderer, the convolutions and LPIPS make `jax.grad`
fast and lean. But JAX cannot run such a rule in forward mode:

    with derivatives.automatic():
      y, tangent = jax.jvp(function, (x,), (v,))

differentiates everything automatically: in any order and direction, but slower
and with more memory. `GeneratorConfig(differentiation="any")` does so for a
generator.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from jax import lax

from my3dgen_jax.errors import UserError

_automatic = contextvars.ContextVar("automatic", default=False)


@contextlib.contextmanager
def automatic(enabled: bool = True) -> Iterator[None]:
  """Disables the hand-written rules.

  What is traced in the context is differentiated by JAX alone, in forward
  (`jax.jvp`, `jax.jacfwd`, `jax.linearize`) and reverse mode. A function that
  `jax.jit` has traced before stays as it was traced.

  Args:
    enabled: False leaves everything as it is outside.
  """
  token = _automatic.set(enabled or _automatic.get())
  try:
    yield
  finally:
    _automatic.reset(token)


def is_automatic() -> bool:
  """Whether the hand-written rules are disabled."""
  return _automatic.get()


def jit(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
  """`jax.jit` with a separate cache for each kind of derivative."""
  jitted = jax.jit(function, **options)

  @functools.wraps(function)
  def chosen(*arguments: Any) -> Any:
    return (function if is_automatic() else jitted)(*arguments)

  return chosen


class custom_vjp:  # pylint: disable=invalid-name
  """`jax.custom_vjp` that `automatic` disables, also inside `shard_map`.

  Inside `shard_map`, all arguments of a call are made to vary over the mesh
  axes that any of them varies over; JAX then sums the gradients of the others.

  Attributes:
    function: the function to compute.
  """

  def __init__(
    self, function: Callable[..., Any], nondiff_argnums: Sequence[int] = ()
  ):
    functools.update_wrapper(self, function)
    self.function = function
    self._static = frozenset(nondiff_argnums)
    self._rule = jax.custom_vjp(function, nondiff_argnums=nondiff_argnums)

  def defvjp(
    self, forward: Callable[..., Any], backward: Callable[..., Any]
  ) -> None:
    """Sets the rule, as for `jax.custom_vjp`."""

    def backward_alike(*arguments: Any) -> Any:
      # It runs when a caller differentiates, not inside an `entry`.
      with _as_meant():
        return varying_like(backward(*arguments), arguments[-2:])

    self._rule.defvjp(forward, backward_alike)

  def __call__(self, *arguments: Any) -> Any:
    if is_automatic():
      return self.function(*arguments)
    own = [x for i, x in enumerate(arguments) if i not in self._static]
    alike = iter(varying_like(own, own))
    return self._rule(
      *(
        x if i in self._static else next(alike) for i, x in enumerate(arguments)
      )
    )


def varying_like(tree: Any, others: Any) -> Any:
  """Makes arrays vary over all `shard_map` axes that others vary over.

  Args:
    tree: pytree of arrays.
    others: pytree of arrays.

  Returns: the tree; the same object outside `shard_map`.
  """
  axes = frozenset().union(*map(_axes, jax.tree.leaves(others)))
  if not axes:
    return tree

  def cast(leaf):
    missing = tuple(sorted(axes - _axes(leaf)))
    if not missing or jax.dtypes.float0 == getattr(leaf, "dtype", None):
      return leaf
    return lax.pcast(leaf, missing, to="varying")

  return jax.tree.map(cast, tree)


def _axes(leaf: Any) -> frozenset[str]:
  if not isinstance(leaf, jax.Array):
    return frozenset()
  kind = jax.typeof(leaf)  # JAX 0.10; older versions have `vma`
  if hasattr(kind, "mat"):
    return frozenset(kind.mat.varying)
  return getattr(kind, "vma", frozenset())


def entry(function: Callable[..., Any]) -> Callable[..., Any]:
  """Wraps a public function, to work under any JAX settings of the caller.

  JAX's checks against implicit broadcasting and type promotion are for the
  caller's own code: here both are intended. And JAX's error on forward mode
  does not suggest a remedy.
  """

  @functools.wraps(function)
  def wrapper(*arguments: Any, **options: Any) -> Any:
    try:
      with _as_meant():
        return function(*arguments, **options)
    except TypeError as error:
      # JAX has no exception class for it.
      if "forward-mode autodiff" not in str(error):
        raise
      raise UserError(
        "forward-mode differentiation (jax.jvp, jacfwd, linearize) needs "
        "GeneratorConfig.differentiation='any', or "
        "my3dgen_jax.tracing.derivatives.automatic() around it"
      ) from error

  return wrapper


@contextlib.contextmanager
def _as_meant() -> Iterator[None]:
  with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
    yield
