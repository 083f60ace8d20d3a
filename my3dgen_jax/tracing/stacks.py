"""Functions with a faster implementation for a stack of arguments.

`jax.vmap` runs each operation for all of a stack. A layer with a frozen kernel
that everyone shares can do better than that, but only as a whole. `stackable`
gives a function a rule for `jax.vmap` that survives `jax.grad` on either side.

A call outside `jax.vmap` is the function's own: nothing else is traced. So the
rule must be visible when a function is traced, as it is in
`jax.jit(jax.vmap(f))`. In `jax.vmap(jax.jit(f))` JAX has traced f for one
person before it knows of the others, and then does what it always does.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from my3dgen_jax.tracing import derivatives

Function = Callable[..., Any]


def stackable(
  function: Function, stacked: Function, *, shared: int, own: Sequence[int]
) -> Function:
  """A function that `jax.vmap` replaces by another where that is faster.

  Args:
    function: (*arrays) -> an array; differentiable.
    stacked: the function for arrays with a leading axis [K, ...], except the
      `shared` one, to [K, ...]; differentiable.
    shared: position of the argument that all of a stack have in common.
    own: positions of those that make it worthwhile: one of them must have the
      axis. Otherwise, or if the shared one has it, `jax.vmap` works as usual.

  Returns: the function, for reverse-mode differentiation; inside
    `derivatives.automatic`, the plain one.
  """

  def fits(flags):
    return not flags[shared] and any(flags[i] for i in own)

  def pull_back(*arguments):
    *arguments, cotangent = arguments
    return jax.vjp(function, *arguments)[1](cotangent)

  def pull_back_stacked(*arguments):
    """Gradients for each of a stack, also of the shared argument."""
    *arguments, cotangent = arguments
    common = arguments.pop(shared)

    def call(common, *rest):
      return stacked(*rest[:shared], common, *rest[shared:])

    def of_common(cotangent, *rest):
      """One stack entry's contribution to the shared gradient."""
      alone = [x[None] for x in rest]
      _, pull = jax.vjp(lambda common: call(common, *alone), common)
      return pull(cotangent[None])[0]

    found = list(
      jax.vjp(lambda *rest: call(common, *rest), *arguments)[1](cotangent)
    )
    # The shared argument rarely needs a gradient: XLA then drops this.
    found.insert(shared, jax.vmap(of_common)(cotangent, *arguments))
    return tuple(found)

  mapped = _with_rule(function, stacked, shared, fits)
  mapped_pull_back = _with_rule(pull_back, pull_back_stacked, shared, fits)

  @derivatives.custom_vjp
  def chosen(*arguments):
    return mapped(*arguments)

  # Second derivatives are rarely of a stack, and may be slow there.
  @derivatives.custom_vjp
  def chosen_pull_back(*arguments):
    return mapped_pull_back(*arguments)

  chosen_pull_back.defvjp(
    lambda *given: (chosen_pull_back(*given), given),
    lambda given, cotangents: jax.vjp(pull_back, *given)[1](cotangents),
  )
  chosen.defvjp(
    lambda *arguments: (chosen(*arguments), arguments),
    lambda arguments, cotangent: chosen_pull_back(*arguments, cotangent),
  )

  def call(*arguments):
    if derivatives.is_automatic() or not is_stack(
      arguments[shared], *(arguments[i] for i in own)
    ):
      return function(*arguments)
    return chosen(*arguments)

  return call


def is_stack(common: Any, *own: Any) -> bool:
  """Whether `own` is mapped inside a `jax.vmap` in which `common` is not.

  If all are mapped, as under the `jax.vmap` of devices or of ensembles,
  nothing is shared.
  """
  return max(map(_mapped_axes, own)) > _mapped_axes(common)


def _mapped_axes(x: Any) -> int:
  """How many times an array is mapped, differentiated or not."""
  axes = 0
  while x is not None:
    # The class is private to JAX; if it were renamed, stacks would only be as
    # slow as without the rule, and a test would notice.
    if type(x).__name__ == "BatchTracer":
      axes += 1
      x = x.val
    else:
      x = getattr(x, "primal", None)
  return axes


def _with_rule(
  function: Function,
  stacked: Function,
  shared: int,
  fits: Callable[[Sequence[bool]], bool],
) -> Function:
  """`custom_vmap` of a function; plain `jax.vmap` if the rule does not fit."""
  mapped = custom_vmap(function)

  @mapped.def_vmap
  def rule(axis_size, flags, *arguments):
    if fits(flags):
      result = stacked(
        *(
          x
          if flag or i == shared
          else jnp.broadcast_to(x, (axis_size, *x.shape))
          for i, (x, flag) in enumerate(zip(arguments, flags))
        )
      )
    else:
      axes = [0 if flag else None for flag in flags]
      result = jax.vmap(function, in_axes=axes)(*arguments)
    return result, jax.tree.map(lambda _: True, result)

  return mapped
