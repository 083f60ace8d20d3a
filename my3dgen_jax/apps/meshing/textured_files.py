"""Files of textured meshes: GLB, and OBJ with its MTL and PNG."""

import os
import pathlib
import re
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from my3dgen_jax.apps.meshing.atlas import Unwrapped
from my3dgen_jax.apps.meshing.files import check_path, finish_glb, statement
from my3dgen_jax.apps.meshing.libraries import library
from my3dgen_jax.data import provenance
from my3dgen_jax.data.provenance import Origin
from my3dgen_jax.storage.files import replacing

TEXTURED = (".glb", ".obj")

_MATERIAL = "face"


class Textured(NamedTuple):
  """A mesh with its texture.

  Attributes:
    mesh: the unwrapped surface.
    texture: [S, S, 3] uint8 sRGB.
  """

  mesh: Unwrapped
  texture: np.ndarray


def write_textured(path: str | os.PathLike, made: Textured, origin: Origin):
  """Writes a mesh with its texture, and what made it.

  GLB holds everything in one file; its material is unlit (KHR_materials_unlit),
  since the texture contains the photos' light. OBJ needs two files beside it:
  head.mtl and head_texture.png for head.obj. They are written first, so that an
  existing .obj is complete.

  Args:
    path: a file ending in .glb or .obj.
    made: the mesh and texture to write.
    origin: what made it.

  Raises:
    UserError: another suffix, or trimesh is missing; names the file.
    OSError: the folder cannot be written.
  """
  path = pathlib.Path(path)
  if check_path(path, TEXTURED) == ".glb":
    data = _glb(made, origin)
  else:
    material, picture = companions(path)
    provenance.write_picture(picture, made.texture, origin)
    lines = "\n".join(f"# {line}" for line in statement(origin))
    with replacing(material) as file:
      file.write(
        f"{lines}\nnewmtl {_MATERIAL}\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\n"
        f"illum 1\nmap_Kd {picture.name}\n".encode()
      )
    data = _obj(made, material.name, origin)
  with replacing(path) as file:
    file.write(data)


def companions(path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
  """The material and texture files of an .obj.

  Their names are written into files where a space ends a name, so they keep
  only characters that all readers accept.
  """
  stem = re.sub(r"[^A-Za-z0-9.-]+", "_", path.stem).strip("._") or "mesh"
  return path.with_name(f"{stem}.mtl"), path.with_name(f"{stem}_texture.png")


def _opened(made: Textured, material: Any) -> Any:
  """A trimesh mesh, whose v points up."""
  trimesh = library("trimesh")
  uv = np.stack([made.mesh.uv[:, 0], 1 - made.mesh.uv[:, 1]], axis=-1)
  return trimesh.Trimesh(
    made.mesh.vertices,
    made.mesh.faces,
    vertex_normals=made.mesh.normals,
    process=False,
    visual=trimesh.visual.TextureVisuals(uv=uv, material=material),
  )


def _obj(made: Textured, material: str, origin: Origin) -> bytes:
  trimesh = library("trimesh")
  plain = trimesh.visual.material.SimpleMaterial(name=_MATERIAL)
  text, _ = trimesh.exchange.obj.export_obj(
    _opened(made, plain),
    include_normals=True,
    return_texture=True,
    mtl_name=material,
    header="\n# ".join(statement(origin)),
  )
  return text.encode()


def _glb(made: Textured, origin: Origin) -> bytes:
  trimesh = library("trimesh")
  image = Image.fromarray(made.texture)
  image.format = "PNG"  # so that trimesh keeps it as PNG
  material = trimesh.visual.material.PBRMaterial(
    name=_MATERIAL,
    baseColorTexture=image,
    metallicFactor=0.0,
    roughnessFactor=1.0,
  )

  def finish(tree):
    for one in tree["materials"]:
      one["extensions"] = {"KHR_materials_unlit": {}}
    tree["extensionsUsed"] = ["KHR_materials_unlit"]
    finish_glb(tree, origin)

  return _opened(made, material).export(
    file_type="glb", include_normals=True, tree_postprocessor=finish
  )
