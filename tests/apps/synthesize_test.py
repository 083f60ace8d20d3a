"""New appearances: what a number decides, and folders that go on."""

import dataclasses
import json
import os
import pathlib
import signal
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from my3dgen_jax.apps import synthesize as app
from my3dgen_jax.apps.rendering import render
from my3dgen_jax.data import images, provenance
from my3dgen_jax.errors import Interrupted, UserError
from my3dgen_jax.jobs import interrupts
from my3dgen_jax.ops import cameras
from tests.support import albums, person
from tests.support.persons import tiny_person, with_identity

COUNT = 4
SMALL = app.SynthesizeConfig(count=5, batch_size=2, sheet=3)


class DrawTest(parameterized.TestCase):
  def test_inside_the_hull_and_the_ranges(self):
    one = tiny_person(COUNT)
    samples = app.draw(one, range(60), SMALL)
    self.assertEqual(samples.alpha.shape, (60, COUNT))
    np.testing.assert_allclose(samples.alpha.sum(axis=-1), 1, atol=1e-6)
    self.assertGreaterEqual(samples.alpha.min(), 0)
    self.assertEqual(set((samples.alpha > 0).sum(axis=1)), {3})
    np.testing.assert_allclose(
      one.hull(0.0).latents(samples.alpha), samples.ws, atol=1e-5
    )
    cameras.check_label(samples.c)
    # Cameras, from where they stand.
    rendering = person.MODEL.rendering
    ends = render.about_front(
      one.generator, samples.c[0], [0.35, 0.0], [0.0, 0.25]
    )
    place = lambda c: np.asarray(cameras.unpack_label(c)[0])[..., :3, 3]
    where = np.abs(place(samples.c))
    furthest = np.abs(place(ends))
    self.assertLess(where[:, 0].max(), furthest[0, 0] * 1.01)
    self.assertGreater(where[:, 0].max(), furthest[0, 0] * 0.8)
    self.assertLess(where[:, 1].max(), furthest[1, 1] * 1.01)
    self.assertGreater(where[:, 1].max(), furthest[1, 1] * 0.8)
    np.testing.assert_allclose(
      np.linalg.norm(place(samples.c), axis=-1),
      rendering.avg_camera_radius,
      rtol=1e-5,
    )

  def test_a_number_decides(self):
    one = tiny_person(COUNT)
    many = app.draw(one, range(20), SMALL)
    few = app.draw(one, [5, 17], SMALL)
    for a, b in zip(many, few):
      np.testing.assert_array_equal(a[[5, 17]], b)
    other = app.draw(one, [5, 17], dataclasses.replace(SMALL, seed=1))
    self.assertGreater(np.abs(other.ws - few.ws).max(), 0.01)
    self.assertGreater(np.abs(other.c - few.c).max(), 0.01)
    app.draw(one, [2**32 - 1], SMALL)


class WriteTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)

  def write(self, out="out", one=None, **changes):
    return app.write_samples(
      one or tiny_person(COUNT),
      dataclasses.replace(SMALL, **changes),
      self.folder / out,
      log=lambda line: None,
    )

  def picture(self, number, out="out"):
    with Image.open(self.folder / out / app.file_name(number)) as image:
      return np.asarray(image)

  def test_what_is_written(self):
    one = with_identity(
      tiny_person(COUNT), albums.make(self.folder / "album", count=2, size=64)
    )
    summary = self.write(one=one)
    out = self.folder / "out"
    names = [app.file_name(number) for number in range(5)]
    self.assertCountEqual(
      os.listdir(out), [*names, "samples.npz", "sheet.png", "summary.json"]
    )
    for name in [*names, "sheet.png"]:
      origin = provenance.read_origin(out / name)
      self.assertEqual(origin.task, "synthesize")
      self.assertIn(("seed", "0"), origin.details)
    self.assertIn(
      ("number", "4"), provenance.read_origin(out / "0004.png").details
    )
    # A picture is what its row of samples.npz says.
    with np.load(out / "samples.npz") as file:
      samples = app.Samples(*(file[name] for name in app.Samples._fields))
    np.testing.assert_array_equal(samples.numbers, range(5))
    image = np.asarray(
      render.synthesize(one.generator, samples.ws[3:4], samples.c[3:4]).image
    )[0]
    np.testing.assert_allclose(
      self.picture(3).astype(int), images.to_uint8(image).astype(int), atol=1
    )
    self.assertEqual(json.loads((out / "summary.json").read_text()), summary)
    self.assertLen(summary["id_sim"]["list"], 5)
    self.assertAlmostEqual(
      summary["id_sim"]["mean"], np.mean(summary["id_sim"]["list"])
    )
    with Image.open(out / "sheet.png") as sheet:
      self.assertEqual(sheet.size, (2 * 64, 2 * (64 + 20)))

  def test_same_pictures_however_they_are_asked_for(self):
    self.assertIsNone(self.write(count=6)["id_sim"])
    self.write("only", only=(5, 1, 5))
    self.assertCountEqual(
      (path.name for path in (self.folder / "only").glob("0*.png")),
      ["0001.png", "0005.png"],
    )
    self.write("batch", only=(1, 5), batch_size=3)
    self.write("devices", only=(1, 5), one=tiny_person(COUNT, devices=2))
    for number in (1, 5):
      wanted = self.picture(number)
      np.testing.assert_array_equal(self.picture(number, "only"), wanted)
      for out in ("batch", "devices"):
        # Other programs may round otherwise.
        np.testing.assert_allclose(
          self.picture(number, out).astype(int), wanted.astype(int), atol=1
        )
    for out in ("only", "batch", "devices"):
      with (
        np.load(self.folder / out / "samples.npz") as few,
        np.load(self.folder / "out" / "samples.npz") as many,
      ):
        for name in app.Samples._fields:
          np.testing.assert_array_equal(few[name], many[name][[1, 5]])

  def test_goes_on(self):
    self.write("whole", count=7)

    class Stop(interrupts.StopRequest):
      """Wants to stop after the third question."""

      asked = 0

      def raise_if_wanted(self, message):
        Stop.asked += 1
        if Stop.asked == 3:
          raise Interrupted(signal.SIGTERM, message)

    with mock.patch.object(interrupts, "StopRequest", Stop):
      with self.assertRaisesRegex(Interrupted, "after 3 of 7 pictures"):
        self.write(count=7)
    self.assertCountEqual(
      os.listdir(self.folder / "out"), ["0000.png", "0001.png", "0002.png"]
    )
    (self.folder / "out" / "0001.png").unlink()
    (self.folder / "out" / "notes.png").write_text("of the user's")
    asked = []
    real = render.synthesize_many

    def spy(network, ws, c, **options):
      asked.append(len(c))
      return real(network, ws, c, **options)

    with mock.patch.object(render, "synthesize_many", spy):
      summary = self.write(count=7)
      self.assertEqual(asked, [5])
      # All are there: none is made; fewer are asked for: none is lost.
      self.assertEqual(self.write(count=7), summary)
      self.assertEqual(self.write(only=(3,)), summary)
      self.assertEqual(asked, [5])
    for name in (
      *map(app.file_name, range(7)),
      "sheet.png",
      "samples.npz",
      "summary.json",
    ):
      self.assertEqual(
        (self.folder / "out" / name).read_bytes(),
        (self.folder / "whole" / name).read_bytes(),
        name,
      )

  @parameterized.parameters(
    (
      {"seed": 1},
      "was made with seed 0, now it is 1; use the same, "
      "or choose another --out",
    ),
    ({"mixed": 2}, "was made with mixed 3, now it is 2"),
    ({"yaw": 0.1}, "was made with yaw 0.35, now it is 0.1"),
  )
  def test_folder_of_other_settings(self, changes, pattern):
    self.write(count=2)
    with self.assertRaisesRegex(UserError, f"0000.png: {pattern}"):
      self.write(count=2, **changes)

  def test_folder_of_other_people(self):
    self.write(count=1)
    one = tiny_person(COUNT)
    other = dataclasses.replace(
      one, anchors=one.anchors.replace(ws=one.anchors.ws + 1)
    )
    with self.assertRaisesRegex(UserError, "0000.png: was made with hull"):
      self.write(count=1, one=other)
    for content in ("interpolate", None):
      path = self.folder / "out" / "0000.png"
      if content is None:
        Image.new("RGB", (4, 4)).save(path)
        pattern = "0000.png: does not say .*; remove it, or choose another"
      else:
        provenance.write_picture(
          path, np.zeros((4, 4, 3), np.uint8), one.made(content)
        )
        pattern = "0000.png: was made with task interpolate, now it is synth"
      with self.assertRaisesRegex(UserError, pattern):
        self.write(count=1)

  def test_bare_checkpoint(self):
    bare = dataclasses.replace(tiny_person(COUNT), anchors=None)
    with self.assertRaisesRegex(UserError, "bare checkpoint.*--run"):
      self.write(one=bare)
    self.assertFalse((self.folder / "out").exists())

  @parameterized.parameters(
    ({"count": 0}, "count: "),
    ({"only": (-1,)}, "only: "),
    ({"seed": -1}, "seed: "),
    ({"mixed": 0}, "mixed: "),
    ({"batch_size": 0}, "batch_size: "),
    ({"sheet": 0}, "sheet: "),
    ({"yaw": -0.1}, "yaw: expected radians in "),
    ({"pitch": float("inf")}, "pitch: "),
  )
  def test_bad_settings(self, changes, pattern):
    with self.assertRaisesRegex(UserError, pattern):
      self.write(**changes)
    self.assertFalse((self.folder / "out").exists())

  def test_large_pictures_are_small_in_the_sheet(self):
    self.write(count=10)
    for path in (self.folder / "out").glob("0*.png"):
      origin = provenance.read_origin(path)
      provenance.write_picture(path, np.zeros((512, 512, 3), np.uint8), origin)
    self.write(count=10, sheet=10)
    with Image.open(self.folder / "out" / "sheet.png") as sheet:
      self.assertEqual(sheet.size, (4 * 256, 3 * (256 + 36)))


if __name__ == "__main__":
  absltest.main()
