"""Splats of a known ball, their files, and those of a small model."""

import os
import pathlib
import sys
import tempfile
from unittest import mock

import gaussforge
import numpy as np
import plyfile
from absl.testing import absltest, parameterized

from my3dgen_jax.apps.meshing.density import Volume
from my3dgen_jax.apps.rendering import scenes, views
from my3dgen_jax.apps.splats import files, fitting, heads, merging, targets
from my3dgen_jax.apps.splats import splats as app
from my3dgen_jax.data.provenance import Origin, SOURCE_TYPE
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import cameras
from my3dgen_jax.ops.rendering import rays
from my3dgen_jax.ops.rendering import splats as ops
from tests.support.persons import tiny_person

ORIGIN = Origin("me", "base", "splats", (("latent", "photo\n003 <b>"),))
SIDE = 32
RADIUS = 0.2


def seen(count, *, first=0):
  """Views of a ball of three colors before a green wall."""
  golden = np.arange(first, first + count) * 0.618
  c = np.asarray(
    cameras.pack_label(
      cameras.look_at(
        (golden % 1 - 0.5).astype(np.float32),
        (0.4 * ((golden * 7) % 1) - 0.2).astype(np.float32),
        (0.0, 0.0, 0.0),
        2.7,
      ),
      cameras.intrinsics_from_focal(4.2647),
    )
  )
  lines = rays.generate_rays(*cameras.unpack_label(c), SIDE)
  origins = np.asarray(lines.origins, np.float64)
  directions = np.asarray(lines.directions, np.float64)
  b = (origins * directions).sum(-1)
  inner = b**2 - (origins**2).sum(-1) + RADIUS**2
  hit = inner > 0
  depth = np.where(hit, -b - np.sqrt(np.maximum(inner, 0)), 3.2)
  points = origins + depth[..., None] * directions
  colors = np.where(
    hit[..., None], 0.5 + 0.4 * np.sin(points / RADIUS * 3), [0.0, 1.0, 0.0]
  )
  shape = (count, SIDE, SIDE)
  return views.Views(
    c,
    colors.reshape((*shape, 3)).astype(np.float32),
    depth.reshape((*shape, 1)).astype(np.float32),
  )


def ball_head():
  """The ball in a density with a wall behind."""
  x, y, z = np.meshgrid(*[np.linspace(-0.3, 0.3, 41)] * 3, indexing="ij")
  sigma = np.where(x**2 + y**2 + z**2 < RADIUS**2, 50.0, -50.0)
  sigma[z < -0.27] = 50
  return heads.find_head(
    Volume(np.pad(sigma, 1, constant_values=-1000.0), 0.6), 10.0
  )


class HeadTest(absltest.TestCase):
  def test_the_wall_is_not_the_head(self):
    head = ball_head()
    points = np.array(
      [[0, 0, 0], [0, 0.19, 0], [0, 0, -0.29], [0.25, 0, 0], [2, 0, 0]]
    )
    np.testing.assert_array_equal(
      head.holds(points), [True, True, False, False, False]
    )

  def test_nothing_is_all(self):
    empty = Volume(np.full((10, 10, 10), -1000.0), 0.6)
    self.assertTrue(heads.find_head(empty, 10.0).inside.all())


class FitTest(absltest.TestCase):
  def test_a_ball(self):
    """Merged from views, flat along it, and nearer after the fit."""
    head = ball_head()
    wanted = targets.targets_of(seen(10), head)
    outline = wanted.head.mean()
    self.assertAlmostEqual(
      outline, np.pi * (RADIUS * 4.2647 / 2.7) ** 2, delta=0.03
    )
    first, cell = merging.merge(wanted, 600)
    self.assertBetween(len(first.means), 200, 600)
    radii = np.linalg.norm(first.means, axis=-1)
    np.testing.assert_allclose(radii, RADIUS, atol=0.02)
    # The thin axis stands upright on the ball.
    axes = np.asarray(ops.rotations(first.quaternions))[..., 2]
    upright = np.abs((axes * first.means).sum(-1) / radii)
    self.assertGreater(np.median(upright), 0.97)
    others = targets.targets_of(seen(4, first=50), head)
    before = fitting.psnr(first, others).mean()
    losses = []
    with mock.patch.object(fitting, "_LONGEST", 64):
      made = fitting.fit(
        first, wanted, cell, 25, on_progress=lambda _, loss: losses.append(loss)
      )
    self.assertLen(losses, 25)
    after = fitting.psnr(made, others).mean()
    self.assertGreater(after, before + 1)
    self.assertGreater(after, 21)
    # Nothing green, and nothing where nothing is to be.
    _, empty = fitting.picture(made, others.c[0], SIDE)
    away = ~others.head[0] & others.sure[0]
    self.assertGreater(empty[away].mean(), 0.9)
    self.assertLess(empty[others.head[0] & others.sure[0]].mean(), 0.2)

  def test_the_background_stays_if_asked_for(self):
    wanted = targets.targets_of(seen(4), None)
    self.assertTrue(wanted.head.all() and wanted.sure.all())
    made, _ = merging.merge(wanted, 400)
    green = made.colors @ [-1, 1, -1] > 0.8
    self.assertGreater(green.sum(), 50)
    self.assertLess(made.means[green, 2].max(), -0.15)

  def test_nothing_to_see(self):
    wanted = targets.targets_of(seen(1), None)
    with self.assertRaisesRegex(UserError, "no surface of a head"):
      merging.merge(wanted._replace(head=np.zeros_like(wanted.head)), 100)


def some(count=5):
  rng = np.random.default_rng(0)
  draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)
  return ops.Splats(
    draw(count, 3), draw(count, 3), draw(count, 4), draw(count), draw(count, 3)
  )


class FilesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

  def read(self, path):
    """Comments, and columns by name, as the header says."""
    head, _, body = path.read_bytes().partition(b"end_header\n")
    lines = head.decode("ascii").splitlines()
    self.assertEqual(lines[:2], ["ply", "format binary_little_endian 1.0"])
    names = [line.split()[2] for line in lines if line.startswith("property")]
    self.assertTrue(
      all(line.split()[1] == "float" for line in lines if "property" in line)
    )
    (count,) = (
      int(line.split()[2]) for line in lines if line.startswith("element")
    )
    values = np.frombuffer(body, "<f4").reshape(count, len(names))
    return (
      [line for line in lines if line.startswith("comment")],
      dict(zip(names, values.T)),
    )

  def test_the_layout_of_3dgs(self):
    path, splats = self.folder / "head.ply", some()
    files.write_splats(path, splats, ORIGIN)
    comments, found = self.read(path)
    self.assertEqual(
      " ".join(found),
      "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 "
      "rot_0 rot_1 rot_2 rot_3",
    )
    columns = lambda *names: np.stack([found[name] for name in names], -1)
    np.testing.assert_array_equal(columns(*"xyz"), splats.means)
    np.testing.assert_allclose(
      0.5 + 0.28209479 * columns("f_dc_0", "f_dc_1", "f_dc_2"),
      splats.colors,
      atol=1e-6,
    )
    np.testing.assert_array_equal(found["opacity"], splats.logits)
    np.testing.assert_array_equal(
      columns("scale_0", "scale_1", "scale_2"), splats.log_scales
    )
    rotation = columns("rot_0", "rot_1", "rot_2", "rot_3")
    np.testing.assert_allclose(np.linalg.norm(rotation, axis=-1), 1, rtol=1e-6)
    np.testing.assert_allclose(
      rotation * np.linalg.norm(splats.quaternions, axis=-1)[:, None],
      splats.quaternions,
      rtol=1e-5,
    )
    text = "\n".join(comments)
    self.assertIn("comment Synthetic splats, generated by", text)
    self.assertIn(SOURCE_TYPE, text)
    self.assertIn(r"latent: photo\n003 <b>", text)
    self.assertIn("comment y is up", text)

  def test_other_readers(self):
    """plyfile, and gaussforge there and back."""
    splats = some(50)
    for name in ("head.ply", "head.spz"):
      files.write_splats(self.folder / name, splats, ORIGIN)
    read = plyfile.PlyData.read(str(self.folder / "head.ply"))["vertex"]
    self.assertEqual(read.data.dtype.names, files.FIELDS)
    np.testing.assert_array_equal(
      np.stack([read[name] for name in "xyz"], -1), splats.means
    )
    small = (self.folder / "head.spz").read_bytes()
    back = gaussforge.GaussForge().convert(small, "spz", "ply")["data"]
    path = self.folder / "back.ply"
    path.write_bytes(bytes(back))
    _, found = self.read(path)
    np.testing.assert_allclose(
      np.stack([found[name] for name in "xyz"], -1), splats.means, atol=2e-4
    )
    np.testing.assert_allclose(
      ops.rotations(np.stack([found[f"rot_{i}"] for i in range(4)], -1)),
      ops.rotations(splats.quaternions),
      atol=0.02,
    )

  def test_the_other_way_up(self):
    """Half a turn about z, of places and of ellipsoids."""
    path, splats = self.folder / "head.ply", some()
    files.write_splats(path, splats, ORIGIN, up="-y")
    comments, found = self.read(path)
    self.assertIn("comment -y is up", "\n".join(comments))
    turn = np.diag([-1.0, -1.0, 1.0])
    np.testing.assert_allclose(
      np.stack([found[name] for name in "xyz"], -1),
      splats.means @ turn,
      atol=1e-6,
    )
    rotation = np.stack([found[f"rot_{i}"] for i in range(4)], -1)
    np.testing.assert_allclose(
      ops.rotations(rotation),
      turn @ np.asarray(ops.rotations(splats.quaternions)),
      atol=1e-5,
    )

  def test_a_full_disk_leaves_nothing(self):
    with mock.patch("os.replace", side_effect=OSError(28, "No space")):
      with self.assertRaises(OSError):
        files.write_splats(self.folder / "head.ply", some(), ORIGIN)
    self.assertEmpty(os.listdir(self.folder))

  @parameterized.parameters(
    (dict(), "head.obj", "must end in .ply, .spz"),
    (dict(splats=10**9), "head.ply", "splats: expected .* <= 150000"),
    (dict(splats=5), "head.ply", "splats: expected a whole number >= 100"),
    (dict(steps=10**9), "head.ply", "steps: expected"),
    (dict(level=float("nan")), "head.ply", "level: expected a finite"),
    (dict(up="x"), "head.ply", "up: expected one of y, -y"),
    (dict(views=views.ViewsConfig(views=10**6)), "head.ply", "views: expected"),
    (dict(), "nowhere/head.ply", "nowhere: there is no such folder"),
  )
  def test_what_cannot_be_is_named(self, options, name, text):
    with self.assertRaisesRegex(UserError, text):
      app.write_latents(None, [], app.SplatsConfig(**options), name)

  def test_what_is_missing_is_said_first(self):
    with mock.patch.dict(sys.modules, {"gaussforge": None}):
      with self.assertRaisesRegex(
        UserError, r".spz needs gaussforge: pip inst"
      ):
        files.check_path("head.spz")
      files.check_path("head.ply")


class LatentsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.lines = []

  def test_a_latent_of_a_person(self):
    """All but the pictures and the fit, whose programs take long to compile."""
    one = tiny_person(3)
    config = app.SplatsConfig(
      splats=100, steps=1, background=True, views=views.ViewsConfig(views=4)
    )

    def take(network, ws, c, *, depth, **_):
      self.assertIs(network, one.generator)
      self.assertTrue(depth)
      self.assertLen(c, 4 + 8)
      return seen(len(c))

    def fit(splats, wanted, cell, steps, *, on_progress):
      self.assertLen(wanted.c, 4)  # none of those that judge
      self.assertEqual(steps, 1)
      on_progress(1, 0.5)
      return splats

    with (
      mock.patch.object(fitting, "_LONGEST", 16),
      mock.patch.object(fitting, "fit", fit),
      mock.patch.object(views, "take", take),
    ):
      app.write_latents(
        one,
        scenes.find(one, ["photo00"]),
        config,
        self.folder / "head.ply",
        log=self.lines.append,
      )
    self.assertRegex(self.lines[0], r"head.ply: \d+ splats, .* dB from 8")
    self.assertEqual(os.listdir(self.folder), ["head.ply"])

  def test_several(self):
    one = tiny_person(3)
    made = app.Made(some(), np.array([30.0]))
    with mock.patch.object(app, "make", return_value=made):
      paths = app.write_latents(
        one,
        scenes.find(one, ["photo00", "2"]),
        app.SplatsConfig(),
        self.folder / "head.ply",
        log=self.lines.append,
      )
    self.assertEqual(
      sorted(os.listdir(self.folder)), ["head_photo00.ply", "head_photo02.ply"]
    )
    self.assertLen(paths, 2)


if __name__ == "__main__":
  absltest.main()
