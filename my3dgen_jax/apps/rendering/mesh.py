"""Surfaces of latents: coloured triangle meshes, and the density itself.

A mesh lies in EG3D's world: y up, the face looks along +z, and +x is to the
right of who looks at it from the front; lengths are world units, in which the
box that holds everything has side `box_warp` (1 for faces) and a head is about
0.45 high. Those are glTF's axes too. Triangles turn counterclockwise seen from
outside.
"""

import dataclasses
import functools
import importlib
import math
import os
import pathlib
from typing import (Any, BinaryIO, Callable, List, NamedTuple, Optional,
                    Sequence, Tuple, Union)

import chex
import jax
import numpy as np

from my3dgen_jax.apps.rendering import frames
from my3dgen_jax.apps.person import Person
from my3dgen_jax.apps.rendering.stations import Station
from my3dgen_jax.config import RenderConfig
from my3dgen_jax.data import images, provenance
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.data.provenance import Origin
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import cameras, checks
from my3dgen_jax.jobs.progress import Progress
from my3dgen_jax.types import Network

MESHES = (".ply", ".obj", ".glb", ".stl")
VOLUME = ".mrc"
MIN_RESOLUTION, MAX_RESOLUTION = 8, 1024

# Raw density on the surface: the level at which EG3D's scripts cut their
# shapes, so that both show the same. The demo's prior comes closest to its
# people at 13 to 16, by another 0.3 % of a head's height: see
# benchmarks/mesh_accuracy.py.
LEVEL = 10.0
# What lies outside of the grid; EG3D writes the same around its volumes.
_EMPTY = -1000.0
# Points of the grid, and vertices, that are computed at a time: enough to
# fill an accelerator, and a few megabytes.
_POINTS = 2**21
_VERTICES = 2**16
_MRC_LABEL = 80  # letters, of ASCII; STL's header has as many
_STL_HEADER = 80
_COLOUR = "_colour"  # of vertices, before glTF's own name takes its place

Report = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Mesh:
  """A closed surface of triangles.

  Attributes:
    vertices: [V, 3] float32, world units.
    faces: [F, 3] int32, rows of `vertices`, counterclockwise from outside.
    colours: [V, 3] uint8, sRGB.
  """

  vertices: np.ndarray
  faces: np.ndarray
  colours: np.ndarray


class Volume(NamedTuple):
  """Density on a regular grid, in a shell of emptiness.

  Attributes:
    sigma: [N + 2, N + 2, N + 2] float32, axes x, y, z; raw, before the
      renderer's softplus. The outermost points are empty.
    side: of the cube about the world's origin that the inner N^3 points fill
      from edge to edge, world units.
  """

  sigma: np.ndarray
  side: float

  @property
  def step(self) -> float:
    """From a point to the next, world units."""
    return self.side / (len(self.sigma) - 3)

  @property
  def inner(self) -> np.ndarray:
    """Without the shell; a view."""
    return self.sigma[1:-1, 1:-1, 1:-1]


def extract_mesh(network: Network, ws: chex.Array, *, resolution: int = 256,
                 level: float = LEVEL, largest_only: bool = True,
                 crop: Optional[float] = None,
                 devices: Sequence[jax.Device] = (),
                 report: Optional[Report] = None) -> Mesh:
  """The surface where a latent's raw density is `level`, in its colours.

  What the cube cuts is closed flat along its faces, so that the mesh is
  watertight.

  Args:
    network: the generator.
    ws: [num_ws, w_dim] or [1, num_ws, w_dim].
    resolution: points of the grid along a side.
    level: raw density, before the renderer's softplus.
    largest_only: only the piece with the largest surface, not counting where
      the cube cuts it: a head, not the background or what floats about it.
    crop: side of the cube about the world's origin, world units; None:
      `default_side`.
    devices: that share the work; none: all.
    report: called now and then with how many planes of the grid are done, and
      how many there are.

  Raises:
    UserError: a missing library, a number out of range, or no surface at this
      level; names it.
  """
  _library("skimage.measure")  # before the work
  density = extract_volume(network, ws, resolution=resolution, crop=crop,
                           devices=devices, report=report)
  vertices, faces = surface(density, level)
  if largest_only:
    vertices, faces = largest_piece(vertices, faces, density.side)
  return Mesh(vertices, faces, _colours(network, ws, vertices))


def extract_volume(network: Network, ws: chex.Array, *, resolution: int = 256,
                   crop: Optional[float] = None,
                   devices: Sequence[jax.Device] = (),
                   report: Optional[Report] = None) -> Volume:
  """Density of a latent on a grid.

  Some planes of the grid at a time, so that it takes little more memory than
  the result. One program computes all; arguments as for `extract_mesh`.

  Raises: UserError that names the argument which does not fit.
  """
  resolution = checks.whole_number("resolution", resolution, MIN_RESOLUTION,
                                   MAX_RESOLUTION)
  rendering = network.module.config.rendering
  side = default_side(rendering) if crop is None else _number("crop", crop)
  if not 0 < side <= rendering.box_warp:
    raise UserError(f"crop: expected world units in (0, "
                    f"{rendering.box_warp:g}], the box's side, got {side:g}")
  axis = np.linspace(-side / 2, side / 2, resolution, dtype=np.float32)
  sigma = np.full((resolution + 2,) * 3, _EMPTY, np.float32)
  inner = sigma[1:-1, 1:-1, 1:-1]
  planes = frames.planes_of(network, _one(ws))
  devices = tuple(devices) or tuple(jax.local_devices())
  everywhere = [jax.device_put((network, planes), device)
                for device in devices]
  rows = max(1, min(resolution, _POINTS // resolution**2))
  firsts = list(range(0, resolution, rows))

  def start(index):
    # The last block is as thick as the others, or it would be compiled anew.
    chosen = np.minimum(np.arange(firsts[index], firsts[index] + rows),
                        resolution - 1)
    return _density(*everywhere[index % len(devices)], axis[chosen], axis)

  # Each device has a block in hand while the host copies another.
  waiting = [start(i) for i in range(min(len(devices), len(firsts)))]
  for index, first in enumerate(firsts):
    block = waiting.pop(0)
    if index + len(devices) < len(firsts):
      waiting.append(start(index + len(devices)))
    inner[first:first + rows] = np.asarray(block)[:resolution - first]
    if report is not None:
      report(min(first + rows, resolution), resolution)
  return Volume(sigma, side)


def default_side(rendering: RenderConfig) -> float:
  """Side of the cube: what the average camera of faces sees.

  As wide as its picture is at the point that it looks at; the shoulders go on
  below, and what stands far behind and beside the person, outside of the
  picture, is no part of it. Where nothing stands behind (cars on white) it is
  the whole box.

  Args:
    rendering: where the average camera is, and the box.

  Returns: world units, at most the box's side.
  """
  if rendering.white_back:
    return rendering.box_warp
  pivot = np.asarray(rendering.avg_camera_pivot)
  away = rendering.avg_camera_radius - float(np.linalg.norm(pivot))
  return min(rendering.box_warp, away / cameras.FACE_FOCAL)


def surface(volume: Volume, level: float) -> Tuple[np.ndarray, np.ndarray]:
  """Marching cubes: vertices [V, 3] in world units, and faces [F, 3].

  Raises: UserError: no surface at this level, or no scikit-image.
  Source: Lewiner et al. 2003.
  """
  measure = _library("skimage.measure")
  level = _number("level", level)
  low, high = float(volume.inner.min()), float(volume.inner.max())
  if not max(low, _EMPTY) < level < high:
    raise UserError(f"level: there is no surface at {level:g}: the density "
                    f"lies between {low:.4g} and {high:.4g}")
  vertices, faces, _, _ = measure.marching_cubes(
      volume.sigma, level, gradient_direction="ascent",
      allow_degenerate=False)
  # The shell's points have the index 0.
  vertices = (vertices - 1) * np.float32(volume.step) - volume.side / 2
  return vertices.astype(np.float32), np.ascontiguousarray(faces, np.int32)


def largest_piece(vertices: np.ndarray, faces: np.ndarray, side: float
                  ) -> Tuple[np.ndarray, np.ndarray]:
  """The connected piece with the largest surface inside of the cube.

  Where the cube cuts does not count: a thin wall behind a head would gain more
  there than it has itself.

  Args:
    vertices: [V, 3].
    faces: [F, 3].
    side: of the cube about the origin.

  Returns: its vertices and faces.
  """
  # pylint: disable-next=import-outside-toplevel
  from scipy import sparse
  count = len(vertices)
  edges = sparse.coo_matrix(
      (np.ones(2 * len(faces), bool),
       (np.tile(faces[:, 0], 2), faces[:, 1:].T.ravel())), (count, count))
  _, piece = sparse.csgraph.connected_components(edges, directed=False)
  corners = vertices[faces]
  area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0],
                                 corners[:, 2] - corners[:, 0]), axis=-1)
  cut = (np.abs(corners) >= side / 2).all(axis=1).any(axis=-1)
  areas = np.bincount(piece[faces[:, 0]], np.where(cut, 0, area))
  kept = piece == np.argmax(areas)
  rows = np.cumsum(kept, dtype=np.int32) - 1
  return vertices[kept], rows[faces[kept[faces[:, 0]]]]


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """How surfaces are made.

  Attributes:
    resolution: points of the grid along a side.
    level: raw density on the surface.
    crop: side of the cube about the world's origin, world units; None: see
      `default_side`.
    all_components: keep what floats about, and the background.
  """

  resolution: int = 256
  level: float = LEVEL
  crop: Optional[float] = None
  all_components: bool = False

  def validate(self) -> "MeshConfig":
    """Checks every field; raises UserError that names one."""
    checks.whole_number("resolution", self.resolution, MIN_RESOLUTION,
                        MAX_RESOLUTION)
    _number("level", self.level)
    if self.crop is not None and _number("crop", self.crop) <= 0:
      raise UserError(f"crop: expected a number > 0, got {self.crop:g}")
    return self


def write_latents(person: Person, found: Sequence[Station],
                  config: MeshConfig, out: Union[str, os.PathLike], *,
                  report: Callable[[str], None] = print,
                  **details: Any) -> List[pathlib.Path]:
  """Writes the surface or the density of each latent.

  Args:
    person: whose they are.
    found: the latents. One with a generator that was bent to its photo has
      the shape that this shows.
    config: how.
    out: the file; its suffix says the format. With several latents their names
      are put before the suffix: `head_photo003.ply`.
    report: called with a line a file.
    **details: of what made them.

  Returns: the files.
  Raises: UserError: names the argument or the file. OSError: the folder cannot
    be written.
  """
  config.validate()
  out = pathlib.Path(out).expanduser()
  check_libraries(out)
  if not out.parent.is_dir():
    raise UserError(f"{out.parent}: there is no such folder")
  if not os.access(out.parent, os.W_OK):
    raise UserError(f"{out.parent}: the folder cannot be written")
  paths = []
  for one in found:
    path = out if len(found) == 1 else out.with_name(
        f"{out.stem}_{one.name}{out.suffix}")
    network = one.generator or person.generator
    made = functools.partial(person.made, latent=one.name,
                             resolution=config.resolution, **details)
    progress = Progress(one.name, config.resolution, "planes")
    options = dict(resolution=config.resolution, crop=config.crop,
                   devices=person.devices,
                   report=lambda done, _, line=progress: line.update(done))
    if check_path(path) == VOLUME:
      density = extract_volume(network, one.ws, **options)
      write_volume(path, density, made("density"))
      line = (f"density from {density.inner.min():.4g} to "
              f"{density.inner.max():.4g}; the mesh's level is {LEVEL:g}")
    else:
      mesh = extract_mesh(network, one.ws, level=config.level,
                          largest_only=not config.all_components, **options)
      write_mesh(path, mesh, made("mesh", level=config.level))
      line = (f"{len(mesh.vertices)} vertices, {len(mesh.faces)} triangles"
              + ("; STL holds no colours: .ply, .obj and .glb do"
                 if check_path(path) == ".stl" else ""))
    report(f"{path}: {line}")
    paths.append(path)
  return paths


def write_mesh(path: Union[str, os.PathLike], mesh: Mesh, origin: Origin):
  """Writes a mesh that says what made it; the file is whole or absent.

  PLY, OBJ and GLB hold colours, STL has no place for them. Comments say that
  it is synthetic, in GLB the asset's `extras`. GLB's colours are linear, as
  glTF wants them; `trimesh.load(path, skip_materials=True)` shows them.

  Args:
    path: ends in .ply (binary), .obj, .glb or .stl (binary).
    mesh: what to write.
    origin: what made it.

  Raises:
    UserError: another suffix, or no trimesh; names the file.
    OSError: the folder cannot be written.
  """
  path = pathlib.Path(path)
  suffix = check_path(path, MESHES)
  trimesh = _library("trimesh")
  coloured = {"vertex_colors": mesh.colours} if suffix in (
      ".ply", ".obj") else {}
  made = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False,
                         **coloured)
  # ASCII, and one line: names of photos may be anything.
  lines = [ascii(line)[1:-1] for line in _statement(origin)]
  if suffix == ".ply":
    data = made.export(file_type="ply", vertex_normal=False)
    first, second, rest = data.split(b"\n", 2)
    data = b"\n".join([first, second, *(f"comment {line}".encode()
                                        for line in lines), rest])
  elif suffix == ".obj":
    data = made.export(file_type="obj", header="\n# ".join(lines),
                       include_normals=False).encode()
  elif suffix == ".glb":
    data = _glb(made, mesh.colours, origin)
  else:
    data = made.export(file_type="stl")
    data = lines[0].encode()[:_STL_HEADER].ljust(_STL_HEADER) + data[
        _STL_HEADER:]
  with replacing(path) as file:
    file.write(data)


def _glb(made: Any, colours: np.ndarray, origin: Origin) -> bytes:
  """Binary glTF; its colours are linear, for which 8 bits would not do."""
  share = colours.astype(np.float64) / 255
  linear = np.where(share <= 0.04045, share / 12.92,
                    ((share + 0.055) / 1.055)**2.4)
  made.vertex_attributes[_COLOUR] = linear.astype(np.float32)

  def finish(tree):
    for mesh in tree["meshes"]:
      for primitive in mesh["primitives"]:
        attributes = primitive["attributes"]
        attributes["COLOR_0"] = attributes.pop(_COLOUR)
        primitive["material"] = 0
    # The default material is of bare metal, which shows hardly any colour.
    tree["materials"] = [{"pbrMetallicRoughness": {
        "metallicFactor": 0.0, "roughnessFactor": 1.0}}]
    tree["asset"].update(generator=provenance.SOFTWARE, extras={
        "comment": _statement(origin)[0],
        "digitalSourceType": provenance.SOURCE_TYPE,
        **dataclasses.asdict(origin), "details": dict(origin.details)})

  # Without normals every triangle would be shown flat.
  return made.export(file_type="glb", include_normals=True,
                     tree_postprocessor=finish)


def write_volume(path: Union[str, os.PathLike], volume: Volume,
                 origin: Origin):
  """Writes density as an MRC volume, as EG3D's scripts do for ChimeraX.

  Its axes are theirs: sections go along -x, rows along y, columns along z, so
  that a face opens looking along the viewer's +x. Voxels have side 1, and the
  shell of emptiness closes what the cube cuts. Lower the step to 1 and set the
  level to 10 there.

  Args:
    path: ends in .mrc.
    volume: what to write.
    origin: what made it.

  Raises:
    UserError: another suffix, or no mrcfile; names the file.
    OSError: the folder cannot be written.
  """
  path = pathlib.Path(path)
  check_path(path, (VOLUME,))
  mrcinterpreter = _library("mrcfile.mrcinterpreter")
  with replacing(path) as file:
    _write_mrc(mrcinterpreter.MrcInterpreter(), file, volume, origin)


def _write_mrc(mrc: Any, file: BinaryIO, volume: Volume, origin: Origin):
  mrc._create_default_attributes()  # pylint: disable=protected-access
  mrc._iostream = file  # pylint: disable=protected-access
  mrc.set_data(np.flip(volume.sigma, 0))
  mrc.voxel_size = 1.0
  mrc.header.nlabl = 0
  for line in (*_statement(origin, "volume"),
               f"voxel: {volume.step:.6g} world units; "
               "sections -x, rows y, columns z"):
    for start in range(0, len(line), _MRC_LABEL):
      if mrc.header.nlabl < len(mrc.header.label):
        mrc.add_label(ascii(line)[1:-1][start:start + _MRC_LABEL])
  mrc.flush()


def check_path(path: Union[str, os.PathLike],
               known: Sequence[str] = (*MESHES, VOLUME)) -> str:
  """The suffix of a file to write, in small letters.

  Raises: UserError: it is not known.
  """
  suffix = pathlib.Path(path).suffix.lower()
  if suffix not in known:
    raise UserError(f"{path}: the name must end in " + ", ".join(known))
  return suffix


def check_libraries(path: Union[str, os.PathLike]):
  """Whether a file can be written here, before there is anything to write.

  Raises: UserError: another suffix, or what is missing.
  """
  if check_path(path) == VOLUME:
    _library("mrcfile.mrcinterpreter")
  else:
    _library("skimage.measure")
    _library("trimesh")


_PACKAGES = {"skimage": "scikit-image"}  # where the name is another


def _library(name: str) -> Any:
  """A module of the extra `mesh`; raises UserError where it is missing."""
  try:
    return importlib.import_module(name)
  except ImportError as error:
    package = name.partition(".")[0]
    package = _PACKAGES.get(package, package)
    raise UserError(f"meshes need {package}: pip install \".[mesh]\", or pip "
                    f"install {package}") from error


def _number(name: str, value: Any) -> float:
  if isinstance(value, bool) or not isinstance(value, (
      int, float, np.number)) or not math.isfinite(value):
    raise UserError(f"{name}: expected a finite number, got {value!r}")
  return float(value)


def _one(ws: chex.Array) -> np.ndarray:
  """One latent, [1, num_ws, w_dim]."""
  ws = np.asarray(ws)
  ws = ws[None] if ws.ndim == 2 else ws
  if ws.ndim != 3 or len(ws) != 1:
    raise UserError(f"ws: expected one latent, [num_ws, w_dim], got "
                    f"{list(ws.shape)}")
  return ws


def _colours(network: Network, ws: chex.Array,
             vertices: np.ndarray) -> np.ndarray:
  """The field's colour at vertices, [V, 3] uint8, as `image_raw` has it."""
  planes = frames.planes_of(network, _one(ws))
  parts = []
  for first in range(0, len(vertices), _VERTICES):
    chosen = np.minimum(np.arange(first, first + _VERTICES),
                        len(vertices) - 1)
    part = _colours_at(network, planes, vertices[None, chosen])
    parts.append(np.asarray(part)[:len(vertices) - first])
  return images.to_uint8(np.concatenate(parts) * 2 - 1)


@jax.jit
def _density(network: Network, planes: chex.Array, x: chex.Array,
             axis: chex.Array) -> jax.Array:
  return network(planes, x, axis, axis, method="density_grid")


@jax.jit
def _colours_at(network: Network, planes: chex.Array,
                points: chex.Array) -> jax.Array:
  rgb = network(planes, points, method="query").rgb
  return rgb[0, :, :network.module.config.img_channels]


def _statement(origin: Origin, kind: str = "mesh") -> List[str]:
  """What made a file, in sentences for its comments."""
  return [f"Synthetic {kind}, generated by {provenance.SOFTWARE}: task "
          f"{origin.task}, adapter {origin.adapter}, base {origin.base}.",
          provenance.SOURCE_TYPE,
          *(f"{key}: {value}" for key, value in origin.details)]
