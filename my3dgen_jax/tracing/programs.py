"""Fewer programs where functions are called outside of `jax.jit`."""

import functools
from collections.abc import Callable
from typing import Any

import jax


def one_program(**options: Any) -> Callable[..., Any]:
  """Makes a function one program where it is called outside of `jax.jit`.

  There, JAX compiles each operation on each shape by itself, which takes longer
  than to run a small model. Inside `jax.jit` nothing changes: the operations
  are traced into the caller's program.

  Args:
    **options: options of `jax.jit`, e.g. static_argnums.

  Returns: a decorator.
  """
  return functools.partial(jax.jit, inline=True, **options)
