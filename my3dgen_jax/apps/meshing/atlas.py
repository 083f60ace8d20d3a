"""Simplifies surfaces, and lays them out flat for a texture."""

from typing import NamedTuple

import numpy as np

from my3dgen_jax.apps.meshing import surface
from my3dgen_jax.apps.meshing.libraries import library

_PADDING = 4  # texels around each chart, for mipmaps of the texture


class Unwrapped(NamedTuple):
  """A surface, cut so that it lies flat.

  Attributes:
    vertices: [V, 3] float32, world units; vertices along a cut appear twice.
    faces: [F, 3] int32, counterclockwise from outside.
    uv: [V, 2] float32 in [0, 1], texture coordinates: u right, v down.
    normals: [V, 3] float32, of length 1, the same on both sides of a cut.
  """

  vertices: np.ndarray
  faces: np.ndarray
  uv: np.ndarray
  normals: np.ndarray


def simplify(
  vertices: np.ndarray, faces: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
  """A surface of fewer triangles, as close as possible to the given one.

  Args:
    vertices: [V, 3], world units.
    faces: [F, 3], rows of `vertices`.
    most: the most triangles to keep.

  Returns: vertices and faces, unchanged if there are few enough.
  Raises: UserError: fast-simplification is missing.
  Source: Garland and Heckbert 1997, quadric error metrics.
  """
  if len(faces) <= most:
    return vertices, faces
  simplified = library("fast_simplification").simplify(
    np.ascontiguousarray(vertices, np.float32),
    np.ascontiguousarray(faces, np.int32),
    target_count=most,
  )
  return simplified[0].astype(np.float32), simplified[1].astype(np.int32)


def unwrap(vertices: np.ndarray, faces: np.ndarray, size: int) -> Unwrapped:
  """Cuts a surface into charts and packs them into a square.

  Args:
    vertices: [V, 3], world units.
    faces: [F, 3], rows of `vertices`.
    size: side of the texture, texels, which sets the gaps between charts.

  Raises: UserError: xatlas is missing.
  """
  xatlas = library("xatlas")
  atlas = xatlas.Atlas()
  atlas.add_mesh(
    np.ascontiguousarray(vertices, np.float32),
    np.ascontiguousarray(faces, np.uint32),
  )
  packing = xatlas.PackOptions()
  packing.resolution = size
  packing.padding = _PADDING
  atlas.generate(xatlas.ChartOptions(), packing)
  rows, corners, uv = atlas[0]
  return Unwrapped(
    np.asarray(vertices, np.float32)[rows],
    np.asarray(corners, np.int32),
    np.asarray(uv, np.float32),
    surface.normals(vertices, faces)[rows],
  )
