"""Directions from labeled samples, and how far samples spread along them."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from my3dgen_jax import directions
from my3dgen_jax.apps.editing.config import EditConfig
from my3dgen_jax.apps.editing.samples import samples_of
from my3dgen_jax.apps.person import Person
from my3dgen_jax.directions import Direction
from my3dgen_jax.errors import UserError
from my3dgen_jax.types import Array

_LEAST_SPREAD = 1e-6  # in W


def find_direction(
  w: Array,
  scores: Mapping[str, Array],
  name: str,
  *,
  without: Sequence[str | Direction] = (),
  share: float = 0.1,
) -> Direction:
  """The direction along which an attribute grows and others stay.

  Args:
    w: [N, w_dim], latents.
    scores: attribute's name to [N]; NaN where there is no label.
    name: the attribute's name.
    without: names of attributes, or directions, to keep fixed.
    share: see `directions.fit`.

  Returns: Direction, with the accuracy of the attribute's own direction.
  Raises: as `directions.fit` and `directions.conditioned`.
  """

  def fitted(name: str) -> Direction:
    known = ~np.isnan(scores[name])
    return directions.fit(w[known], scores[name][known], name=name, share=share)

  own = fitted(name)
  free = without_others(
    own, [fitted(one) if isinstance(one, str) else one for one in without]
  )
  return dataclasses.replace(free, spread=_spread(free.vector, w))


def without_others(
  direction: Direction, others: Sequence[Direction]
) -> Direction:
  """As `directions.conditioned`, with the accuracy from before."""
  if not others:
    return direction
  return dataclasses.replace(
    directions.conditioned(direction, others), accuracy=direction.accuracy
  )


def with_spread(
  person: Person, direction: Direction, config: EditConfig
) -> Direction:
  """The direction, with how far samples spread along it.

  Raises: UserError: the samples do not spread along it.
  """
  spread = direction.spread
  if spread is None:
    spread = _spread(direction.vector, samples_of(person, config))
  if not spread > _LEAST_SPREAD:
    raise UserError(
      f"{direction.name}: the {config.samples} samples do not "
      "differ along it, so strengths cannot be counted in "
      "their standard deviations; draw more, raise truncation_psi, or "
      "give strengths as distances in W (--unit=w)"
    )
  return dataclasses.replace(direction, spread=spread)


def _spread(vector: np.ndarray, w: Array) -> float:
  """The standard deviation of samples along a direction in W or W+."""
  along = np.asarray(w, np.float64) @ np.atleast_2d(vector).sum(axis=0)
  return float(np.std(along))
