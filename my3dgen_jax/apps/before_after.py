"""What personalization changed: numbers and a picture of the same photos."""

import os
from typing import Dict, List, Mapping, Optional, Tuple, Union

import chex
import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.data import images
from my3dgen_jax.data.album import Album
from my3dgen_jax.losses.reconstruction import psnr
from my3dgen_jax.ops import cameras
from my3dgen_jax.training.anchors import Anchors
from my3dgen_jax.training.interrupts import StopRequest
from my3dgen_jax.types import Network

# A generator, and the latents that it has for the photos.
Candidate = Tuple[Network, Anchors]

_YAWS = (-0.35, 0.35)  # of the novel views, about the front


def compare(album: Album, candidates: Mapping[str, Candidate], *,
            reference: Album, lpips: Optional[Network],
            identity: Optional[Network], stop: StopRequest
            ) -> Dict[str, Dict[str, Optional[float]]]:
  """Means over photos of how well generators show them.

  Args:
    album: the photos.
    candidates: by name.
    reference: photos whose identity the score compares with.
    lpips: or None, then there is no such number.
    identity: likewise.
    stop: looked at after each photo.

  Returns: of each candidate, each a number or None: "lpips"; "psnr", dB;
    "psnr_marks", likewise, where the album says that details of this person
    alone show; "id_sim".
  Source: My3DGen, section 4; ID_sim is the largest cosine with a reference.
  """
  @jax.jit
  def measure(networks, output, image, mask, marks):
    found = {"psnr": psnr(output, image, mask)}
    if marks is not None:
      found["psnr_marks"] = psnr(output, image, mask * marks)
    if networks["lpips"] is not None:
      found["lpips"] = networks["lpips"](output, image, mask=mask)
    return found

  @jax.jit
  def embed(network, image):
    return network.module.embed(network.variables, image)

  people = None
  if identity is not None:
    people = np.concatenate([np.asarray(embed(identity, item.image[None]))
                             for item in reference])
  result = {}
  for name, (generator, anchors) in candidates.items():
    rows: List[Dict[str, float]] = []
    for i, photo in enumerate(album):
      stop.raise_if_wanted("stopped while measuring; the same command with "
                           "--resume goes on")
      output = _render(generator, anchors.ws[i:i + 1], photo.c[None])
      row = measure({"lpips": lpips}, output, photo.image[None],
                    photo.mask[None],
                    None if photo.marks is None or not photo.marks.any()
                    else photo.marks[None])
      row = {key: float(value[0]) for key, value in row.items()}
      if people is not None:
        row["id_sim"] = float(np.max(
            people @ np.asarray(embed(identity, output))[0]))
      rows.append(row)
    result[name] = {key: _mean_of(rows, key)
                    for key in ("lpips", "psnr", "psnr_marks", "id_sim")}
  return result


def _mean_of(rows: List[Dict[str, float]], key: str) -> Optional[float]:
  # Infinity is no JSON; equal images are as good as 16 bits can tell.
  values = [min(row[key], 100.0) for row in rows if key in row]
  return float(np.mean(values)) if values else None


def draw(path: Union[str, os.PathLike], album: Album,
         candidates: Mapping[str, Candidate], *, count: int):
  """Writes a picture: a row a photo, its views by every candidate.

  Args:
    path: of the PNG.
    album: the photos.
    candidates: by name.
    count: photos at most; spread over the album.

  Raises: OSError if the folder cannot be written.
  """
  count = min(count, len(album))
  chosen = [i * len(album) // count for i in range(count)]
  titles = ["photo"]
  for name in candidates:
    titles += [f"{name}", *(f"{name}, {np.degrees(yaw):+.0f}°"
                            for yaw in _YAWS)]
  rows = []
  for i in chosen:
    photo = album[i]
    row = [images.to_uint8(photo.image)]
    for generator, anchors in candidates.values():
      for c in [photo.c, *_novel_views(generator, photo.c)]:
        row.append(images.to_uint8(
            _render(generator, anchors.ws[i:i + 1], c[None])[0]))
    rows.append(row)
  images.write_png(path, images.with_titles(images.make_grid(rows), titles))


def _novel_views(generator: Network, c: chex.Array) -> np.ndarray:
  """Cameras about the front with the photo's lens, [len(_YAWS), 25]."""
  rendering = generator.module.config.rendering
  _, intrinsics = cameras.unpack_label(jnp.asarray(c)[None])
  poses = cameras.look_at(np.array(_YAWS, np.float32), 0.0,
                          rendering.avg_camera_pivot,
                          rendering.avg_camera_radius)
  return np.asarray(cameras.pack_label(
      poses, jnp.broadcast_to(intrinsics, (len(_YAWS), 3, 3))))


@jax.jit
def _render(generator: Network, ws: chex.Array, c: chex.Array) -> jax.Array:
  return generator(ws, c, method="synthesis").image
