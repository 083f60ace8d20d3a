"""Photos of a person that lack something, and get it back."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import tempfile
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from my3dgen_jax.apps import enhance
from my3dgen_jax.apps.enhancement import masks, photos, tasks
from my3dgen_jax.apps.rendering import render
from my3dgen_jax.config import HullFitConfig
from my3dgen_jax.data import dataset_json, images, provenance
from my3dgen_jax.data.albums import open_album
from my3dgen_jax.errors import Interrupted, UserError
from my3dgen_jax.jobs import interrupts
from my3dgen_jax.ops import blending, degradations
from my3dgen_jax.training import hull_fit
from my3dgen_jax.training.anchors import Anchors
from my3dgen_jax.training.hull_fit import Degradation
from tests.support import albums, commands, person
from tests.support.persons import tiny_person, with_identity

SIDE = 64
HULL = HullFitConfig(
  space="w", steps=60, batch_size=2, lpips_weight=0.0, learning_rate=0.03
)
CONFIG = tasks.EnhanceConfig(hull=HULL)


def somebody():
  """A person with six anchors."""
  one = tiny_person(8)
  return dataclasses.replace(
    one,
    anchors=Anchors(
      one.anchors.names[:6], one.anchors.ws[:6], one.anchors.c[:6]
    ),
  )


def dimmed(x):
  return 0.5 * x - 0.5


def show(one, ws, c):
  """uint8 pictures, each by the program that the application uses."""
  return images.to_uint8(
    np.concatenate(
      [
        render.synthesize(one.generator, ws[i : i + 1], c[i : i + 1]).image
        for i in range(len(ws))
      ]
    )
  )


class Case(parameterized.TestCase):
  """Two photos that are in the hull."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    one, made = somebody(), person.make(8)
    hull = one.hull(0.0)
    cls.c = made.c[6:]
    cls.photos = show(
      one, hull.latents(hull.sample(jax.random.key(3), 2)), cls.c
    )

  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)
    self.out = self.folder / "out"

  def album(self, photos=None, masks=(), name="album"):
    photos = self.photos if photos is None else photos
    folder = self.folder / name
    folder.mkdir()
    for i, photo in enumerate(photos):
      images.write_png(folder / f"photo{i:02}.png", photo)
    for i, mask in enumerate(masks):
      images.write_png(
        folder / f"photo{i:02}_mask.png",
        np.where(mask, 255, 0).astype(np.uint8),
      )
    dataset_json.write(
      folder / "dataset.json", dict(zip(albums.names(len(photos)), self.c))
    )
    return open_album(folder, min_photos=1)

  def write(self, album, config=CONFIG, *, one=None, out=None, **options):
    return enhance.write_enhanced(
      one or somebody(),
      album,
      config,
      out or self.out,
      log=lambda line: None,
      **options,
    )

  def read(self, name, out=None):
    with Image.open((out or self.out) / name) as picture:
      return np.asarray(picture)


class EnhanceTest(Case):
  def assert_all_say_so(self, task):
    for path in self.out.glob("*.png"):
      origin = provenance.read_origin(path)
      self.assertEqual(origin.task, "enhance")
      self.assertEqual(dict(origin.details)["kind"], task)

  def test_inpainting(self):
    album = self.album()
    one = with_identity(somebody(), album.place)

    class StopAtOnce(interrupts.StopRequest):
      """A signal that came at the first step."""

      def __init__(self):
        super().__init__()
        self.signal = signal.SIGTERM

    with mock.patch.object(interrupts, "StopRequest", StopAtOnce):
      with self.assertRaisesRegex(Interrupted, "step 1 of 60; .* resumes"):
        self.write(album, one=one)
    self.assertEqual(os.listdir(self.out), ["unfinished"])

    summary = self.write(album, one=one)
    hole = masks.centre_hole(SIDE)
    for i, truth in enumerate(self.photos):
      result = self.read(f"photo{i:02}.png")
      np.testing.assert_array_equal(result[~hole], truth[~hole])
      seen = self.read(f"photo{i:02}_input.png")
      self.assertEqual(set(seen[hole].ravel()), {127})
      # Better than the mean of the anchors, put in as seamlessly.
      (mean,) = show(
        one, np.mean(one.anchors.ws, axis=0)[None], self.c[i : i + 1]
      )
      mean = blending.seamless(truth, mean, hole)
      error = lambda image: np.mean((image[hole] - truth[hole]) ** 2)
      self.assertLess(error(result.astype(float)), 0.5 * error(mean))
      with np.load(self.out / f"photo{i:02}.npz") as kept:
        self.assertEqual(kept["alpha"].shape, (6,))
        self.assertEqual(str(kept["base"]), one.origin.base)
        np.testing.assert_array_equal(kept["c"], self.c[i])
        np.testing.assert_array_equal(kept["mask"][..., 0], hole)
        (shown,) = show(one, kept["ws"][None], self.c[i : i + 1])
      np.testing.assert_array_equal(
        self.read(f"photo{i:02}_generated.png"), shown
      )
    self.assert_all_say_so("inpaint")
    self.assertEqual(self.read("sheet.png").shape[1], 4 * SIDE)
    self.assertEqual(
      json.loads((self.out / "summary.json").read_text()), summary
    )
    row = summary["photos"]["photo01.png"]
    self.assertCountEqual(row, ["psnr", "psnr_hole", "id_sim"])
    self.assertGreater(row["psnr"], row["psnr_hole"])
    self.assertGreater(row["id_sim"], 0.99)

    # What is known already is not looked for again.
    before = (self.out / "photo00.png").read_bytes()
    with mock.patch.object(
      hull_fit.HullFit, "step", side_effect=AssertionError("nothing to do")
    ):
      self.assertEqual(self.write(album, one=one), summary)
    self.assertEqual((self.out / "photo00.png").read_bytes(), before)

  def test_superresolution(self):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[12:52, 16:48] = True
    config = dataclasses.replace(CONFIG, task="superresolution", factor=8)
    path = self.folder / "mask.png"
    images.write_png(path, np.where(mask, 255, 0).astype(np.uint8))
    summary = self.write(self.album(), config, mask=path)
    small = []
    for i in range(2):
      result, seen = (
        self.read(f"photo{i:02}.png"),
        self.read(f"photo{i:02}_input.png"),
      )
      self.assertEqual(seen.shape, (8, 8, 3))
      small.append(seen)
      large = np.asarray(
        Image.fromarray(seen).resize((SIDE, SIDE), Image.LANCZOS)
      )
      difference = np.abs(result.astype(int) - large)[~mask]
      self.assertLess(difference.mean(), 2)
      truth = self.photos[i].astype(float)
      error = lambda image: np.mean((image - truth)[mask] ** 2)
      self.assertLess(error(result), error(large))
      self.assertLess(summary["photos"][f"photo{i:02}.png"]["grey_levels"], 1)
    self.assert_all_say_so("superresolution")

    # However small: a face of four pixels too.
    tiny = dataclasses.replace(
      config, factor=16, hull=dataclasses.replace(HULL, steps=2)
    )
    rows = self.write(self.album(name="twice"), tiny, out=self.folder / "tiny")
    self.assertLess(rows["mean"]["grey_levels"], 1)

    # The same small photos, from files: nothing new is to be found.
    album = self.album(small, name="small")
    config = dataclasses.replace(config, factor=None)
    whole = self.read("photo00.png")
    with mock.patch.object(
      hull_fit.HullFit, "step", side_effect=AssertionError("nothing to do")
    ):
      again = self.write(album, config, mask=path)
    np.testing.assert_array_equal(self.read("photo00.png"), whole)
    self.assertCountEqual(again["mean"], ["grey_levels"])
    self.assertEqual(self.read("sheet.png").shape[1], 3 * SIDE)

    # One of them, with its camera.
    camera = self.folder / "camera.json"
    camera.write_text(json.dumps(self.c[0].tolist()))
    place = self.folder / "small" / "photo00.png"
    for one in (photos.one_photo(place), photos.one_photo(place, camera)):
      np.testing.assert_array_equal(one.c[0], self.c[0])
      np.testing.assert_array_equal(images.to_uint8(one[0].image), small[0])

  def test_filled_borders_say_nothing(self):
    """A photo's own mask is no person's: black is not looked at."""
    mask = np.ones((SIDE, SIDE), bool)
    mask[:18] = False  # rows
    config = dataclasses.replace(
      CONFIG,
      task="color",
      everywhere=True,
      hull=dataclasses.replace(HULL, steps=3),
    )
    found = []
    for name, fill in (("black", 0), ("white", 255)):
      album = self.album(
        np.where(mask[..., None], self.photos, np.uint8(fill)),
        [mask, mask],
        name,
      )
      summary = self.write(album, config, out=self.folder / f"of_{name}")
      self.assertLess(summary["mean"]["grey_levels"], 2)
      found.append(self.read("photo01.png", self.folder / f"of_{name}"))
    np.testing.assert_array_equal(*found)

    # The person is where the segmenter says; smaller photos have smaller
    # masks, here without the first 4.5 rows.
    half = np.zeros((1, SIDE, SIDE, 1), np.float32)
    half[:, :, :32] = 1
    config = dataclasses.replace(
      config, task="superresolution", factor=4, everywhere=False, feather=0.0
    )
    with mock.patch.object(
      hull_fit.HullFit, "find", autospec=True, side_effect=hull_fit.HullFit.find
    ) as find:
      self.write(album, config, segment=lambda x: half)
    known = find.call_args.args[1].mask
    self.assertEqual(known.shape, (2, 16, 16, 1))
    for row, share in ((3, 0), (4, 0.5), (5, 1)):
      np.testing.assert_allclose(known[:, row], share, atol=1e-6)
    with np.load(self.out / "photo00.npz") as kept:
      np.testing.assert_array_equal(kept["mask"] > 0.5, half[0] > 0.5)

  def test_a_photo_and_the_mask_beside_it(self):
    """Also of a name without an extension."""
    path, place = self.folder / "portrait", self.folder / "portrait_mask.png"
    mask = np.ones((SIDE, SIDE), bool)
    mask[5:20, 40:60] = False
    images.write_png(path, self.photos[0])
    images.write_png(place, np.where(mask, 255, 0).astype(np.uint8))
    camera = self.folder / "camera.json"
    camera.write_text(json.dumps(self.c[0].tolist()))
    config = dataclasses.replace(
      CONFIG, hull=dataclasses.replace(HULL, steps=1)
    )
    album = photos.one_photo(path, camera)
    self.assertEqual(self.write(album, config)["mean"], {})
    result = self.read("portrait.png")
    np.testing.assert_array_equal(result[mask], self.photos[0][mask])
    self.assertTrue((result[~mask] != self.photos[0][~mask]).any())
    # The same mask by a flag: the photo may lack what is there, too.
    self.assertEqual(self.write(album, config, mask=place)["mean"], {})
    intact = self.write(
      album, dataclasses.replace(config, intact=True), mask=place
    )
    self.assertCountEqual(intact["mean"], ["psnr", "psnr_hole"])

  def test_a_grey_file(self):
    grey = self.photos[0][..., 0]
    images.write_png(self.folder / "old.png", grey)
    camera = self.folder / "camera.json"
    camera.write_text(json.dumps(self.c[0].tolist()))
    (item,) = photos.one_photo(self.folder / "old.png", camera)
    np.testing.assert_array_equal(
      images.to_uint8(item.image), np.repeat(grey[..., None], 3, axis=-1)
    )

  def test_a_degradation_of_ones_own(self):
    """With the person found by a function, and by none."""
    half = np.zeros((1, SIDE, SIDE, 1), np.float32)
    half[:, :, :32] = 1
    config = dataclasses.replace(CONFIG, intact=True)
    own = Degradation("dimmed", dimmed)
    summary = self.write(
      self.album(), config, degradation=own, segment=lambda x: half
    )
    self.assert_all_say_so("dimmed")
    self.assertLess(summary["photos"]["photo00.png"]["grey_levels"], 64)
    result, seen = self.read("photo00.png"), self.read("photo00_input.png")
    np.testing.assert_array_equal(result[:, 32:], seen[:, 32:])
    config = dataclasses.replace(config, everywhere=True)
    summary = self.write(
      open_album(self.folder / "album"), config, degradation=own
    )
    row = summary["photos"]["photo00.png"]
    self.assertLess(row["grey_levels"], 1)
    self.assertGreater(row["psnr"], 35)
    with self.assertRaisesRegex(UserError, r"seen: shrunk 16 .*\[16, 16, 3\]"):
      enhance.restore(
        somebody(),
        self.photos,
        self.c,
        tasks.degradation_of(
          dataclasses.replace(config, task="superresolution"), side=16
        ),
        config,
      )

  def test_gradients_reach_the_weights(self):
    """Through the generator and every degradation: finite differences."""
    one = somebody()
    hull = one.hull(0.0)
    c, way = self.c[:1], np.array([[1, -1, 0.5, -0.5, 0.3, -0.3]], np.float32)
    shown = lambda alpha: (
      render.synthesize(one.generator, hull.latents(alpha), c).image
    )
    pull = jax.jit(lambda alpha, up: jax.vjp(shown, alpha)[1](up)[0])
    alpha = hull.sample(jax.random.key(1), 1)
    for task in tasks.TASKS[1:]:
      with self.subTest(task):
        degradation = tasks.degradation_of(
          dataclasses.replace(CONFIG, task=task), side=16
        )
        image = shown(alpha)
        again, back = jax.vjp(degradation.apply, image)
        weights = (
          np.random.default_rng(0)
          .standard_normal(again.shape)
          .astype(np.float32)
        )
        value = lambda alpha: float(
          np.sum(
            np.asarray(degradation.apply(shown(alpha)), np.float64) * weights
          )
        )
        found = np.sum(np.asarray(pull(alpha, back(weights)[0])) * way)
        step = 2e-3
        expected = (value(alpha + step * way) - value(alpha - step * way)) / (
          2 * step
        )
        self.assertGreater(abs(expected), 1e-3)
        np.testing.assert_allclose(found, expected, rtol=0.03)


class BadInputTest(Case):
  """One line that names what is wrong, and nothing on disk."""

  def assert_refused(self, pattern, album, config=CONFIG, **options):
    with self.assertRaisesRegex(UserError, pattern) as caught:
      self.write(album, config, **options)
    self.assertNotIn("\n", str(caught.exception))
    self.assertFalse(self.out.exists())

  def test_masks(self):
    path = self.folder / "mask.png"
    album = self.album()
    images.write_png(path, np.zeros((SIDE, SIDE), np.uint8))
    self.assert_refused(
      "photo00.png: .*nothing of the photo.*white", album, mask=path
    )
    images.write_png(path, np.full((SIDE, SIDE), 255, np.uint8))
    self.assert_refused("nothing to fill", album, mask=path)
    images.write_png(path, np.full((9, 9), 255, np.uint8))
    self.assert_refused(
      r"mask.png: is 9x9, the photo is 64x64", album, mask=path
    )
    images.write_png(path, np.zeros((SIDE, SIDE, 3), np.uint8))
    self.assert_refused("mask.png: a mask must be gray", album, mask=path)
    path.write_bytes(b"no picture")
    self.assert_refused("mask.png: is damaged", album, mask=path)
    self.assert_refused("nowhere.png: ", album, mask="nowhere.png")

  def test_sizes(self):
    larger = dataclasses.replace(CONFIG, task="superresolution")
    small = self.album(np.zeros((2, 9, 9, 3), np.uint8), name="small")
    self.assert_refused("small: .*9 pixels.*inpaint needs", small)
    self.assert_refused(
      "factor needs photos", small, dataclasses.replace(larger, factor=2)
    )
    self.assert_refused(
      "intact photos must", small, dataclasses.replace(larger, intact=True)
    )
    large = self.album(np.zeros((2, 80, 80, 3), np.uint8), name="large")
    self.assert_refused("large: .*80 pixels.*images 64", large)
    self.assert_refused("album: .*or a factor", self.album(), larger)

  @parameterized.parameters(
    ({"factor": 0.5}, "factor: .*>= 1"),
    ({"task": "x"}, "task: "),
    ({"sigma": 0.0}, "sigma: "),
    ({"quality": 200.0}, "quality: "),
    ({"feather": -0.1}, "feather: "),
    ({"agreement_steps": -1}, "agreement_steps: "),
    ({"hull": dataclasses.replace(HULL, beta=2.0)}, "hull_beta: "),
  )
  def test_settings(self, changes, pattern):
    self.assert_refused(
      pattern, self.album(), dataclasses.replace(CONFIG, **changes)
    )

  def test_missing_parts(self):
    self.assert_refused(
      "no anchors.*--run",
      self.album(),
      one=dataclasses.replace(somebody(), anchors=None),
    )
    config = dataclasses.replace(
      CONFIG, hull=dataclasses.replace(HULL, lpips_weight=1.0)
    )
    self.assert_refused("--lpips", open_album(self.folder / "album"), config)
    shutil.copy(self.folder / "album" / "photo00.png", self.folder)
    with self.assertRaisesRegex(
      UserError, "photo00.png: has no camera: .*prepare"
    ):
      photos.one_photo(self.folder / "photo00.png")
    shutil.copy(self.folder / "photo00.png", self.folder / "album/other.png")
    with self.assertRaisesRegex(
      UserError, "dataset.json: has no camera for other.png"
    ):
      photos.one_photo(self.folder / "album" / "other.png")
    camera = self.folder / "camera.json"
    camera.write_text("[1, 2]")
    with self.assertRaisesRegex(UserError, "camera.json: .*25 numbers"):
      photos.one_photo(self.folder / "photo00.png", camera)

  def test_the_command_looks_for_the_run_when_it_has_the_photos(self):
    self.album()
    result = commands.run(
      "enhance", "--album=album", "--out=o", "--run=nowhere", cwd=self.folder
    )
    self.assertEqual(result.returncode, 1, result.stderr)
    self.assertRegex(result.stderr, r"\Aerror: [^\n]*nowhere[^\n]*\n\Z")
    self.assertFalse((self.folder / "o").exists())

  @parameterized.parameters(
    ([], 2, "--album, or one with --small"),
    (["--album=a", "--camera=c"], 2, "--camera goes with --small"),
    (["--album=a", "--out=o", "--factor=0.5"], 1, "factor: "),
    (["--album=nowhere", "--out=o"], 1, "nowhere: no such"),
  )
  def test_the_command_says_it_in_a_line(self, flags, code, text):
    result = commands.run("enhance", *flags, cwd=self.folder)
    self.assertEqual(result.returncode, code, result.stderr)
    self.assertRegex(result.stderr, r"\Aerror: [^\n]+\n\Z")
    self.assertIn(text, result.stderr)
    self.assertEqual(os.listdir(self.folder), [])


class PartsTest(parameterized.TestCase):
  def test_person_stands_before_the_background(self):
    depth = np.full((16, 16, 1), 3.0)
    depth += 0.05 * np.random.default_rng(0).standard_normal(depth.shape)
    depth[4:, 5:11] -= 0.4
    depth[0, 0] = np.inf
    mask = masks.by_depth(depth, 32)
    expected = np.zeros((32, 32), bool)
    expected[8:, 10:22] = True
    self.assertLess(np.mean(mask != expected), 0.01)
    self.assertFalse(masks.by_depth(np.full((4, 4, 1), np.inf), 8).any())
    self.assertTrue(masks.by_depth(np.full((4, 4, 1), 2.7), 8).all())

  def test_centre(self):
    hole = masks.centre_hole(100)
    self.assertEqual(hole.sum(), 40 * 40)
    self.assertTrue(hole[35, 30] and hole[74, 69])

  def test_grey_becomes_three_channels(self):
    seen = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    np.testing.assert_array_equal(
      photos.lanczos(seen, 4), np.repeat(seen, 3, axis=-1)
    )
    self.assertEqual(photos.lanczos(seen, 9).shape, (9, 9, 3))

  def test_what_tasks_undo_have_names_of_their_own(self):
    config = dataclasses.replace(CONFIG, task="deblur", sigma=2.0)
    other = dataclasses.replace(config, sigma=3.0)
    self.assertNotEqual(
      tasks.degradation_of(config, side=9).name,
      tasks.degradation_of(other, side=9).name,
    )
    with self.assertRaisesRegex(UserError, "inpaint"):
      tasks.degradation_of(CONFIG, side=9)
    self.assertIs(
      tasks.degradation_of(
        dataclasses.replace(config, task="color"), side=9
      ).apply,
      degradations.grey,
    )


if __name__ == "__main__":
  absltest.main()
