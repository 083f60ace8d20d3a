"""A training task."""

import dataclasses
from collections.abc import Callable
from typing import Any

import chex
import jax
import numpy as np


@dataclasses.dataclass(frozen=True)
class Task:
  """One of the two training tasks.

  Attributes:
    name: name of the task, and of its state's folder.
    steps: number of steps.
    rate: peak learning rate.
    init: function from a PRNG key to initial "params" and "batch_stats".
    targets: [N, ...], targets of all photos.
    loss: function of variables, images, targets and the share of steps done;
      returns the loss, and (new batch_stats, terms to log).
  """

  name: str
  steps: int
  rate: float
  init: Callable[[chex.PRNGKey], Any]
  targets: np.ndarray
  loss: Callable[..., tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]]
