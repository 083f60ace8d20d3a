"""One function, computed in one way on a CPU and in another elsewhere.

What a CPU is quick at (narrow products, shifted copies that stay in cache,
convolutions cut into phases) is hundreds of small operations, each of which a
GPU compiles and tries out for as long as a large one. Accelerators get fewer
and larger operations.
"""

from typing import Any, Callable

import jax
from jax import lax


def by_platform(cpu: Callable[..., Any], default: Callable[..., Any], *,
                recompute: bool = False) -> Callable[..., Any]:
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

  Returns: the function, for reverse-mode differentiation.
  """
  @jax.custom_vjp
  def chosen(*arguments):
    return lax.platform_dependent(*arguments, cpu=cpu, default=default)

  def forward(*arguments):
    return chosen(*arguments), arguments

  def backward(arguments, cotangent):
    def pull_back(function):
      return lambda arguments, cotangent: jax.vjp(
          function, *arguments)[1](cotangent)

    def pull_back_late(arguments, cotangent):
      return pull_back(default)(
          *lax.optimization_barrier((arguments, cotangent)))

    return lax.platform_dependent(
        arguments, cotangent, cpu=pull_back(cpu),
        default=pull_back_late if recompute else pull_back(default))

  chosen.defvjp(forward, backward)
  return jax.jit(chosen)
