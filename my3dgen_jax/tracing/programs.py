"""Fewer programs where functions are called outside of `jax.jit`."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


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


def copier(arrays: Any) -> Any:
  """The module that joins, cuts and copies arrays: `numpy` or `jax.numpy`.

  NumPy does so without a program for each shape, but cannot where one of the
  arrays is being traced.

  Args:
    arrays: a tree of them.
  """
  is_traced = any(
    isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arrays)
  )
  return jnp if is_traced else np


def copied(move: Callable[[Any, Any], Any], arrays: Any) -> Any:
  """Joins, cuts or copies arrays by their `copier`.

  Args:
    move: gets the module and the arrays; returns a tree of arrays.
    arrays: a tree of them.

  Returns: the tree, of JAX's arrays.
  """
  module = copier(arrays)
  if module is jnp:
    return move(module, arrays)
  return jax.device_put(move(module, jax.tree.map(np.asarray, arrays)))
