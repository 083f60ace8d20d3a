"""Fewer triangles, and where each lies in a picture that covers them all."""

from typing import NamedTuple

import numpy as np

from my3dgen_jax.apps.meshing import surface
from my3dgen_jax.apps.meshing.libraries import library

_PADDING = 4  # texels about each chart, for smaller copies of the texture


class Unwrapped(NamedTuple):
  """A surface, cut open so that it lies flat.

  Attributes:
    vertices: [V, 3] float32, world units; those along a cut are there twice.
    faces: [F, 3] int32, counterclockwise from outside.
    uv: [V, 2] float32 in [0, 1], in the picture: u right, v down.
    normals: [V, 3] float32, of length 1, the same on both sides of a cut.
  """

  vertices: np.ndarray
  faces: np.ndarray
  uv: np.ndarray
  normals: np.ndarray


def simplify(
  vertices: np.ndarray, faces: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
  """A surface of fewer triangles that lies as near as it can.

  Args:
    vertices: [V, 3].
    faces: [F, 3].
    most: triangles that it has at most.

  Returns: vertices and faces; the same where they are few enough.
  Raises: UserError: no fast-simplification.
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
    vertices: [V, 3].
    faces: [F, 3].
    size: side of the picture, texels, for the room between charts.

  Raises: UserError: no xatlas.
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
