"""An album's photos as one task: what is seen, what is known, and the truth."""

import os
from typing import NamedTuple

import jax
import numpy as np

from my3dgen_jax.apps.enhancement import masks
from my3dgen_jax.apps.enhancement.tasks import (
  degradation_of,
  EnhanceConfig,
  ENLARGE,
  INPAINT,
)
from my3dgen_jax.apps.person import Person
from my3dgen_jax.data import images
from my3dgen_jax.data.album import Album
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import degradations
from my3dgen_jax.training.hull_fit import Degradation


class Case(NamedTuple):
  """Photos that are enhanced together.

  Attributes:
    kind: the task, or the name of the caller's degradation.
    seen: uint8 [N, h, w, C], the photos as seen.
    truth: uint8 [H, W, 3] each, the true photo; None: unknown.
    masks: [H, W] bool each, True where the photo is known (inpainting) or the
      person is; None: to be found.
    degradation: the degradation; None: inpainting.
    known: known pixels of other tasks, see `restore`.
  """

  kind: str
  seen: np.ndarray
  truth: list[np.ndarray | None]
  masks: list[np.ndarray | None]
  degradation: Degradation | None
  known: np.ndarray | None = None


def case_of(
  person: Person,
  album: Album,
  config: EnhanceConfig,
  mask: str | os.PathLike | None,
  degradation: Degradation | None,
) -> Case:
  """Degrades intact photos, and checks the others.

  Args:
    person: the person, whose generator sets the size.
    album: the photos.
    config: the task and its settings.
    mask: mask file, see `write_enhanced`; or None.
    degradation: a degradation instead of the task's, or None.

  Raises: UserError: names what does not fit.
  """
  side = person.generator.module.config.img_resolution
  if album.img_resolution > side:
    raise UserError(
      f"{album.place}: its photos have {album.img_resolution} pixels along a "
      f"side, the generator's images {side}; downscale them"
    )
  is_small = album.img_resolution < side
  if is_small and (config.task != ENLARGE or config.factor is not None):
    raise UserError(
      f"{album.place}: its photos have {album.img_resolution} pixels along a "
      f"side, the generator's images {side}"
      + (
        "; factor needs photos of that size, drop it"
        if config.task == ENLARGE
        else f"; task {config.task} needs photos of that size"
      )
    )
  if (
    degradation is None
    and config.task == ENLARGE
    and not is_small
    and (config.factor is None)
  ):
    raise UserError(
      f"{album.place}: its photos are as large as the generator's images; give "
      "smaller ones, or a factor to downscale them by"
    )
  given = None if mask is None else masks.read_mask(mask, side)
  items = list(album)
  photos = np.stack([images.to_uint8(item.image) for item in items])
  own = [
    None if photo.mask is None else item.mask
    for photo, item in zip(album.photos, items)
  ]
  regions = [given] * len(items)
  if degradation is None and config.task == INPAINT:
    usual = ~masks.centre_hole(side)
    if given is None:
      regions = [None if one is None else one[..., 0] >= 0.5 for one in own]
    # One mask for several photos is a trial; one photo's may be real damage.
    is_trial = given is not None and len(items) > 1
    known = [config.intact or is_trial or one is None for one in regions]
    return Case(
      INPAINT,
      photos,
      [photo if one else None for photo, one in zip(photos, known)],
      [usual if one is None else one for one in regions],
      None,
    )
  small = album.img_resolution
  if config.task == ENLARGE and config.factor is not None:
    small = max(round(side / config.factor), 1)
  kind = config.task if degradation is None else degradation.name
  degradation = degradation or degradation_of(config, side=small)
  degrade = jax.jit(degradation.apply)
  if config.intact and is_small:
    raise UserError(
      f"{album.place}: intact photos must have the generator's size; give such "
      "photos and a factor"
    )
  if config.intact or (config.task == ENLARGE and config.factor is not None):
    seen = images.to_uint8(degrade(images.to_float(photos)))
    return Case(
      kind,
      seen,
      list(photos),
      regions,
      degradation,
      masks.known_shares(own, seen),
    )
  channels = jax.eval_shape(
    degradation.apply, jax.ShapeDtypeStruct((1, side, side, 3), np.float32)
  ).shape[-1]
  if channels == 1:
    photos = images.to_uint8(degradations.grey(images.to_float(photos)))
  return Case(
    kind,
    photos,
    [None] * len(photos),
    regions,
    degradation,
    masks.known_shares(own, photos),
  )
