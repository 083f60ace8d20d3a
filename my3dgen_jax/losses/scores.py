"""Scores of images of a person: identity, perception, pixels."""

import dataclasses
from typing import Any, Optional

import jax
import numpy as np

from my3dgen_jax.data.album import Album
from my3dgen_jax.losses.reconstruction import psnr
from my3dgen_jax.types import Array, Network

_MOST_DB = 100.0  # JSON has no infinity, and 16 bits resolve no more
# The demo's networks, trained on procedural people; no such small ones exist
# elsewhere.
_OF_DEMO = ("small", "ir_se_small")


def is_of_demo(network: Network | None) -> bool:
  """Whether a network that judges images has seen only procedural people."""
  module = getattr(network, "module", None)
  return any(
    getattr(module, field, None) in _OF_DEMO
    for field in ("backbone", "network")
  )


def judge(network: Network | None, album: Album) -> Network | None:
  """The network, if its scores are meaningful for an album's photos.

  Args:
    network: LPIPS or an identity network, or None.
    album: the photos.

  Returns: None for the demo's networks, unless the demo made the photos.
  """
  if is_of_demo(network) and not album.is_procedural:
    return None
  return network


@dataclasses.dataclass(frozen=True)
class IdentityScore:
  """ID_sim: the largest cosine similarity with any photo of the person.

  Attributes:
    network: the face recognition network.
    people: [M, features], embeddings of the reference photos.
    names: names of the reference photos.

  Source: My3DGen, section 4.
  """

  network: Network
  people: np.ndarray
  names: tuple[str, ...] = ()

  @classmethod
  def of(
    cls, network: Network | None, reference: Album | None
  ) -> Optional["IdentityScore"]:
    """Embeds the reference photos; None if there is no such score.

    There is none if an argument is missing, or if the network was not trained
    on such photos, see `judge`.
    """
    if not reference or (network := judge(network, reference)) is None:
      return None
    return cls(
      network,
      np.concatenate(
        [np.asarray(_embed(network, item.image[None])) for item in reference]
      ),
      tuple(reference.names),
    )

  def without(self, name: str) -> "IdentityScore":
    """The score against the other photos: no photo is compared with itself.

    Args:
      name: the photo that an image shows. If it is the only reference, it is
        kept: there is nothing else to compare with.
    """
    others = [i for i, known in enumerate(self.names) if known != name]
    if not others or len(others) == len(self.names):
      return self
    return dataclasses.replace(
      self,
      people=self.people[others],
      names=tuple(self.names[i] for i in others),
    )

  def __call__(self, images: Array) -> np.ndarray:
    """Scores images [N, H, W, 3] in [-1, 1]: [N] in [-1, 1]."""
    found = np.asarray(_embed(self.network, images))
    return np.max(found @ self.people.T, axis=1)


def compare(
  image: Array,
  photo: Array,
  *,
  lpips: Network | None = None,
  identity: IdentityScore | None = None,
  mask: Array | None = None,
  marks: Array | None = None,
) -> dict[str, float]:
  """Compares an image with the photo that it should match.

  Args:
    image: [H, W, 3] in [-1, 1].
    photo: [H, W, 3] in [-1, 1].
    lpips: the LPIPS network, or None to omit its score.
    identity: the identity score, or None to omit it.
    mask: [H, W, 1], 1 where images are compared; None: everywhere.
    marks: [H, W, 1], 1 on details that only this person has, or None.

  Returns: "psnr", dB; "psnr_marks", "lpips", "id_sim" where available.
  """
  rows = lambda x: None if x is None else np.asarray(x)[None]
  row = _compare(
    lpips,
    rows(image),
    rows(photo),
    rows(mask),
    rows(marks) if marks is not None and marks.any() else None,
  )
  row = {name: min(float(value[0]), _MOST_DB) for name, value in row.items()}
  if identity is not None:
    row["id_sim"] = float(identity(rows(image))[0])
  return row


@jax.jit
def _compare(lpips, image, photo, mask, marks) -> dict[str, Any]:
  found = {"psnr": psnr(image, photo, mask)}
  if marks is not None:
    found["psnr_marks"] = psnr(
      image, photo, marks if mask is None else mask * marks
    )
  if lpips is not None:
    found["lpips"] = lpips(image, photo, mask=mask)
  return found


@jax.jit
def _embed(network: Network, images: Array) -> jax.Array:
  return network.module.embed(network.variables, images)
