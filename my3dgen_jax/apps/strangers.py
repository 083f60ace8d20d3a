"""Warnings about real people with networks trained on procedural ones.

The demo's prior turns a real face into a painted mask, and its networks find
different people similar. This is allowed, with a warning, but scores of such a
network are not shown.
"""

import os
from collections.abc import Iterable

from my3dgen_jax.data.album import Album
from my3dgen_jax.losses import scores
from my3dgen_jax.models.checkpoint import DEMO, load_config
from my3dgen_jax.types import Network

WARNINGS = "warnings"  # key in a run's summary.json
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
  """Whether a generator is the demo's prior; raises CheckpointError."""
  return DEMO in load_config(checkpoint)[1]


def warnings(
  album: Album, *, is_demo_prior: bool, networks: Iterable[Network | None]
) -> list[str]:
  """Warnings to show before a long wait.

  Args:
    album: the photos.
    is_demo_prior: whether the generator is the demo's.
    networks: LPIPS and the identity network; None: there is none.

  Returns: the warnings, one line each; none for the demo's own photos.
  """
  if album.is_procedural:
    return []
  found = []
  if is_demo_prior:
    found.append(_PRIOR)
  if any(scores.is_of_demo(network) for network in networks):
    found.append(_JUDGES)
  return found
