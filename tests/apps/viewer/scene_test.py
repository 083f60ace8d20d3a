"""Faces and pictures of a viewer."""

import dataclasses
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.apps import edit
from my3dgen_jax.apps.editing.config import EditConfig
from my3dgen_jax.apps.rendering import photo_latents, render
from my3dgen_jax.apps.viewer import scene
from my3dgen_jax.apps.viewer.scene import Choice
from my3dgen_jax.directions import Direction
from my3dgen_jax.errors import UserError
from tests.support import persons


class FacesTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.person = persons.tiny_person(4)
    cls.ws = np.asarray(cls.person.anchors.ws)
    cls.mean = scene.mean_of(cls.person)

  def latents(self, steps=None, sampled=None, person=None, **options):
    return scene.latents_of(
      person or self.person,
      Choice(**options),
      steps or {},
      mean=self.mean,
      sampled=sampled or {},
    )

  def test_a_photo_is_its_anchor(self):
    np.testing.assert_allclose(
      self.latents(start="a photo", first="photo02.png"), self.ws[2], atol=1e-6
    )

  def test_files_are_no_photos(self):
    """A browser may send any text; it must not read files here."""
    for options in (
      dict(start="a photo", first="one.npz"),
      dict(start="between two", first="photo00.png", second="one.npz"),
      dict(start="a mix", weights=(("one.npz", 1.0),)),
    ):
      with mock.patch.object(photo_latents, "_of_file") as read:
        with self.assertRaisesRegex(UserError, "no photo named 'one.npz'"):
          self.latents(**options)
      read.assert_not_called()

  def test_between_two(self):
    ws = self.latents(
      start="between two", first="photo00.png", second="photo01.png", way=0.25
    )
    np.testing.assert_allclose(
      ws, 0.75 * self.ws[0] + 0.25 * self.ws[1], atol=1e-5
    )

  def test_a_mix_is_barycentric(self):
    ws = self.latents(
      start="a mix",
      weights=(
        ("photo00.png", 1.0),
        ("photo01.png", 0.5),
        ("photo00.png", 0.5),
      ),
    )
    np.testing.assert_allclose(ws, (3 * self.ws[0] + self.ws[1]) / 4, atol=1e-5)
    with self.assertRaisesRegex(UserError, "at least one"):
      self.latents(start="a mix")
    np.testing.assert_allclose(scene.barycentric([0, 0, -1]), 1 / 3)

  def test_truncation_goes_to_the_mean_face(self):
    photo = dict(start="a photo", first="photo00.png")
    np.testing.assert_allclose(
      self.latents(truncation=0.0, **photo),
      np.repeat(self.mean[None], len(self.ws[0]), axis=0),
      atol=1e-6,
    )
    np.testing.assert_allclose(
      self.latents(truncation=0.5, **photo),
      (self.ws[0] + self.mean) / 2,
      atol=1e-6,
    )
    np.testing.assert_array_equal(
      self.latents(truncation=0.0, **photo), self.latents(start="the mean face")
    )

  def test_a_seed(self):
    w = np.arange(self.ws.shape[-1], dtype=np.float32)
    ws = self.latents(start="a seed", seed=7, sampled={7: w})
    np.testing.assert_allclose(ws, np.repeat(w[None], len(ws), axis=0))

  def test_sampled_w_is_that_of_the_render_command(self):
    generator = self.person.generator
    model = generator.module.config
    z = np.random.RandomState(5).randn(1, model.z_dim)
    front = render.view_labels(model.rendering, [0.0], [0.0])
    wanted = generator(z.astype(np.float32), front, method="mapping")
    np.testing.assert_allclose(
      scene.sampled_w(generator, 5), wanted[0, 0], rtol=1e-5, atol=1e-6
    )

  @parameterized.parameters(True, False)
  def test_edits_are_those_of_the_edit_command(self, within):
    vector = (
      np.random.default_rng(0)
      .standard_normal(self.ws.shape[-1])
      .astype(np.float32)
    )
    smile = Direction("smile", vector / np.linalg.norm(vector), spread=0.7)
    steps = scene.edit_steps(self.person, [smile], within=within)
    ws = self.latents(
      steps, start="a photo", first="photo01.png", edits=(("smile", 2.0),)
    )
    config = EditConfig(apply="alpha" if within else "w")
    (start,) = edit.find_starts(self.person, ["photo01.png"], config)
    wanted, _ = edit.edited_latents(
      self.person, start, smile, [2 * 0.7], apply=config.apply
    )
    np.testing.assert_allclose(ws, wanted[0], atol=1e-5)
    self.assertGreater(np.abs(ws - self.ws[1]).max(), 0.01)

  def test_a_bare_base_has_no_photos(self):
    bare = dataclasses.replace(self.person, anchors=None)
    self.assertEqual(list(scene.starts_of(bare)), ["the mean face", "a seed"])
    with self.assertRaisesRegex(UserError, "no photos"):
      self.latents(person=bare, start="a photo", first="photo00.png")
    steps = scene.edit_steps(
      bare, [Direction("x", np.ones(8, np.float32), spread=1.0)], within=True
    )
    np.testing.assert_allclose(steps["x"], 1.0)

  def test_description_tells_what_counts(self):
    self.assertEqual(
      scene.describe(
        Choice(
          start="a mix",
          first="unused.png",
          weights=(("a", 3.0), ("b", 1.0)),
          edits=(("smile", 1.0), ("age", 0.0)),
          truncation=0.5,
        )
      ),
      {
        "start": "a mix",
        "weights": "a 0.750, b 0.250",
        "truncation_psi": "0.500",
        "edit smile": "+1.00",
      },
    )


class PicturesTest(parameterized.TestCase):
  @parameterized.parameters((900, 600), (600, 900), (600, 600), (0, 0))
  def test_framed(self, width, height):
    picture = (
      np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    )
    frame = scene.framed(picture, width, height)
    longer = 32 * max(width, height, 1) // max(min(width, height), 1)
    self.assertEqual(sorted(frame.shape[:2]), [32, longer])
    top, left = ((extent - 32) // 2 for extent in frame.shape[:2])
    np.testing.assert_array_equal(
      frame[top : top + 32, left : left + 32], picture
    )
    self.assertEqual(frame.shape[1] >= frame.shape[0], width >= height)

  @parameterized.parameters((10**9, 1), (1, 10**9))
  def test_windows_that_are_none_need_little_memory(self, width, height):
    frame = scene.framed(np.zeros((32, 32, 3), np.uint8), width, height)
    self.assertEqual(sorted(frame.shape[:2]), [32, 8 * 32])

  def test_levels_get_coarser(self):
    levels = scene.levels_of(self.person_config())
    self.assertEqual(levels[0], (16, "image"))
    self.assertLen(set(levels), len(levels))
    self.assertEqual(levels[-1][1], "raw")

  def person_config(self):
    return persons.tiny_person(2).generator.module.config


if __name__ == "__main__":
  absltest.main()
