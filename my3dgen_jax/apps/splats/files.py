"""Files of splats: the PLY layout of 3DGS, and Niantic's SPZ."""

import importlib
import os
import pathlib
from typing import Any

import numpy as np

from my3dgen_jax.apps.meshing.files import statement
from my3dgen_jax.data.provenance import Origin
from my3dgen_jax.errors import UserError, without_package
from my3dgen_jax.ops.rendering.splats import Splats
from my3dgen_jax.storage.files import replacing

PLY, SPZ = FORMATS = (".ply", ".spz")
# The constant basis function of spherical harmonics: 1 / (2 sqrt(pi)).
SH0 = 0.28209479177387814
FIELDS = (
  *("x", "y", "z", "nx", "ny", "nz"),
  *("f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
  *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)
UPS = ("y", "-y")


def write_splats(
  path: str | os.PathLike, splats: Splats, origin: Origin, *, up: str = "y"
):
  """Writes splats with their origin; on failure, no file is left.

  PLY has the layout of 3DGS trainers, without view-dependent colors: binary,
  little endian, logarithms of sizes, logits of opacities, colors as
  (c - 0.5) / SH0, quaternions w first, normals zero. Comments state the origin;
  SPZ has no room for it.

  Args:
    path: the file, ending in .ply or .spz.
    splats: the splats to write.
    origin: their origin.
    up: "y", as here; "-y": rotated by half a turn around z, for viewers that
      rotate such files back.

  Raises:
    UserError: the suffix is unknown, or gaussforge is missing; names the file.
    OSError: the folder cannot be written.
  """
  path = pathlib.Path(path)
  suffix = check_path(path)
  data = as_ply(splats, origin, up=up)
  if suffix == SPZ:
    data = _converted(path, data)
  with replacing(path) as file:
    file.write(data)


def as_ply(splats: Splats, origin: Origin, *, up: str = "y") -> bytes:
  """The content of a .ply, see `write_splats`."""
  means, quaternions = map(np.asarray, (splats.means, splats.quaternions))
  if up == "-y":
    means = means * [-1, -1, 1]
    w, x, y, z = quaternions.T
    quaternions = np.stack([-z, -y, x, w], axis=-1)  # (0, 0, 0, 1) times it
  quaternions = quaternions / np.linalg.norm(
    quaternions, axis=-1, keepdims=True
  )
  values = np.concatenate(
    [
      means,
      np.zeros_like(means),
      (np.asarray(splats.colors) - 0.5) / SH0,
      np.asarray(splats.logits)[:, None],
      np.asarray(splats.log_scales),
      quaternions,
    ],
    axis=-1,
  )
  head = "\n".join(
    [
      "ply",
      "format binary_little_endian 1.0",
      *(f"comment {line}" for line in statement(origin, "splats")),
      f"comment {up} is up, the face looks along +z; world units",
      f"element vertex {len(values)}",
      *(f"property float {name}" for name in FIELDS),
      "end_header\n",
    ]
  )
  return head.encode("ascii") + values.astype("<f4").tobytes()


def check_path(path: str | os.PathLike) -> str:
  """The suffix of a file to write, in lower case.

  Raises: UserError: the suffix is unknown, or its package is missing.
  """
  suffix = pathlib.Path(path).suffix.lower()
  if suffix not in FORMATS:
    raise UserError(f"{path}: the name must end in " + ", ".join(FORMATS))
  if suffix == SPZ:
    _gaussforge()
  return suffix


def _gaussforge() -> Any:
  try:
    return importlib.import_module("gaussforge")
  except ImportError as error:
    raise without_package(
      error,
      "gaussforge",
      '.spz needs gaussforge: pip install ".[splats]", or pip install '
      "gaussforge; .ply needs nothing",
    ) from error


def _converted(path: pathlib.Path, ply: bytes) -> bytes:
  found = _gaussforge().GaussForge().convert(ply, "ply", "spz")
  if "error" in found:
    raise UserError(f"{path}: gaussforge cannot write it: {found['error']}")
  return bytes(found["data"])
