"""What limits an edit, and how to go further."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from my3dgen_jax.apps.editing.config import EditConfig

LEAST_COSINE = 0.9  # below it, a warning is given
REACH = "reach"  # in an edit's summary
_LEAST_CHANGE = 0.15  # of an attribute in [0, 1]; less is hardly visible


def followed_in_part(
  name: str, cosine: float, anchors: int, *, instead: str
) -> str | None:
  """A warning that anchors follow only part of a direction, or None.

  Args:
    name: the direction's name.
    cosine: value from `latents.Hull.coordinates`, in [0, 1].
    anchors: count of anchors.
    instead: what would follow all of it, e.g. a flag.
  """
  if cosine >= LEAST_COSINE:
    return None
  return (
    f"{name}: the {anchors} anchors follow only part of it (cosine "
    f"{cosine:.3f}); {instead} follows all of it; more photos follow more"
  )


def ended_early(
  name: str, reach: Sequence[float], config: EditConfig
) -> str | None:
  """A warning that an edit ends at the hull's edge; None: it does not.

  Args:
    name: the start's name.
    reach: lowest and highest strength inside the hull, in the unit of
      strengths.
    config: the edit's settings; `strengths` and `edge` are used.
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
    f"of {wanted.min():.3g} and {wanted.max():.3g}; --edge=continue passes it"
  )


def hardly_changed(
  name: str, mean: Mapping[str, Sequence[float]]
) -> str | None:
  """A warning that the edited attribute hardly changes, or None.

  Args:
    name: the direction's name, e.g. "smile without age".
    mean: attribute's name to its mean at each strength, in [0, 1].
  """
  attribute = name.split(" without ")[0]
  values = mean.get(attribute, ())
  if len(values) < 2 or abs(values[-1] - values[0]) >= _LEAST_CHANGE:
    return None
  return (
    f"{attribute} hardly changes ({values[0]:.3g} … {values[-1]:.3g}): this "
    f"person's generator shows much the same {attribute} for all latents, as "
    "if the anchors missed it in the photos; --pretrained shows what the prior "
    "does"
  )


def line_of(name: str, row: Mapping[str, Any], count: int) -> str:
  """One line about a start: its first and last numbers, and the hull's edges.

  Args:
    name: the start's name.
    row: name to the numbers of each picture; `REACH` is another entry.
    count: count of pictures.
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
