"""Files of meshes and of density: PLY, OBJ, GLB, STL and MRC."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from my3dgen_jax.apps.meshing.density import Volume
from my3dgen_jax.apps.meshing.libraries import library
from my3dgen_jax.apps.meshing.surface import Mesh, normals
from my3dgen_jax.data import provenance
from my3dgen_jax.data.provenance import Origin
from my3dgen_jax.errors import UserError
from my3dgen_jax.storage.files import replacing

MESHES = (".ply", ".obj", ".glb", ".stl")
VOLUME = ".mrc"

_MRC_LABEL = 80  # ASCII characters; STL's header has as many
_STL_HEADER = 80
_COLOR = "_color"  # vertex attribute, later renamed to glTF's own name


def write_mesh(path: str | os.PathLike, mesh: Mesh, origin: Origin):
  """Writes a mesh and what made it; the file is complete or absent.

  PLY, OBJ and GLB hold colors, STL does not. Comments, or the asset's `extras`
  in GLB, say that it is synthetic. GLB's colors are linear, as glTF requires;
  `trimesh.load(path, skip_materials=True)` shows them.

  Args:
    path: a file ending in .ply (binary), .obj, .glb or .stl (binary).
    mesh: the mesh to write.
    origin: what made it.

  Raises:
    UserError: another suffix, or trimesh is missing; names the file.
    OSError: the folder cannot be written.
  """
  path = pathlib.Path(path)
  suffix = check_path(path, MESHES)
  trimesh = library("trimesh")
  colored = {"vertex_colors": mesh.colors} if suffix in (".ply", ".obj") else {}
  made = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False, **colored)
  lines = statement(origin)
  if suffix == ".ply":
    data = made.export(file_type="ply", vertex_normal=False)
    first, second, rest = data.split(b"\n", 2)
    data = b"\n".join(
      [first, second, *(f"comment {line}".encode() for line in lines), rest]
    )
  elif suffix == ".obj":
    data = made.export(
      file_type="obj", header="\n# ".join(lines), include_normals=False
    ).encode()
  elif suffix == ".glb":
    data = _glb(made, mesh.colors, origin)
  else:
    data = made.export(file_type="stl")
    data = (
      lines[0].encode()[:_STL_HEADER].ljust(_STL_HEADER) + data[_STL_HEADER:]
    )
  with replacing(path) as file:
    file.write(data)


def _glb(made: Any, colors: np.ndarray, origin: Origin) -> bytes:
  """Binary glTF; its colors are linear, for which 8 bits are too few."""
  share = colors.astype(np.float64) / 255
  linear = np.where(
    share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4
  )
  # trimesh's own have length 0 where triangles cancel each other.
  made.vertex_normals = normals(made.vertices, made.faces)
  made.vertex_attributes[_COLOR] = linear.astype(np.float32)

  def finish(tree):
    for mesh in tree["meshes"]:
      for primitive in mesh["primitives"]:
        attributes = primitive["attributes"]
        attributes["COLOR_0"] = attributes.pop(_COLOR)
        primitive["material"] = 0
    # The default material is bare metal, which shows hardly any color.
    tree["materials"] = [
      {"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}}
    ]
    finish_glb(tree, origin)

  # Without normals, viewers would shade every triangle flat.
  return made.export(
    file_type="glb", include_normals=True, tree_postprocessor=finish
  )


def finish_glb(tree: dict[str, Any], origin: Origin):
  """Adds what made a mesh to the JSON of its binary glTF."""
  tree["asset"].update(
    generator=provenance.SOFTWARE,
    extras={
      "comment": _sentences(origin)[0],
      "digitalSourceType": provenance.SOURCE_TYPE,
      **dataclasses.asdict(origin),
      "details": dict(origin.details),
    },
  )


def write_volume(path: str | os.PathLike, volume: Volume, origin: Origin):
  """Writes density as an MRC volume, as EG3D's scripts do for ChimeraX.

  It has their axes: sections along -x, rows along y, columns along z, so that a
  face opens looking along the viewer's +x. Voxels have side 1, and the empty
  shell closes what the cube cuts. In ChimeraX, lower the step to 1 and set the
  level to 10.

  Args:
    path: a file ending in .mrc.
    volume: the volume to write.
    origin: what made it.

  Raises:
    UserError: another suffix, or mrcfile is missing; names the file.
    OSError: the folder cannot be written.
  """
  path = pathlib.Path(path)
  check_path(path, (VOLUME,))
  mrcinterpreter = library("mrcfile.mrcinterpreter")
  with replacing(path) as file:
    _write_mrc(mrcinterpreter.MrcInterpreter(), file, volume, origin)


def _write_mrc(mrc: Any, file: BinaryIO, volume: Volume, origin: Origin):
  mrc._create_default_attributes()  # pylint: disable=protected-access
  mrc._iostream = file  # pylint: disable=protected-access
  mrc.set_data(np.flip(volume.sigma, 0))
  mrc.voxel_size = 1.0
  mrc.header.nlabl = 0
  for line in (
    *statement(origin, "volume"),
    f"voxel: {volume.step:.6g} world units; sections -x, rows y, columns z",
  ):
    for start in range(0, len(line), _MRC_LABEL):
      if mrc.header.nlabl < len(mrc.header.label):
        mrc.add_label(line[start : start + _MRC_LABEL])
  mrc.flush()


def check_path(
  path: str | os.PathLike, known: Sequence[str] = (*MESHES, VOLUME)
) -> str:
  """The suffix of a file to write, in lower case.

  Raises: UserError: it is not supported.
  """
  suffix = pathlib.Path(path).suffix.lower()
  if suffix not in known:
    raise UserError(f"{path}: the name must end in " + ", ".join(known))
  return suffix


def check_libraries(path: str | os.PathLike, *, texture: bool = False):
  """Checks that a file can be written here, before there is anything to write.

  Args:
    path: the file, whose suffix matters.
    texture: whether the mesh has a texture.

  Raises: UserError: another suffix, or a missing library.
  """
  if check_path(path) == VOLUME:
    library("mrcfile.mrcinterpreter")
    return
  library("skimage.measure")
  library("trimesh")
  if texture:
    library("fast_simplification")
    library("xatlas")


def statement(origin: Origin, kind: str = "mesh") -> list[str]:
  """What made a file, as lines of ASCII for its comments.

  Photos' names may contain anything: line breaks, letters of any script.

  Args:
    origin: what made it.
    kind: what the file is, e.g. a mesh.
  """
  return [ascii(line)[1:-1] for line in _sentences(origin, kind)]


def _sentences(origin: Origin, kind: str = "mesh") -> list[str]:
  return [
    f"Synthetic {kind}, generated by {provenance.SOFTWARE}: task "
    f"{origin.task}, adapter {origin.adapter}, base {origin.base}.",
    provenance.SOURCE_TYPE,
    *(f"{key}: {value}" for key, value in origin.details),
  ]
