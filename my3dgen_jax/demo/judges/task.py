"""What one of the trainings learns."""

import dataclasses
from collections.abc import Callable
from typing import Any

import chex
import jax
import numpy as np


@dataclasses.dataclass(frozen=True)
class Task:
  """One of the two trainings.

  Attributes:
    name: name of its state's folder.
    steps: how many.
    rate: peak learning rate.
    init: variables to begin with, from a key: "params" and "batch_stats".
    targets: [N, ...] of all photos.
    loss: function of variables, images, targets and the share of steps done;
      returns the loss, and (new batch_stats, terms to log).
  """

  name: str
  steps: int
  rate: float
  init: Callable[[chex.PRNGKey], Any]
  targets: np.ndarray
  loss: Callable[..., tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]]
