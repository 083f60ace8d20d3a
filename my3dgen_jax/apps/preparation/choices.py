"""Chooses the album's faces and photos, and what each is for."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from my3dgen_jax.apps.preparation.config import PrepareConfig
from my3dgen_jax.apps.preparation.looks import Seen
from my3dgen_jax.apps.preparation.records import printable, Record
from my3dgen_jax.data import album_files, images
from my3dgen_jax.data.faces import photo_quality, pose_spread
from my3dgen_jax.errors import UserError

LOOKS_LIKE, TINY = "looks like", "tiny"
_MOST_CUT_OFF = 0.1  # share of a face's landmarks outside its photo
_LEAST_SPLIT = 5  # photos; a share of fewer selects none
_RIVAL = 0.8  # share of the person's photos at which another is reported
_BATCH = 16  # faces that a recognition network sees at a time
# Networks trained on faces aligned to ArcFace's template; others get the
# generator's crop.
_ALIGNED_NETWORKS = ("ir_se50", "mobilefacenet")


def choose_faces(
  records: Sequence[Record],
  domain: str,
  network: Any,
  log: Callable[[str], None],
):
  """Chooses the face that counts in each photo.

  Args:
    records: the photos; those of another person get a reason.
    domain: a key of `looks.DOMAINS`.
    network: face recognition network, a module and its variables; None: the
      largest face counts.
    log: called with lines about the outcome.
  """
  seen = [
    (i, face)
    for i, record in enumerate(records)
    if record.look is not None
    for face in record.look.faces
  ]
  several = sum(
    record.look is not None and len(record.look.faces) > 1 for record in records
  )
  if network is None:
    for record in records:
      if record.look is not None and record.look.faces:
        record.seen = record.look.faces[0]
    log(
      "identity is not checked"
      + (
        ": that needs a face recognition network (--identity)"
        if domain == "face"
        else ""
      )
      + (
        f"; of {several} photos with several faces, the largest is used"
        if several
        else ""
      )
    )
    return
  embeddings, photos = _embed(network, records, seen), [i for i, _ in seen]
  mine, similarity = photo_quality.find_person(embeddings, photos)
  for (i, face), is_mine, cosine in zip(seen, mine, similarity):
    record = records[i]
    if is_mine:
      record.seen, record.similarity = face, float(cosine)
      record.reason = ""
    elif record.seen is None and not record.reason:
      record.seen, record.similarity = face, float(cosine)  # the largest
      record.reason = f"seems to be another person: similarity {cosine:.2f}"
  if several:
    log(f"{several} photos show several faces; the person's was used")
  other = photo_quality.photos_of_another(embeddings, photos, mine)
  if other and other >= _RIVAL * mine.sum():
    log(
      f"another person is in {other} photos, the album's in {mine.sum()}:"
      " check kept.png; if it shows the wrong person, add photos of the right "
      "one or remove some of the other"
    )


def _embed(
  network: Any, records: Sequence[Record], seen: Sequence[tuple[int, Seen]]
) -> np.ndarray:
  """Embeddings of faces by a recognition network, [N, features]."""
  module, variables = network.module, network.variables
  if module.network in _ALIGNED_NETWORKS:
    function = jax.jit(module.embed_faces)
    pictures = lambda i, face: face.recognition
  else:
    function = jax.jit(module.embed)
    pictures = lambda i, face: (
      records[i].look.crop(records[i].look.faces.index(face)).image
    )
  result = []
  for start in range(0, len(seen), _BATCH):
    batch = np.stack([pictures(*one) for one in seen[start : start + _BATCH]])
    # One shape, so that it compiles once.
    padding = [(0, _BATCH - len(batch))] + [(0, 0)] * 3
    result.append(
      np.asarray(function(variables, images.to_float(np.pad(batch, padding))))[
        : len(batch)
      ]
    )
  return np.concatenate(result) if result else np.zeros((0, 1))


def set_aside(records: Sequence[Record], config: PrepareConfig):
  """Sets photos aside, with their reasons.

  Raises: UserError: a photo to keep does not exist.
  """
  wanted = {printable(name) for name in config.keep}
  free = []  # those that checks may set aside
  for record in records:
    if not record.kept:
      if record.seen is not None and _names(record) & wanted:
        record.reason = ""
      continue
    if _names(record) & wanted:
      continue
    record.reason = _fault(record.seen, record.angles[2], config)
    if not record.reason:
      free.append(record)
  unknown = wanted - set().union(*(_names(record) for record in records))
  if unknown:
    raise UserError(f"keep: no photo named {sorted(unknown)[0]!r}")
  if config.duplicate < 1:
    for i, other in zip(
      range(len(free)),
      photo_quality.duplicates(
        [record.seen.quality for record in free], threshold=config.duplicate
      ),
    ):
      if other is not None:
        free[i].reason = f"{LOOKS_LIKE} {free[other].file}"
  _choose_frames([record for record in free if record.kept], config)


def _names(record: Record) -> set:
  """The names by which a user may refer to a photo."""
  base = record.file.rpartition("/")[2]
  return {
    record.file,
    record.name,
    base,
    album_files.stem(base),
    f"{record.name}.png",
  }


def _fault(seen: Seen, roll: float, config: PrepareConfig) -> str:
  """What is wrong with a face, worded for the user; "" if nothing."""
  quality = seen.quality
  scale = quality.side / config.size
  if seen.cut_off > _MOST_CUT_OFF:
    return "the photo cuts the face off"
  if quality.inside < config.min_inside:
    return (
      f"only {quality.inside:.0%} of the crop is in the photo "
      f"(min_inside {config.min_inside:g})"
    )
  if abs(roll) > config.max_roll:
    return f"tilted: {abs(roll):.0f} degrees (max_roll {config.max_roll:g})"
  if scale < config.min_scale:
    return (
      f"{TINY}: {quality.side:.0f} pixels for {config.size} "
      f"(min_scale {config.min_scale:g})"
    )
  if quality.sharpness < config.min_sharpness:
    return (
      f"blurred: {quality.sharpness:.2f} "
      f"(min_sharpness {config.min_sharpness:g})"
    )
  # A cat may be black and white itself.
  if config.domain == "face" and quality.color < config.min_color:
    return f"gray: {quality.color:.1f} (min_color {config.min_color:g})"
  return ""


def _choose_frames(records: Sequence[Record], config: PrepareConfig):
  """Sets aside a video's frames, except those that spread the poses."""
  videos: dict[pathlib.Path, list[Record]] = {}
  for record in records:
    if record.video is not None:
      videos.setdefault(record.video, []).append(record)
  for frames in videos.values():
    chosen = pose_spread.farthest(
      np.array([record.angles[:2] for record in frames]),
      np.array([record.seen.quality.sharpness for record in frames]),
      config.frames,
    )
    for i in set(range(len(frames))) - set(chosen):
      frames[i].reason = "other frames show this pose"


def split(
  kept: Sequence[Record], config: PrepareConfig, log: Callable[[str], None]
):
  """Assigns each photo to a part of the album.

  Args:
    kept: the photos of the album.
    config: the sizes of the parts.
    log: called with a line if the album is too small for parts.
  """
  counts = {}
  for part in ("test", "reference"):
    value = getattr(config, part)
    counts[part] = (
      int(value)
      if value >= 1
      else (
        max(1, round(value * len(kept)))
        if value and len(kept) >= _LEAST_SPLIT
        else 0
      )
    )
  if sum(counts.values()) > len(kept) // 2:
    log(
      f"{sum(counts.values())} photos for test and reference would leave "
      f"too few of {len(kept)} photos to train on; none are held out"
    )
    counts = dict.fromkeys(counts, 0)
  for record in kept:
    record.part = "train"
  for part, count in counts.items():
    free = [record for record in kept if record.part == "train"]
    poses = np.array([record.angles[:2] for record in free])
    for i in pose_spread.representative(poses, count):
      free[i].part = part
