"""What keeps an edit from going all the way, and what would let it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from my3dgen_jax.apps.editing.config import EditConfig

LEAST_COSINE = 0.9  # below, one is told
REACH = "reach"  # in an edit's summary
_LEAST_CHANGE = 0.15  # of an attribute in [0, 1]; less is hardly seen


def followed_in_part(
  name: str, cosine: float, anchors: int, *, instead: str
) -> str | None:
  """Says that anchors follow a direction only in part; None: they do.

  Args:
    name: of the direction.
    cosine: of `latents.Hull.coordinates`, in [0, 1].
    anchors: how many there are.
    instead: what follows all of it, e.g. a flag.
  """
  if cosine >= LEAST_COSINE:
    return None
  return (
    f"{name}: the {anchors} anchors follow only part of it (cosine "
    f"{cosine:.3f}); {instead} follows all of it, more photos more of it"
  )


def ended_early(
  name: str, reach: Sequence[float], config: EditConfig
) -> str | None:
  """Says that an edit ends where the hull does; None: it does not.

  Args:
    name: of the start.
    reach: lowest and highest strength in the hull, in the unit of strengths.
    config: `strengths` and `edge` are used.
  """
  low, high = reach
  wanted = np.array(config.strengths)
  if (
    config.edge == "continue"
    or (low <= wanted).all()
    and (wanted <= high).all()
  ):
    return None
  verb = "stops" if config.edge == "stop" else "is projected"
  return (
    f"{name}: --edge={config.edge} {verb} at {low:.3g} and {high:.3g}, short "
    f"of {wanted.min():.3g} and {wanted.max():.3g}; --edge=continue goes on"
  )


def hardly_changed(
  name: str, mean: Mapping[str, Sequence[float]]
) -> str | None:
  """Says that what was edited hardly changes; None: it does, or who knows.

  Args:
    name: of the direction, e.g. "smile without age".
    mean: what was measured at each strength, by its name, in [0, 1].
  """
  attribute = name.split(" without ")[0]
  values = mean.get(attribute, ())
  if len(values) < 2 or abs(values[-1] - values[0]) >= _LEAST_CHANGE:
    return None
  return (
    f"{attribute} hardly changes ({values[0]:.3g} … {values[-1]:.3g}): this "
    f"person's generator shows much the same {attribute} for all latents, as "
    "where anchors miss it in the photos; --pretrained shows what the prior "
    "does"
  )


def line_of(name: str, row: Mapping[str, Any], count: int) -> str:
  """What is told of a start: its first and last numbers, and the hull's end.

  Args:
    name: of the start.
    row: numbers by name, of each picture; `REACH` is another.
    count: how many pictures there are.
  """
  parts = [
    f"{what} {values[0]:.3g} … {values[-1]:.3g}"
    for what, values in row.items()
    if what != REACH
  ]
  if REACH in row:
    low, high = row[REACH]
    parts.append(f"the hull reaches from {low:.3g} to {high:.3g}")
  return f"{name}: " + (", ".join(parts) or f"{count} pictures")
