"""Directions among labelled samples, and how far samples spread."""

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
  """The direction in which an attribute grows while others stay.

  Args:
    w: [N, w_dim].
    scores: [N] by the attribute's name; NaN of what has no label.
    name: of the attribute.
    without: names of attributes, or directions, that are to stay.
    share: see `directions.fit`.

  Returns: Direction; its accuracy is that of the attribute's own.
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
  """As `directions.conditioned`; the accuracy is the one before."""
  if not others:
    return direction
  return dataclasses.replace(
    directions.conditioned(direction, others), accuracy=direction.accuracy
  )


def with_spread(
  person: Person, direction: Direction, config: EditConfig
) -> Direction:
  """A direction that knows how far samples spread along it.

  Raises: UserError: they do not.
  """
  spread = direction.spread
  if spread is None:
    spread = _spread(direction.vector, samples_of(person, config))
  if not spread > _LEAST_SPREAD:
    raise UserError(
      f"{direction.name}: the {config.samples} samples do not "
      "differ along it, so strengths cannot count their "
      "standard deviations; draw more, raise truncation_psi, or "
      "give strengths as lengths (unit w)"
    )
  return dataclasses.replace(direction, spread=spread)


def _spread(vector: np.ndarray, w: Array) -> float:
  """The standard deviation of samples along a direction in W or W+."""
  along = np.asarray(w, np.float64) @ np.atleast_2d(vector).sum(axis=0)
  return float(np.std(along))
