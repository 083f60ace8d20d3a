"""Warnings for real people in what was trained on procedural ones.

The demo's prior turns a real face into a painted mask, and its networks find
strangers alike. Trying is allowed, with a warning, and no score of such
a network is shown.
"""

import os
from collections.abc import Iterable

from my3dgen_jax.data.album import Album
from my3dgen_jax.losses import scores
from my3dgen_jax.models.checkpoint import DEMO, load_config
from my3dgen_jax.types import Network

WARNINGS = "warnings"  # of a run's summary.json
TITLE = "The demo's prior knows no real faces"  # on pictures

KNOWS = "only procedural people, no real ones: it is the demo's"
_PRIOR = (
  "the generator is the demo's, which has only seen procedural people: a real "
  "face becomes a painted mask; convert a published checkpoint, see "
  "docs/weights_and_converters.md"
)
_JUDGES = (
  "the demo's LPIPS and identity network have only seen procedural people: "
  "their scores of these photos are left out; give others by --lpips and "
  "--identity"
)


def is_demo(checkpoint: str | os.PathLike) -> bool:
  """Whether the demo has trained a generator; raises CheckpointError."""
  return DEMO in load_config(checkpoint)[1]


def warnings(
  album: Album, *, is_demo_prior: bool, networks: Iterable[Network | None]
) -> list[str]:
  """Warnings to show before a long wait.

  Args:
    album: the photos.
    is_demo_prior: whether the generator is the demo's.
    networks: LPIPS, the identity network; None: there is none.

  Returns: lines, none for photos that the demo has drawn.
  """
  if album.is_procedural:
    return []
  found = []
  if is_demo_prior:
    found.append(_PRIOR)
  if any(scores.is_of_demo(network) for network in networks):
    found.append(_JUDGES)
  return found
