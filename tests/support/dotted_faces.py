"""Photos of faces whose cameras are known, and what finds the faces.

A face is a few dots, where a camera sees the points of an average head, on a
background of noise, which is as sharp as a photo can be. A dot's color says
which point of which face it is, so a PNG tells all.
"""

import collections
import os
import pathlib

import numpy as np
from PIL import Image
from scipy import ndimage

from my3dgen_jax.apps.preparation import looks
from my3dgen_jax.data.faces.landmarks import Face, largest_first
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import cameras

_STEP = 20  # of a color, from one point or face to the next
# What a detector does when it sees a pixel of this color in the corner.
ENDS_THE_PROCESS, RAISES = (1, 2, 3), (3, 2, 1)


def label(yaw, pitch=0.0):
  """A camera on the sphere, degrees; positive pitch: from above."""
  yaw, pitch = np.radians(yaw), np.radians(pitch)
  cam2world = cameras.look_at(0.0, 0.0, radius=2.7)
  turn = np.eye(4)
  turn[:3, :3] = np.array(
    [[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]]
  ) @ np.array(
    [
      [1, 0, 0],
      [0, np.cos(pitch), np.sin(pitch)],
      [0, -np.sin(pitch), np.cos(pitch)],
    ]
  )
  return np.asarray(
    cameras.pack_label(
      turn @ np.asarray(cam2world),
      cameras.intrinsics_from_focal(cameras.FACE_FOCAL),
    )
  )


def points_of(c, domain="face"):
  """Where a camera sees an average head, [K, 2], in sides of its image."""
  shape = looks.DOMAINS[domain]().points.points
  cam2world = np.asarray(c, np.float64)[:16].reshape(4, 4)
  there = (shape - cam2world[:3, 3]) @ cam2world[:3, :3]
  return cameras.FACE_FOCAL * there[:, :2] / there[:, 2:] + 0.5


def photo(
  *faces, size=(320, 240), seed=0, grey=False, radius=3.0, domain="face"
):
  """A photo, [H, W, 3] uint8.

  Args:
    *faces: each a label, the crop's corner (x, y) in the photo and its side.
    size: width and height.
    seed: of the noise.
    grey: without color.
    radius: of the dots, pixels.
    domain: whose faces.
  """
  pixels = np.random.default_rng(seed).integers(
    60, 200, (size[1], size[0], 3), np.uint8
  )
  if grey:
    pixels[...] = pixels[..., :1]
  y, x = np.mgrid[: size[1], : size[0]] + 0.5
  for j, (c, corner, side) in enumerate(faces):
    for i, point in enumerate(points_of(c, domain) * side + corner):
      dot = np.hypot(x - point[0], y - point[1]) < radius
      pixels[dot] = (255, i * _STEP, j * _STEP)
  return pixels


def find(image):
  """A `Detector`."""
  corner = tuple(image[0, 0].tolist())
  if corner == ENDS_THE_PROCESS:
    os._exit(1)  # pylint: disable=protected-access
  if corner == RAISES:
    raise RuntimeError("cannot look\nat this")
  faces = collections.defaultdict(dict)
  codes = image.astype(np.int64)
  for y, x in zip(*np.nonzero(codes[..., 0] == 255)):
    i, j = codes[y, x, 1] / _STEP, codes[y, x, 2] / _STEP
    if i == int(i) and j == int(j):
      faces[j].setdefault(i, []).append((x + 0.5, y + 0.5))
  count = len(looks.DOMAINS["face"]().points.points)
  return largest_first(
    [
      Face(
        np.array([np.mean(dots[i], axis=0) for i in range(count)]), score=0.9
      )
      for dots in faces.values()
      if len(dots) == count
    ]
  )


def detector():
  """Makes what finds the faces, in any process."""
  return find


def missing():
  """Cannot make what finds the faces."""
  raise UserError("no detector here")


class Identity:
  """Tells people apart by the color of a face's middle."""

  network = "mobilefacenet"

  def embed_faces(self, variables, faces):
    del variables
    color = faces[:, 36:76, 36:76].mean(axis=(1, 2))
    return color / (color**2).sum(axis=1, keepdims=True) ** 0.5


def tinted(pixels, face, color):
  """The photo with its noise about a face's nose in one color."""
  c, corner, side = face
  centre = points_of(c)[2] * side + corner
  y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]] + 0.5
  near = (np.hypot(x - centre[0], y - centre[1]) < side / 6) & (
    pixels[..., 0] < 255
  )
  result = pixels.copy()
  result[near] = np.clip(pixels[near] * 0.3 + np.array(color) * 0.7, 0, 250)
  return result


def save(folder, name, pixels):
  """Writes a PNG; folders of the name are made."""
  path = pathlib.Path(folder) / name
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(pixels).save(path)
  return path


def blurred(pixels, sigma):
  """The photo out of focus, its dots as they were."""
  soft = ndimage.gaussian_filter(pixels.astype(np.float64), (sigma, sigma, 0))
  return np.where(
    pixels[..., :1] == 255, pixels, np.minimum(soft, 250).astype(np.uint8)
  )
