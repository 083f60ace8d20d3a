"""What keeps an edit from going all the way, and what would let it."""

from collections.abc import Sequence

import numpy as np

from my3dgen_jax.apps.editing.config import EditConfig

LEAST_COSINE = 0.9  # below, one is told


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
