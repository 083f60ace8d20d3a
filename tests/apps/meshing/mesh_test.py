"""Surfaces of known fields, their files, and those of a small model."""

import dataclasses
import json
import os
import pathlib
import sys
import tempfile
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import mrcfile
import numpy as np
import trimesh
from absl.testing import absltest, parameterized

from my3dgen_jax.apps.meshing import density as density_lib
from my3dgen_jax.apps.meshing import files as mesh_files
from my3dgen_jax.apps.meshing import mesh as app
from my3dgen_jax.apps.meshing import surface
from my3dgen_jax.apps.rendering import scenes
from my3dgen_jax.config import preset, RenderConfig
from my3dgen_jax.data import images
from my3dgen_jax.data.provenance import Origin, SOURCE_TYPE
from my3dgen_jax.errors import UserError
from my3dgen_jax.types import Network, RadianceSample
from tests.support.persons import tiny_person
from tests.support.tiny import TINY

ORIGIN = Origin("me", "base", "mesh", (("latent", "photo\n003 é"),))
LATENT = np.zeros((2, 3), np.float32)


@dataclasses.dataclass(frozen=True)
class Balls:
  """In a generator's place: density of balls, colored by place.

  Attributes:
    balls: x, y, z, radius each.
    config: only the rendering counts.
  """

  balls: tuple[tuple[float, float, float, float], ...]
  config: Any = TINY

  def apply(self, variables: Any, *arguments: Any, method: str) -> Any:
    """As `flax.linen.Module.apply`."""
    del variables
    return getattr(self, method)(*arguments)

  def planes(self, ws):
    return jnp.zeros((len(ws), 1))

  def density_grid(self, planes, x, y, z):
    del planes
    return self.sigma(jnp.stack(jnp.meshgrid(x, y, z, indexing="ij"), -1))

  def query(self, planes, points):
    del planes
    return RadianceSample(sigma=self.sigma(points)[..., None], rgb=points + 0.5)

  def sigma(self, points):
    away = [
      radius - jnp.linalg.norm(points - jnp.array(centre), axis=-1)
      for *centre, radius in self.balls
    ]
    return 10 + 100 * jnp.max(jnp.stack(away), axis=0)


def balls(*which):
  return Network({}, Balls(which))


def opened(mesh):
  return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


class SurfaceTest(parameterized.TestCase):
  @parameterized.parameters(33, 40)
  def test_a_ball_is_where_it_is(self, resolution):
    """In world units and axes, for grids that blocks divide and do not."""
    centre, radius = np.array([0.05, -0.08, 0.1]), 0.13
    done = []
    with mock.patch.object(density_lib, "_POINTS", 3 * resolution**2):
      mesh = surface.extract_mesh(
        balls((*centre, radius)),
        LATENT,
        resolution=resolution,
        crop=0.6,
        on_progress=lambda *so_far: done.append(so_far),
      )
    away = np.linalg.norm(mesh.vertices - centre, axis=-1)
    # Linear between points of a grid this wide: step^2 / (8 radius).
    most = (0.6 / (resolution - 1)) ** 2 / (8 * radius)
    np.testing.assert_allclose(away, radius, atol=2 * most)
    self.assertEqual(mesh.vertices.dtype, np.float32)
    self.assertEqual(mesh.faces.dtype, np.int32)
    self.assertTrue(opened(mesh).is_watertight)
    self.assertAlmostEqual(
      opened(mesh).volume,
      4 / 3 * np.pi * radius**3,
      delta=0.03 * 4 / 3 * np.pi * radius**3,
    )
    np.testing.assert_array_equal(
      mesh.colors, images.to_uint8(2 * (mesh.vertices + 0.5) - 1)
    )
    self.assertEqual(done[-1], (resolution, resolution))
    self.assertEqual(
      [first for first, _ in done], sorted({first for first, _ in done})
    )

  def test_devices_share_the_work(self):
    where = (0.0, 0.0, 0.0, 0.2)
    several = jax.local_devices() * 3
    for one, other in zip(
      dataclasses.astuple(
        surface.extract_mesh(balls(where), LATENT, resolution=24)
      ),
      dataclasses.astuple(
        surface.extract_mesh(
          balls(where), LATENT[None], resolution=24, devices=several
        )
      ),
    ):
      np.testing.assert_array_equal(one, other)

  def test_the_largest_piece(self):
    small, large = (-0.15, 0, 0, 0.06), (0.12, 0, 0, 0.1)
    mesh = surface.extract_mesh(balls(small, large), LATENT, resolution=48)
    self.assertGreater(mesh.vertices[:, 0].min(), 0)
    both = surface.extract_mesh(
      balls(small, large), LATENT, resolution=48, largest_only=False
    )
    self.assertLess(both.vertices[:, 0].min(), -0.2)
    self.assertEqual(opened(both).body_count, 2)

  def test_what_the_cube_cuts_is_closed_and_does_not_count(self):
    """A slab behind a head is the larger one only where it is cut."""
    wall = (0.0, 0.0, -10.22, 10.0)
    head = (0.0, 0.0, 0.05, 0.16)
    both = surface.extract_mesh(
      balls(wall, head), LATENT, resolution=40, crop=0.5, largest_only=False
    )
    self.assertTrue(opened(both).is_watertight)
    np.testing.assert_allclose(
      opened(both).bounds,
      [[-0.25, -0.25, -0.25], [0.25, 0.25, 0.21]],
      atol=1e-3,
    )
    areas = {
      piece.centroid[2] < -0.1: piece.area for piece in opened(both).split()
    }
    self.assertGreater(areas[True], 1.2 * areas[False])
    mesh = surface.extract_mesh(
      balls(wall, head), LATENT, resolution=40, crop=0.5
    )
    np.testing.assert_allclose(opened(mesh).area, areas[False], rtol=1e-6)

  def test_default_cube_is_what_the_camera_sees(self):
    faces = RenderConfig(
      avg_camera_radius=2.7, avg_camera_pivot=(0.0, 0.0, 0.2)
    )
    self.assertAlmostEqual(density_lib.default_side(faces), 2.5 / 4.2647)
    self.assertEqual(
      density_lib.default_side(dataclasses.replace(faces, box_warp=0.3)), 0.3
    )
    cars = preset("shapenetcars128-64").rendering
    self.assertEqual(density_lib.default_side(cars), cars.box_warp)

  @parameterized.parameters(
    (
      dict(level=1e4),
      r"level: there is no surface at 10000; choose a density "
      r"between -\d",
    ),
    (dict(level=float("nan")), "level: expected a finite number"),
    (dict(resolution=7), "resolution: expected a whole number >= 8"),
    (dict(resolution=5000), "resolution: expected .* <= 1024"),
    (dict(crop=0.0), r"crop: expected world units in \(0, 1\]"),
    (dict(crop=1.5), "crop: "),
  )
  def test_what_cannot_be_is_named(self, options, text):
    with self.assertRaisesRegex(UserError, text):
      surface.extract_mesh(
        balls((0, 0, 0, 0.2)), LATENT, **{"resolution": 16, **options}
      )
    with self.assertRaisesRegex(UserError, "ws: expected one latent"):
      surface.extract_mesh(balls((0, 0, 0, 0.2)), np.zeros((2, 2, 3)))


class FilesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)
    self.network = balls((0.05, 0.1, -0.1, 0.1))

  def mesh(self):
    return surface.extract_mesh(self.network, LATENT, resolution=24)

  @parameterized.parameters(".ply", ".obj", ".glb", ".stl", ".PLY")
  def test_meshes_open_in_trimesh(self, suffix):
    path, mesh = self.folder / f"head{suffix}", self.mesh()
    mesh_files.write_mesh(path, mesh, ORIGIN)
    found = trimesh.load(
      path, force="mesh", process=suffix == ".stl", skip_materials=True
    )
    self.assertTrue(found.is_watertight)
    self.assertAlmostEqual(found.volume, opened(mesh).volume, places=6)
    self.assertEqual(os.listdir(self.folder), [path.name])
    if suffix == ".stl":  # which keeps each triangle's corners apart
      np.testing.assert_allclose(found.bounds, opened(mesh).bounds, atol=1e-6)
      return
    np.testing.assert_allclose(found.vertices, mesh.vertices, atol=1e-6)
    np.testing.assert_array_equal(found.faces, mesh.faces)
    if suffix == ".glb":
      share = mesh.colors / 255
      # Linear; trimesh rounds them to 8 bits.
      np.testing.assert_allclose(
        found.visual.vertex_colors[:, :3],
        255
        * np.where(
          share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4
        ),
        atol=1,
      )
    else:
      np.testing.assert_array_equal(
        found.visual.vertex_colors[:, :3], mesh.colors
      )

  @parameterized.parameters((".ply", b"comment "), (".obj", b"# "))
  def test_comments_say_what_made_it(self, suffix, mark):
    path = self.folder / f"head{suffix}"
    mesh_files.write_mesh(path, self.mesh(), ORIGIN)
    head = path.read_bytes()[:1000]
    for text in (
      b"Synthetic mesh, generated by my3dgen_jax",
      b"task mesh, adapter me, base base",
      SOURCE_TYPE.encode(),
      rb"latent: photo\n003 \xe9",
    ):
      self.assertIn(mark + text if b"task" not in text else text, head)

  def test_glb_says_what_made_it(self):
    path = self.folder / "head.glb"
    mesh_files.write_mesh(path, self.mesh(), ORIGIN)
    data = path.read_bytes()
    tree = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
    extras = tree["asset"]["extras"]
    self.assertEqual(extras["digitalSourceType"], SOURCE_TYPE)
    self.assertEqual(extras["details"], dict(ORIGIN.details))
    primitive = tree["meshes"][0]["primitives"][0]
    self.assertIn("NORMAL", primitive["attributes"])
    self.assertEqual(
      tree["accessors"][primitive["attributes"]["COLOR_0"]]["componentType"],
      5126,
    )
    material = tree["materials"][primitive["material"]]
    self.assertEqual(material["pbrMetallicRoughness"]["metallicFactor"], 0)

  def test_stl_says_what_made_it(self):
    path = self.folder / "head.stl"
    mesh_files.write_mesh(path, self.mesh(), ORIGIN)
    # A header that begins with "solid" would be that of a text file.
    self.assertStartsWith(path.read_bytes(), b"Synthetic mesh, generated by")

  def test_volumes_are_as_of_eg3d(self):
    """The array's axes are -x, y, z; emptiness all about."""
    path = self.folder / "head.mrc"
    density = density_lib.extract_volume(
      self.network, LATENT, resolution=20, crop=0.6
    )
    mesh_files.write_volume(path, density, ORIGIN)
    self.assertTrue(mrcfile.validate(path, print_file=open(os.devnull, "w")))
    with mrcfile.open(path) as found:
      self.assertEqual(found.data.dtype, np.float32)
      self.assertEqual(found.data.shape, (22, 22, 22))
      np.testing.assert_array_equal(found.data[::-1], density.sigma)
      i, j, k = np.unravel_index(np.argmax(found.data), found.data.shape)
      step = 0.6 / 19
      np.testing.assert_allclose(
        [0.3 - (i - 1) * step, (j - 1) * step - 0.3, (k - 1) * step - 0.3],
        [0.05, 0.1, -0.1],
        atol=step,
      )
      self.assertEqual(float(found.data[0].max()), -1000)
      labels = b"".join(found.header.label).decode()
    self.assertIn("Synthetic volume", labels)
    self.assertIn(SOURCE_TYPE, labels)

  @parameterized.parameters(
    ("head.fbx", None, "must end in .ply, .obj, .glb, .stl, .mrc"),
    ("head", None, "must end in"),
    ("head.ply", "skimage", "need scikit-image: pip install"),
    ("head.glb", "trimesh", r"need trimesh: pip install \"\.\[mesh\]\""),
    ("head.mrc", "mrcfile", "need mrcfile: pip install"),
  )
  def test_what_is_missing_is_said_first(self, name, package, text):
    missing = (
      {}
      if package is None
      else {key: None for key in sys.modules if key.split(".")[0] == package}
    )
    with mock.patch.dict(sys.modules, missing):
      with self.assertRaisesRegex(UserError, text):
        app.write_latents(None, [], app.MeshConfig(), self.folder / name)
    self.assertEmpty(os.listdir(self.folder))

  def test_a_full_disk_leaves_nothing(self):
    with mock.patch("os.replace", side_effect=OSError(28, "No space")):
      with self.assertRaises(OSError):
        mesh_files.write_mesh(self.folder / "head.ply", self.mesh(), ORIGIN)
    self.assertEmpty(os.listdir(self.folder))


class LatentsTest(parameterized.TestCase):
  def test_each_latent_of_a_person(self):
    one = tiny_person(3)
    found = scenes.find(one, ["photo00", "2"])
    lines = []
    with tempfile.TemporaryDirectory() as folder:
      out = pathlib.Path(folder) / "head.stl"
      config = app.MeshConfig(resolution=16, all_components=True)
      # A level that a model of random weights has.
      density = density_lib.extract_volume(
        one.generator, found[0].ws, resolution=16
      )
      config = dataclasses.replace(
        config, level=float(np.median(density.inner))
      )
      paths = app.write_latents(one, found, config, out, log=lines.append)
      self.assertEqual(
        sorted(os.listdir(folder)), ["head_photo00.stl", "head_photo02.stl"]
      )
      self.assertLen(paths, 2)
      self.assertIn("STL holds no colors", lines[0])
      mesh = trimesh.load(paths[0], force="mesh")
      self.assertTrue(mesh.is_watertight)
      paths = app.write_latents(
        one, found[:1], config, out.with_suffix(".mrc"), log=lines.append
      )
      self.assertEqual(paths, [out.with_suffix(".mrc")])
      self.assertIn("density from", lines[-1])
    with self.assertRaisesRegex(UserError, "nowhere: there is no such"):
      app.write_latents(one, found, config, "nowhere/head.ply")


if __name__ == "__main__":
  absltest.main()
