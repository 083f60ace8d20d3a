"""Measures the distance of meshes of demo people from their exact surfaces.

    python -m benchmarks.mesh_accuracy --runs=runs/people --people=0-4
    python -m benchmarks.mesh_accuracy --runs=runs/people --people=5-7 \\
        --levels=0,5,10,15,20,25,30

RUNS/person_N/lora are runs of `demo_people`. For training photos of each
person, the mesh of the photo's latent is compared with the procedural head in
the photo. The same cameras, over the range of the training photos, see both
surfaces; the visible parts are compared:

  to exact   from the mesh's visible points to the nearest of the exact surface
  to mesh    from the exact surface's visible points to the nearest of the mesh
  mean       of the two: the symmetric mean distance

in percent of the head's height, from chin to crown without hair. Points outside
the mesh's cube are not counted. The camera labels that latents were found with
have errors of 0.01 rad, as a user's would; the comparison does not use them.
With several --levels, each row is a level and each column a mean over all
people: choose the level on other people than those that you report.
"""

from typing import NamedTuple

import jax
import numpy as np
from scipy import spatial

from benchmarks import report
from my3dgen_jax.apps.meshing import density, surface
from my3dgen_jax.apps.person import load_person
from my3dgen_jax.apps.rendering import photo_latents
from my3dgen_jax.demo import album as demo_album
from my3dgen_jax.demo import heads, people, render
from my3dgen_jax.launch.support import cli
from my3dgen_jax.ops import cameras
from my3dgen_jax.ops.rendering import rays
from my3dgen_jax.storage.files import replacing

_RUNS = cli.string("runs", "runs/people", "Folder that demo_people wrote.")
_PEOPLE = cli.listing(
  "people", "0-4", "Numbers of the people: 0-4, or 1,5,8-10."
)
_PHOTOS = cli.listing(
  "photos", "0,10,20", "Numbers of each person's photos: 0-3, or 0,10,20."
)
_LEVELS = cli.listing(
  "levels", f"{surface.LEVEL:g}", "Raw densities at the surface to compare."
)
_RESOLUTION = cli.integer(
  "resolution", 256, "Grid points along a side, >= 16.", lower_bound=16
)
_VARIANT = cli.string("variant", "lora", "Name of each person's run.")
_CSV = cli.string(
  "csv", None, "CSV file to write all measurements to; default: none."
)
_WRITE = cli.boolean("write", False, "Write the table to BENCHMARKS.md.")

_SIDE = 192  # pixels along a side, one ray each, for the exact surface
_BUFFER = 128  # pixels along a side of the depth buffer for the mesh
_HIDDEN = 0.01  # points this much behind the first surface are hidden
_SAMPLES = 1_000_000  # points sampled evenly on a mesh
_MARGIN = 0.01  # distance from the cube's faces, which cut the surface
# Cameras of training photos, and all around.
_SEEN = [
  (yaw, pitch)
  for yaw in np.linspace(-0.5, 0.5, 5)
  for pitch in (-0.25, 0.0, 0.25)
]
_AROUND = [
  (yaw, pitch)
  for yaw in np.linspace(-np.pi, np.pi, 12, endpoint=False)
  for pitch in (-0.5, 0.5)
]


class Distances(NamedTuple):
  """Distances in percent of the head's height."""

  to_exact: float
  to_mesh: float
  mean: float
  worst: float  # the mean of both 95th percentiles

  @classmethod
  def of(
    cls, to_exact: np.ndarray, to_mesh: np.ndarray, height: float
  ) -> "Distances":
    """Converts distances in world units."""
    share = lambda value: float(100 * value / height)
    return cls(
      share(to_exact.mean()),
      share(to_mesh.mean()),
      share(to_exact.mean() + to_mesh.mean()) / 2,
      share(np.percentile(to_exact, 95) + np.percentile(to_mesh, 95)) / 2,
    )


def exact_points(
  person: people.Person, views: list[tuple[float, float]]
) -> np.ndarray:
  """Points [N, 3] of a person's surface that cameras see, without the wall."""
  yaw, pitch = np.array(views).T
  c = people.face_camera(yaw, pitch)
  many = jax.tree.map(lambda x: np.broadcast_to(x, (len(c), *x.shape)), person)
  seen = render.render(many, c, resolution=_SIDE, supersampling=1)
  lines = rays.generate_rays(*cameras.unpack_label(c), _SIDE)
  depth = np.asarray(seen.depth).reshape(len(c), -1, 1)
  points = lines.origins + depth * lines.directions
  return np.asarray(points)[np.asarray(seen.mask).reshape(len(c), -1) == 1]


def head_height(person: people.Person) -> float:
  """Distance from the chin's lowest point to the skull's top, world units."""
  f = heads.build(person)
  points = exact_points(person, [(0.0, 0.0)])
  skull = 0.095 + float(f.skull_height)
  chin = -0.166 - float(f.face_length) - 0.032
  assert points[:, 1].max() > skull - 0.01  # the picture shows the whole head
  return skull - chin


def mesh_points(mesh: surface.Mesh) -> np.ndarray:
  """Points [_SAMPLES, 3] sampled evenly on a mesh."""
  rng = np.random.default_rng(0)
  corners = mesh.vertices[mesh.faces]
  area = np.linalg.norm(
    np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]),
    axis=-1,
  )
  chosen = corners[rng.choice(len(area), _SAMPLES, p=area / area.sum())]
  return np.einsum("nk,nkd->nd", rng.dirichlet((1, 1, 1), _SAMPLES), chosen)


def visible(points: np.ndarray) -> np.ndarray:
  """Whether any camera sees each of a surface's points; [N] bool."""
  result = np.zeros(len(points), bool)
  for yaw, pitch in _SEEN:
    cam2world, intrinsics = map(
      np.asarray, cameras.unpack_label(people.face_camera(yaw, pitch))
    )
    local = (points - cam2world[:3, 3]) @ cam2world[:3, :3]
    place = local @ intrinsics.T
    pixel = np.floor(place[:, :2] / place[:, 2:] * _BUFFER).astype(int)
    inside = ((pixel >= 0) & (pixel < _BUFFER)).all(axis=-1)
    index = np.where(inside, pixel[:, 1] * _BUFFER + pixel[:, 0], 0)
    first = np.full(_BUFFER**2, np.inf)
    np.minimum.at(first, index[inside], local[inside, 2])
    result |= inside & (local[:, 2] < first[index] + _HIDDEN)
  return result


def measure(
  person: people.Person, volume: density.Volume, levels: list[float]
) -> dict[float, Distances]:
  """Compares surfaces at several levels with the exact one."""
  inside = lambda points: points[
    (np.abs(points) < volume.side / 2 - _MARGIN).all(axis=-1)
  ]
  seen = inside(exact_points(person, _SEEN))
  exact = spatial.cKDTree(np.concatenate([seen, exact_points(person, _AROUND)]))
  height = head_height(person)
  result = {}
  for level in levels:
    vertices, faces = surface.largest_piece(
      *surface.surface(volume, level), volume.side
    )
    points = mesh_points(surface.Mesh(vertices, faces, None))
    shown = inside(points[visible(points)])
    to_exact, _ = exact.query(shown[::4])
    to_mesh, _ = spatial.cKDTree(points).query(seen[::4])
    result[level] = Distances.of(to_exact, to_mesh, height)
  return result


def main():
  levels = cli.numbers("levels", _LEVELS.value, 1e4)
  numbers = cli.whole_numbers("people", _PEOPLE.value)
  chosen = [f"photo{n:03d}" for n in cli.whole_numbers("photos", _PHOTOS.value)]
  found: dict[tuple[int, str, float], Distances] = {}
  for number in numbers:
    one = load_person(run=f"{_RUNS.value}/person_{number}/{_VARIANT.value}")
    names, photos = demo_album.demo_photos(number)
    for name in chosen:
      row = names.index(name)
      volume = density.extract_volume(
        one.generator,
        photo_latents.look_up(one, name, flag="photos").ws,
        resolution=_RESOLUTION.value,
      )
      shown = jax.tree.map(lambda x, row=row: x[row], photos.person)
      for level, distances in measure(shown, volume, levels).items():
        found[number, name, level] = distances
        print(
          f"person {number}, {name}, level {level:g}: mean "
          f"{distances.mean:.2f} %",
          flush=True,
        )
  mean = lambda rows: [f"{np.mean(column):.2f}" for column in zip(*rows)]
  if len(levels) > 1:
    header = ["level"]
    rows = [
      [
        f"{level:g}",
        *mean(value for key, value in found.items() if key[2] == level),
      ]
      for level in levels
    ]
  else:
    header = ["person"]
    rows = [
      [
        str(number),
        *mean(value for key, value in found.items() if key[0] == number),
      ]
      for number in numbers
    ]
    rows.append(["all", *mean(found.values())])
  table = report.table([*header, "to exact", "to mesh", "mean", "95 %"], rows)
  body = (
    f"{report.machine()}. Photos {', '.join(chosen)} each, grid of "
    f"{_RESOLUTION.value}, percent of the head's height.\n\n{table}"
  )
  if _WRITE.value:
    report.write_section("Meshes against exact heads", body)
  else:
    print(body)
  if _CSV.value:
    with replacing(_CSV.value) as file:
      file.write(_as_csv(found).encode())


def _as_csv(found: dict[tuple[int, str, float], Distances]) -> str:
  rows = [
    ("person", "photo", "level", *Distances._fields),
    *((*key, *map("{:.4f}".format, value)) for key, value in found.items()),
  ]
  return "".join(",".join(map(str, row)) + "\n" for row in rows)


if __name__ == "__main__":
  cli.run(main)
