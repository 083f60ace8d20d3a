"""Textures: triangles on pixels, charts, baking of known balls, files."""

import dataclasses
import json
import pathlib
import sys
import tempfile
from unittest import mock

import numpy as np
import trimesh
from absl.testing import absltest, parameterized
from PIL import Image

from my3dgen_jax.apps.meshing import atlas, baking, files, surface
from my3dgen_jax.apps.meshing import mesh as app
from my3dgen_jax.apps.meshing.rasterize import cover
from my3dgen_jax.apps.meshing.textured_files import (
  companions,
  Textured,
  write_textured,
)
from my3dgen_jax.apps.rendering import scenes, views
from my3dgen_jax.config import RenderConfig
from my3dgen_jax.data.provenance import Origin, SOURCE_TYPE
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import cameras
from my3dgen_jax.ops.rendering import rays
from tests.support.persons import tiny_person

ORIGIN = Origin("me", "base", "mesh", (("latent", "photo\n003 <b>"),))
RENDERING = RenderConfig(avg_camera_radius=2.7)
SIDE = 96  # pixels of pictures of balls
RADIUS = 0.2


def ball(radius=RADIUS, centre=(0.0, 0.0, 0.0), subdivisions=4):
  made = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
  return (
    np.asarray(made.vertices + centre, np.float32),
    np.asarray(made.faces, np.int32),
  )


def color_of(points):
  """Of the large ball, [N, 3] in [0, 1]."""
  return 0.5 + 0.4 * np.sin(points / RADIUS * [3.0, 4.0, 5.0] + [0.0, 1.0, 2.0])


def lens():
  eye = np.eye(4, dtype=np.float32)
  return np.asarray(
    cameras.pack_label(eye, cameras.intrinsics_from_focal(4.2647))
  )


def pictures(config, balls):
  """What cameras see of balls [(centre, radius, color function)]."""
  c = views.spread(RENDERING, lens(), config)
  lines = rays.generate_rays(*cameras.unpack_label(c), SIDE)
  origins = np.asarray(lines.origins, np.float64)
  directions = np.asarray(lines.directions, np.float64)
  image = np.ones(directions.shape) * [0.0, 1.0, 0.0]  # green behind
  nearest = np.full(directions.shape[:2], np.inf)
  for centre, radius, color in balls:
    away = origins - centre
    b = (away * directions).sum(-1)
    inner = b**2 - (away**2).sum(-1) + radius**2
    far = np.where(inner > 0, -b - np.sqrt(np.maximum(inner, 0)), np.inf)
    hit = far < nearest
    nearest[hit] = far[hit]
    image[hit] = color((origins + far[..., None] * directions)[hit])
  return views.Views(c, image.reshape(len(c), SIDE, SIDE, 3).astype(np.float32))


class CoverTest(absltest.TestCase):
  def test_against_every_pixel(self):
    """The nearest triangle, and shares in space, at each pixel's centre."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(-5, 25, (30, 3, 2))
    depth = rng.uniform(1, 3, (30, 3))
    found = cover(corners, depth, (16, 20))
    for y, x in np.ndindex(16, 20):
      best, nearest = -1, np.inf
      for i, (a, b, c) in enumerate(corners):
        try:
          s, t = np.linalg.solve(
            np.stack([b - a, c - a], 1), [x + 0.5, y + 0.5] - a
          )
        except np.linalg.LinAlgError:
          continue
        shares = np.array([1 - s - t, s, t])
        z = 1 / (shares @ (1 / depth[i]))
        if shares.min() >= 0 and z < nearest:
          best, nearest, weights = i, z, shares / depth[i] * z
      self.assertEqual(found.face[y, x], best)
      if best >= 0:
        np.testing.assert_allclose(found.depth[y, x], nearest, rtol=1e-5)
        np.testing.assert_allclose(found.weights[y, x], weights, atol=1e-5)
      else:
        self.assertTrue(np.isinf(found.depth[y, x]))


class AtlasTest(absltest.TestCase):
  def test_a_ball_lies_flat(self):
    vertices, faces = ball()
    made = atlas.unwrap(vertices, faces, 256)
    self.assertBetween(made.uv.min(), 0, 1)
    self.assertBetween(made.uv.max(), 0, 1)
    np.testing.assert_allclose(
      np.sort(made.vertices[made.faces].reshape(-1, 9), axis=0),
      np.sort(vertices[faces].reshape(-1, 9), axis=0),
      atol=1e-6,
    )
    np.testing.assert_allclose(made.normals, made.vertices / RADIUS, atol=0.02)
    # No texel is covered twice: areas add up.
    texels = cover(made.uv[made.faces] * 256, None, (256, 256))
    corners = made.uv[made.faces].astype(np.float64)
    one, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.abs(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]).sum() / 2
    self.assertAlmostEqual((texels.face >= 0).mean(), area, delta=0.01)

  def test_simplified(self):
    vertices, faces = ball(subdivisions=5)
    few, triangles = atlas.simplify(vertices, faces, 1000)
    self.assertBetween(len(triangles), 900, 1000)
    np.testing.assert_allclose(np.linalg.norm(few, axis=-1), RADIUS, rtol=0.02)
    self.assertIs(atlas.simplify(few, triangles, 1000)[1], triangles)

  def test_normals_have_a_length(self):
    """Of a flap that is folded flat, and of what no triangle holds."""
    vertices = np.array(
      [[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5]], np.float32
    )
    faces = np.array([[0, 1, 2], [0, 2, 1]], np.int32)
    np.testing.assert_allclose(
      np.linalg.norm(surface.normals(vertices, faces), axis=-1), 1, rtol=1e-6
    )
    mesh = surface.Mesh(vertices, faces, np.zeros((4, 3), np.uint8))
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder, "a.glb")
      files.write_mesh(path, mesh, ORIGIN)
      data = path.read_bytes()
    # trimesh would compute its own.
    length = int.from_bytes(data[12:16], "little")
    tree = json.loads(data[20 : 20 + length])
    accessor = tree["meshes"][0]["primitives"][0]["attributes"]["NORMAL"]
    view = tree["bufferViews"][tree["accessors"][accessor]["bufferView"]]
    found = np.frombuffer(
      data, np.float32, 12, 28 + length + view.get("byteOffset", 0)
    )
    np.testing.assert_allclose(
      np.linalg.norm(found.reshape(4, 3), axis=-1), 1, rtol=1e-5
    )


class ViewsTest(absltest.TestCase):
  def test_cameras_fill_the_range(self):
    config = views.ViewsConfig()
    c = views.spread(RENDERING, lens(), config)
    self.assertLen(c, 60)
    other = views.between(RENDERING, lens(), config, 20)
    for labels in (c, other):
      eye = np.asarray(cameras.unpack_label(labels)[0])[:, :3, 3]
      np.testing.assert_allclose(np.linalg.norm(eye, axis=-1), 2.7, rtol=1e-5)
      yaw = np.arctan2(eye[:, 0], eye[:, 2])
      self.assertLess(np.abs(yaw).max(), 0.5 + 1e-5)
      self.assertGreater(np.ptp(yaw), 0.8)
      self.assertGreater(np.ptp(eye[:, 1]), 0.5)
    apart = np.linalg.norm(c[:, None, :16] - other[None, :, :16], axis=-1)
    self.assertGreater(apart.min(), 0.01)

  def test_as_many_as_asked_for(self):
    config = views.ViewsConfig(views=7)
    self.assertLen(views.spread(RENDERING, lens(), config), 8)
    still = views.ViewsConfig(views=5, view_yaw=0, view_pitch=0).validate()
    self.assertLen(np.unique(views.spread(RENDERING, lens(), still), axis=0), 1)


class BakingTest(absltest.TestCase):
  def test_a_ball_gets_its_colors(self):
    mesh = atlas.unwrap(*ball(), 256)
    seen = pictures(views.ViewsConfig(), [((0, 0, 0), RADIUS, color_of)])
    texture = baking.bake(mesh, seen, 256)
    texels = cover(mesh.uv[mesh.faces] * 256, None, (256, 256))
    inside = texels.face >= 0
    points = np.einsum(
      "nk,nkc->nc",
      texels.weights[inside],
      mesh.vertices[mesh.faces[texels.face[inside]]],
    )
    wrong = np.abs(texture[inside] / 255 - color_of(points))
    front = points[:, 2] > 0.25 * RADIUS
    self.assertLess(wrong[front].mean(), 0.01)
    self.assertLess(np.percentile(wrong[front], 99), 0.04)
    # The green behind it comes in nowhere, the back included: there colors go
    # on smoothly from the rim.
    self.assertLess(texture[inside][:, 1].max(), 240)
    # Between charts, too: every texel has the color of one inside.
    self.assertTrue(np.isin(texture[~inside], texture[inside]).all())

  def test_what_stands_before_is_not_painted_on(self):
    """A red ball hides some of the large one from some cameras."""
    red = lambda points: np.broadcast_to([1.0, 0.0, 0.0], points.shape)
    gray = lambda points: np.full(points.shape, 0.5)
    front = (0.0, 0.0, 0.3)
    vertices, faces = ball()
    small, others = ball(0.05, front)
    mesh = atlas.unwrap(
      np.concatenate([vertices, small]),
      np.concatenate([faces, others + len(vertices)]),
      128,
    )
    seen = pictures(
      views.ViewsConfig(views=30),
      [((0, 0, 0), RADIUS, gray), (front, 0.05, red)],
    )
    texture = baking.bake(mesh, seen, 128).astype(int)
    texels = cover(mesh.uv[mesh.faces] * 128, None, (128, 128))
    inside = texels.face >= 0
    place = mesh.vertices[mesh.faces[texels.face[inside]]].mean(axis=1)
    large = np.linalg.norm(place, axis=-1) < 0.22
    redness = (texture[inside] @ [1, -1, 0])[large & (place[:, 2] > 0)]
    self.assertLess(redness.max(), 30)
    self.assertGreater(
      (texture[inside] @ [1, -1, 0])[~large & (place[:, 2] > 0.32)].min(), 200
    )


class FilesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    mesh = atlas.unwrap(*ball(subdivisions=2), 64)
    rng = np.random.default_rng(0)
    self.made = Textured(mesh, rng.integers(0, 256, (64, 64, 3), np.uint8))

  @parameterized.parameters("head.glb", "head.obj", "a <b> \n né.obj")
  def test_they_open_in_trimesh(self, name):
    path = self.folder / name
    write_textured(path, self.made, ORIGIN)
    found = trimesh.load(path, force="mesh", process=False)
    mesh = self.made.mesh
    wanted = mesh.vertices[mesh.faces]
    np.testing.assert_allclose(found.vertices[found.faces], wanted, atol=1e-6)
    # Of trimesh, v goes up.
    np.testing.assert_allclose(
      found.visual.uv[found.faces] * [1, -1] + [0, 1],
      mesh.uv[mesh.faces],
      atol=1e-6,
    )
    material = found.visual.material
    image = getattr(material, "baseColorTexture", None) or material.image
    np.testing.assert_array_equal(
      np.asarray(image.convert("RGB")), self.made.texture
    )

  def test_glb_is_unlit_and_says_what_made_it(self):
    path = self.folder / "head.glb"
    write_textured(path, self.made, ORIGIN)
    data = path.read_bytes()
    tree = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
    self.assertEqual(tree["extensionsUsed"], ["KHR_materials_unlit"])
    self.assertIn("KHR_materials_unlit", tree["materials"][0]["extensions"])
    self.assertEqual(tree["asset"]["extras"]["digitalSourceType"], SOURCE_TYPE)
    self.assertEqual(tree["images"][0]["mimeType"], "image/png")

  def test_files_beside_an_obj(self):
    path = self.folder / "my <i>head</i>.obj".replace("/", "")
    write_textured(path, self.made, ORIGIN)
    material, picture = companions(path)
    self.assertEqual(material.name, "my_i_head_i.mtl")
    self.assertIn(f"map_Kd {picture.name}\n", material.read_text())
    self.assertIn(f"mtllib {material.name}\n", path.read_text())
    for one in (path, material):
      self.assertIn("# Synthetic mesh, generated by", one.read_text())
      self.assertIn(r"# latent: photo\n003 <b>", one.read_text())
    self.assertIn("trainedAlgorithmicMedia", str(Image.open(picture).info))

  @parameterized.parameters(
    (dict(texture=2048), "head.ply", "texture: not supported for .ply"),
    (dict(texture=2048), "head.stl", "write .glb or .obj, or leave it out"),
    (dict(texture=2048), "head.mrc", "texture: not supported for .mrc"),
    (dict(texture=10**9), "head.glb", "texture: expected .* <= 8192"),
    (dict(texture=8), "head.glb", "texture: expected a whole number >= 64"),
    (dict(triangles=10**9), "head.glb", "triangles: expected .* <= 500000"),
    (dict(views=views.ViewsConfig(views=2)), "head.glb", "views: expected"),
    (
      dict(views=views.ViewsConfig(view_yaw=4.0)),
      "head.glb",
      "view_yaw: expected radians",
    ),
  )
  def test_what_cannot_be_is_named(self, options, name, text):
    with self.assertRaisesRegex(UserError, text):
      app.write_latents(None, [], app.MeshConfig(**options), self.folder / name)

  @parameterized.parameters(
    ("xatlas", "need xatlas: pip install"),
    ("fast_simplification", "need fast-simplification: pip install"),
  )
  def test_what_is_missing_is_said_first(self, package, text):
    config = app.MeshConfig(texture=64)
    with mock.patch.dict(sys.modules, {package: None}):
      with self.assertRaisesRegex(UserError, text):
        config.check_path("head.glb")
      dataclasses.replace(config, texture=0).check_path("head.glb")


class LatentsTest(absltest.TestCase):
  def test_a_latent_of_a_person(self):
    one = tiny_person(3)
    found = scenes.find(one, ["photo00"])
    config = app.MeshConfig(
      resolution=12,
      all_components=True,
      texture=64,
      triangles=100,
      level=0.0,
      views=views.ViewsConfig(views=4),
    )
    lines = []
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder, "head.glb")
      app.write_latents(one, found, config, path, log=lines.append)
      made = trimesh.load(path, force="mesh")
      self.assertEqual(made.visual.material.baseColorTexture.size, (64, 64))
    self.assertIn("triangles, a texture of 64", lines[0])


if __name__ == "__main__":
  absltest.main()
