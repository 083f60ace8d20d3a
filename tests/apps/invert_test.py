"""Photos become latents five ways, and folders that say what made them."""

import dataclasses
import json
import pathlib
import signal
import tempfile
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from my3dgen_jax import lora
from my3dgen_jax.apps import invert as app
from my3dgen_jax.config import (
  HullFitConfig,
  LoraConfig,
  PivotConfig,
  ProjectionConfig,
)
from my3dgen_jax.data import provenance
from my3dgen_jax.data.albums import open_album
from my3dgen_jax.errors import Interrupted, UserError
from my3dgen_jax.jobs import interrupts
from my3dgen_jax.losses.lpips import Lpips
from my3dgen_jax.training.encoding import looking
from my3dgen_jax.types import Network
from tests.support import classifiers, person
from tests.support.encoders import random_encoder
from tests.support.persons import tiny_person, with_identity

COUNT = 4
SMALL = app.InvertConfig(
  projection=ProjectionConfig(
    steps=6, batch_size=2, w_samples=100, learning_rate=0.05, mse_weight=1.0
  ),
  hull=HullFitConfig(steps=6, batch_size=2, learning_rate=0.02),
  pivot=PivotConfig(steps=4, learning_rate=0.003, stop_lpips=0.0),
  frames=2,
  video=".gif",
)


class InvertTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    place = person.write(
      pathlib.Path(folder.name) / "person", latents=False, count=COUNT
    )
    cls.place = place / "album"

  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.out = pathlib.Path(folder.name) / "out"
    self.album = open_album(self.place).subset([0, 1])
    self.person = with_identity(
      tiny_person(
        COUNT,
        lpips=Network(classifiers.lpips_variables("alex"), Lpips("alex")),
        lpips_digest="alex",
      ),
      self.place,
    )

  def write(self, config):
    return app.write_inversions(
      self.person, self.album, config, self.out, log=lambda line: None
    )

  @parameterized.parameters(*app.WAYS)
  def test_ways(self, way):
    # What an earlier command bent must not go with these latents.
    self.out.mkdir()
    (self.out / "photo00.safetensors").write_bytes(b"old")
    (self.out / "photo01_generator").mkdir()
    if way == "encoder":
      self.person = dataclasses.replace(
        self.person, find_encoder=lambda: random_encoder(person.MODEL)
      )
    summary = self.write(dataclasses.replace(SMALL, way=way))
    self.assertEqual(set(summary["mean"]), {"psnr", "lpips", "id_sim"})
    self.assertEqual(
      json.loads((self.out / "summary.json").read_text()), summary
    )
    made = set()
    for name in ("photo00", "photo01"):
      for suffix in (".png", "_depth.png", "_orbit.gif"):
        origin = provenance.read_origin(self.out / f"{name}{suffix}")
        made.add((origin.adapter, origin.task))
      with np.load(self.out / f"{name}.npz") as file:
        self.assertEqual(file["ws"].shape, (person.MODEL.num_ws, 8))
        self.assertEqual("alpha" in file.files, way == "hull")
      adapter = self.out / f"{name}.safetensors"
      self.assertEqual(adapter.exists(), way == "pivot")
    self.assertEqual(made, {("0123456789abcdef", "invert")})
    sheet = Image.open(self.out / "sheet.png")
    self.assertEqual(sheet.width, 5 * 64)
    if way == "pivot":
      loaded = lora.load(self.out / "photo00.safetensors", person.MODEL)
      self.assertEqual(loaded.config, LoraConfig(rank=1))
      self.assertEqual(
        json.loads(loaded.metadata["on_top_of"])["adapter"], "0123456789abcdef"
      )

  def test_goes_on(self):
    class Stop(interrupts.StopRequest):
      """Wants to stop while photos are drawn."""

      def raise_if_wanted(self, message):
        if "drawing" in message:
          raise Interrupted(signal.SIGTERM, message)

    config = dataclasses.replace(SMALL, way="hull")
    with mock.patch.object(interrupts, "StopRequest", Stop):
      with self.assertRaisesRegex(Interrupted, "the same command resumes"):
        self.write(config)
    with mock.patch.object(
      app.HullFit, "step", side_effect=AssertionError("not remembered")
    ):
      self.write(config)

  def test_steps_start_from_an_encoder(self):
    """In W and in the hull; the mean is another start, and is remembered so."""
    file = random_encoder(person.MODEL)
    encoder = file.network
    one = dataclasses.replace(self.person, find_encoder=lambda: file)
    batch = self.album.batch([0, 1])
    expected = np.asarray(
      jax.jit(looking.encode)(encoder, one.generator, batch.image, batch.c).ws
    )
    found = app.invert(
      one, self.album, dataclasses.replace(SMALL, way="encoder")
    )
    ws = np.stack([photo.ws for photo in found])
    np.testing.assert_allclose(ws[:, :1], expected, atol=1e-4)
    hull = one.hull(SMALL.hull.beta)
    self.assertGreater(np.ptp(np.asarray(hull.project(ws)), axis=0).max(), 0.01)
    slow = dataclasses.replace(
      SMALL,
      way="hull",
      hull=dataclasses.replace(SMALL.hull, steps=1, learning_rate=1e-6),
    )
    alpha = np.stack(
      [photo.alpha[0] for photo in app.invert(one, self.album, slow)]
    )
    # Weights at the hull's edge come a little inside, see `constrained`.
    np.testing.assert_allclose(alpha, hull.project(ws), atol=0.02)
    mean = app.invert(
      one,
      self.album,
      dataclasses.replace(
        slow, hull=dataclasses.replace(slow.hull, init="mean")
      ),
    )
    np.testing.assert_allclose(mean[0].alpha[0], 1 / COUNT, atol=2e-3)

  def test_what_is_missing(self):
    for pattern, changes in (
      ("--lpips", {"lpips": None}),
      ("--run", {"anchors": None}),
    ):
      with self.assertRaisesRegex(UserError, pattern):
        app.invert(
          dataclasses.replace(self.person, **changes),
          self.album,
          dataclasses.replace(SMALL, way="hull"),
        )
    with self.assertRaisesRegex(UserError, "no encoder for its base to w; "):
      app.invert(
        self.person, self.album, dataclasses.replace(SMALL, way="encoder")
      )
    with self.assertRaisesRegex(UserError, "^way"):
      app.invert(
        self.person, self.album, dataclasses.replace(SMALL, way="magic")
      )


if __name__ == "__main__":
  absltest.main()
