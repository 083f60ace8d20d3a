"""Compares generators on the same photos: scores and a picture."""

import os
from collections.abc import Mapping

import numpy as np

from my3dgen_jax.apps.rendering.render import about_front, synthesize
from my3dgen_jax.data import images
from my3dgen_jax.data.album import Album
from my3dgen_jax.data.provenance import Origin, write_picture
from my3dgen_jax.jobs.interrupts import StopRequest
from my3dgen_jax.jobs.progress import compiling
from my3dgen_jax.losses import scores
from my3dgen_jax.losses.scores import IdentityScore
from my3dgen_jax.training.anchors import Anchors
from my3dgen_jax.types import Network

# A generator, and its latents for the photos.
Candidate = tuple[Network, Anchors]

_YAWS = (-0.35, 0.35)  # novel views, yaw from the front, radians


def compare(
  album: Album,
  candidates: Mapping[str, Candidate],
  *,
  reference: Album,
  lpips: Network | None,
  identity: Network | None,
  stop: StopRequest,
) -> tuple[
  dict[str, dict[str, float | None]], dict[str, dict[str, dict[str, float]]]
]:
  """How well generators reproduce photos: means, and each photo's scores.

  Args:
    album: the photos.
    candidates: name to generator and latents.
    reference: photos to compare identity with.
    lpips: the LPIPS network; None: no LPIPS.
    identity: the identity network; None: no ID_sim.
    stop: request to stop, checked after each photo.

  Returns: each candidate's means, numbers or None: "lpips"; "psnr", dB;
    "psnr_marks", dB, on the album's masks of details that only this person has;
    "id_sim". And the available scores by the photo's name, then by candidate.
  Source: My3DGen, section 4; ID_sim is the largest cosine with a reference.
  """
  score = IdentityScore.of(identity, reference)
  lpips = scores.judge(lpips, album)
  result = {}
  each: dict[str, dict[str, dict[str, float]]] = {
    name: {} for name in album.names
  }
  for name, (generator, anchors) in candidates.items():
    rows: list[dict[str, float]] = []
    for i, photo in enumerate(album):
      stop.raise_if_wanted(
        "stopped while measuring; the same command with --resume continues"
      )
      with compiling("measuring"):
        output = synthesize(
          generator, anchors.ws[i : i + 1], photo.c[None]
        ).image
      rows.append(
        scores.compare(
          output[0],
          photo.image,
          lpips=lpips,
          identity=score and score.without(photo.name),
          mask=photo.mask,
          marks=photo.marks,
        )
      )
      each[photo.name][name] = rows[-1]
    result[name] = {
      key: _mean_of(rows, key)
      for key in ("lpips", "psnr", "psnr_marks", "id_sim")
    }
  return result, each


def _mean_of(rows: list[dict[str, float]], key: str) -> float | None:
  values = [row[key] for row in rows if key in row]
  return float(np.mean(values)) if values else None


def draw(
  path: str | os.PathLike,
  album: Album,
  candidates: Mapping[str, Candidate],
  *,
  count: int,
  origin: Origin,
  headline: str = "",
):
  """Writes a picture: one row per photo, with views by every candidate.

  Args:
    path: the PNG file to write.
    album: the photos.
    candidates: name to generator and latents.
    count: maximum number of photos, spread over the album.
    origin: the picture's origin, for its metadata.
    headline: text above the picture, if any.

  Raises: OSError: the folder cannot be written.
  """
  count = min(count, len(album))
  chosen = [i * len(album) // count for i in range(count)]
  titles = ["photo"]
  for name in candidates:
    titles += [
      f"{name}",
      *(f"{name}, {np.degrees(yaw):+.0f}°" for yaw in _YAWS),
    ]
  rows = []
  for i in chosen:
    photo = album[i]
    row = [images.to_uint8(photo.image)]
    for generator, anchors in candidates.values():
      for c in [photo.c, *about_front(generator, photo.c, _YAWS, 0.0)]:
        row.append(
          images.to_uint8(
            synthesize(generator, anchors.ws[i : i + 1], c[None]).image[0]
          )
        )
    rows.append(row)
  picture = images.with_titles(images.make_grid(rows), titles)
  if headline:
    picture = images.with_titles(picture, [headline])
  write_picture(path, picture, origin)
