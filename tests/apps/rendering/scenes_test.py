"""What can be rendered: latents, ways, edits, comparisons."""

import contextlib
import dataclasses
import io
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax import directions
from my3dgen_jax.apps import edit, interpolate
from my3dgen_jax.apps.editing.config import EditConfig
from my3dgen_jax.apps.rendering import render, scenes
from my3dgen_jax.directions import Direction
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import cameras
from tests.support import person
from tests.support.persons import tiny_person

COUNT = 4
MODEL = person.MODEL
SMILE = Direction("a smile", np.eye(MODEL.w_dim, dtype=np.float32)[2])


class ScenesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.one = tiny_person(COUNT)

  def test_seeds(self):
    found = scenes.of_seeds(self.one, [3, 12], truncation_psi=0.5)
    self.assertEqual([one.name for one in found], ["seed0003", "seed0012"])
    front = render.view_labels(MODEL.rendering, [0.0], [0.0])
    expected = self.one.generator(
      render.latents_of_seeds([3, 12], MODEL.z_dim),
      front,
      truncation_psi=0.5,
      method="mapping",
    )
    for one, ws in zip(found, expected):
      np.testing.assert_allclose(one.ws, ws, atol=1e-6)
      np.testing.assert_array_equal(one.c, front[0])
    lens = scenes.of_seeds(self.one, [3], focal=3.0)[0].c
    self.assertEqual(lens[16], 3.0)

  def test_what_a_config_asks_for(self):
    wanted = scenes.ScenesConfig()
    found = scenes.find_scenes(self.one, wanted, frames=5)
    self.assertEqual(
      [scene.name for scene in found], [f"seed000{i}" for i in range(4)]
    )
    self.assertEqual(found[0].details["truncation_psi"], 0.7)
    latents = scenes.LatentsConfig(latents=("0", "1"))
    (scene,) = scenes.find_scenes(
      self.one,
      dataclasses.replace(wanted, latents=latents, between="linear"),
      frames=5,
    )
    self.assertEqual((scene.frames, scene.name), (5, "photo00_to_photo01"))
    self.assertNotIn("truncation_psi", scene.details)
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / "smile.npy"
      directions.save(path, SMILE)
      config = dataclasses.replace(
        wanted,
        latents=latents,
        direction=str(path),
        edit=EditConfig(strengths=(-1.0, 1.0), unit="w"),
      )
      for apply, expected in ((None, "alpha"), ("w", "w")):
        scene, _ = scenes.find_scenes(
          self.one, dataclasses.replace(config, apply=apply), frames=5
        )
        self.assertEqual(scene.details["apply"], expected)
        self.assertLen(scene.panels, 2)
      bare = dataclasses.replace(self.one, anchors=None)
      (scene,) = scenes.find_scenes(
        bare,
        dataclasses.replace(config, latents=scenes.LatentsConfig(seeds=(7,))),
        frames=5,
      )
      self.assertEqual(scene.details["apply"], "w")

  def test_photos(self):
    found = scenes.stills(self.one, scenes.find(self.one, ["photo02", "0"]))
    self.assertEqual([scene.name for scene in found], ["photo02", "photo00"])
    for scene, row in zip(found, (2, 0)):
      (panel,) = scene.panels
      np.testing.assert_array_equal(panel.ws, self.one.anchors.ws[row][None])
      np.testing.assert_array_equal(scene.c, self.one.anchors.c[row][None])
      self.assertIs(panel.generator, self.one.generator)
      self.assertEqual(scene.frames, 1)
    self.assertLen(scenes.find(self.one, ["all"]), COUNT)

  def test_what_was_bent_is_shown_bent(self):
    bent = tiny_person(COUNT).generator
    station = scenes.find(self.one, ["0"])[0]._replace(generator=bent)
    (scene,) = scenes.stills(self.one, [station])
    self.assertIs(scene.panels[0].generator, bent)
    error = io.StringIO()
    with contextlib.redirect_stderr(error):
      scene = scenes.way(
        self.one, [station, station], frames=2, spherical=False
      )
    self.assertIs(scene.panels[0].generator, self.one.generator)
    self.assertIn(
      "warning: photo00: is shown by the person's generator", error.getvalue()
    )

  @parameterized.parameters(False, True)
  def test_way(self, spherical):
    """That of `apps.interpolate`, from photo to photo."""
    names = ["0", "photo03", "1"]
    scene = scenes.way(
      self.one, scenes.find(self.one, names), frames=4, spherical=spherical
    )
    self.assertEqual(scene.name, "photo00_to_photo01")
    path = interpolate.find_path(
      self.one,
      interpolate.find_photo_latents(self.one, names),
      interpolate.InterpolateConfig(
        frames=4, spherical=spherical, camera="photos"
      ),
    )
    (panel,) = scene.panels
    np.testing.assert_array_equal(panel.ws, path.ws)
    np.testing.assert_array_equal(scene.c, path.c)
    self.assertEqual(scene.frames, 7)
    self.assertEqual(
      scene.details["between"], "spherical" if spherical else "straight"
    )

  @parameterized.parameters("alpha", "w")
  def test_edits(self, apply):
    """Those of `apps.edit`."""
    config = EditConfig(strengths=(-1.0, 0.0, 2.0), unit="w", apply=apply)
    starts = scenes.find(self.one, ["2", "3"])
    found = scenes.edits(self.one, starts, SMILE, config)
    self.assertEqual(
      [scene.name for scene in found], ["photo02_a_smile", "photo03_a_smile"]
    )
    for scene, start in zip(
      found, edit.find_starts(self.one, ["2", "3"], config)
    ):
      (row,) = scene.rows
      self.assertEqual([panel.title for panel in row], ["-1", "+0", "+2"])
      ws, _ = edit.edited_latents(
        self.one, start, SMILE, config.strengths, apply=apply
      )
      np.testing.assert_allclose(
        np.concatenate([panel.ws for panel in row]), ws, atol=1e-6
      )
      self.assertEqual(scene.frames, 1)
      np.testing.assert_array_equal(scene.c[0], start.c)

  def test_strengths_in_spreads(self):
    direction = dataclasses.replace(SMILE, spread=0.5)
    config = EditConfig(strengths=(2.0,), apply="w")
    (scene,) = scenes.edits(
      self.one, scenes.find(self.one, ["0"]), direction, config
    )
    change = scene.panels[0].ws[0] - self.one.anchors.ws[0]
    np.testing.assert_allclose(
      change, np.broadcast_to(SMILE.vector, change.shape), atol=1e-6
    )

  def test_seeds_can_be_edited(self):
    seeds = scenes.of_seeds(self.one, [1])
    lines = []
    config = EditConfig(strengths=(1.0,), unit="w")
    (scene,) = scenes.edits(self.one, seeds, SMILE, config, log=lines.append)
    self.assertEqual(scene.name, "seed0001_a_smile")
    self.assertIn("moved onto the hull", lines[0])
    bare = dataclasses.replace(self.one, anchors=None)
    with self.assertRaisesRegex(
      UserError, "a bare checkpoint or a lone adapter has no anchors"
    ):
      scenes.edits(bare, seeds, SMILE, config)

  def test_compared(self):
    base = person.make(COUNT).base
    (still,) = scenes.stills(self.one, scenes.find(self.one, ["1"]))
    both = scenes.compared(still, base)
    self.assertEqual(both.name, "photo01_compared")
    ((a, b),) = both.rows
    self.assertEqual((a.title, b.title), ("pretrained", "personalized"))
    self.assertIs(a.generator, base)
    self.assertIs(b.generator, self.one.generator)
    np.testing.assert_array_equal(a.ws, b.ws)
    np.testing.assert_array_equal(both.c, still.c)
    (strip,) = scenes.edits(
      self.one,
      scenes.find(self.one, ["1"]),
      SMILE,
      EditConfig(strengths=(0.0, 1.0), unit="w"),
    )
    rows = scenes.compared(strip, base).rows
    self.assertEqual(
      [[panel.title for panel in row] for row in rows],
      [
        ["pretrained +0", "pretrained +1"],
        ["personalized +0", "personalized +1"],
      ],
    )
    self.assertEqual([row[1].generator is base for row in rows], [True, False])

  def test_bad_names(self):
    with self.assertRaisesRegex(UserError, "latents: unknown photo 'x'"):
      scenes.find(self.one, ["x"])
    with self.assertRaisesRegex(UserError, "latents: 'photo00' appears twice"):
      scenes.find(self.one, ["0", "photo00.png"])
    with self.assertRaisesRegex(UserError, "latents: .*at least two, got 1"):
      scenes.way(
        self.one, scenes.find(self.one, ["0"]), frames=2, spherical=False
      )

  def test_files_of_invert(self):
    made = person.make(COUNT)
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / "new.npz"
      np.savez(path, ws=made.ws[1], c=made.c[1])
      (scene,) = scenes.stills(self.one, scenes.find(self.one, [str(path)]))
    self.assertEqual(scene.name, "new")
    np.testing.assert_array_equal(scene.panels[0].ws[0], made.ws[1])

  @parameterized.parameters("projected_w.npz", "0.npy")
  def test_files_of_projectors(self, name):
    made = person.make(COUNT)
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / name
      if name.endswith(".npz"):
        np.savez(path, w=made.ws[1][None])
      else:
        np.save(path, made.ws[1])
      (scene,) = scenes.stills(self.one, scenes.find(self.one, [str(path)]))
      np.testing.assert_array_equal(scene.panels[0].ws[0], made.ws[1])
      path.write_bytes(b"damaged")
      with self.assertRaisesRegex(UserError, f"^{path}: is damaged"):
        scenes.find(self.one, [str(path)])
      with self.assertRaisesRegex(UserError, "0.pt: is a PyTorch file; con"):
        scenes.find(self.one, [f"{folder}/0.pt"])
      with self.assertRaisesRegex(UserError, "no.npy: cannot be read: No such"):
        scenes.find(self.one, [f"{folder}/no.npy"])

  def test_cameras_are_the_front(self):
    front = np.asarray(cameras.label(0.0, 0.0, person.MODEL.rendering))
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / "0.npy"
      np.save(path, person.make(COUNT).ws[1])
      (found,) = scenes.find(self.one, [str(path)])
    np.testing.assert_array_equal(found.c, front)


if __name__ == "__main__":
  absltest.main()
