"""What personalization changed: numbers and a picture of the same photos."""

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

# A generator, and the latents that it has for the photos.
Candidate = tuple[Network, Anchors]

_YAWS = (-0.35, 0.35)  # of the novel views, about the front


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
    reference: photos whose identity the score compares with.
    lpips: the LPIPS network; None: no such score.
    identity: the identity network, likewise.
    stop: request to stop, checked after each photo.

  Returns: means of each candidate, each a number or None: "lpips"; "psnr", dB;
    "psnr_marks", likewise, where the album says that details of this person
    alone show; "id_sim". And by the photo's name and then by candidate, those
    of them that there are.
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
  """Writes a picture: a row a photo, its views by every candidate.

  Args:
    path: the PNG to write.
    album: the photos.
    candidates: name to generator and latents.
    count: photos at most; spread over the album.
    origin: what made them.
    headline: text above the picture, if any.

  Raises: OSError if the folder cannot be written.
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
