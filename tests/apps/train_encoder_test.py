"""An encoder is trained, stopped, resumed, used and refused."""

import contextlib
import dataclasses
import io
import pathlib
import shutil
import signal
import tempfile
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from my3dgen_jax.apps import train_encoder
from my3dgen_jax.apps.person import load_person
from my3dgen_jax.apps.personalization import settings
from my3dgen_jax.apps.personalize import personalize
from my3dgen_jax.config import ConfigError, TuningConfig
from my3dgen_jax.config.encoder import EncoderConfig, EncoderTrainingConfig
from my3dgen_jax.config.training import ProjectionConfig
from my3dgen_jax.errors import CheckpointError, Interrupted, UserError
from my3dgen_jax.jobs.interrupts import StopRequest
from my3dgen_jax.models import encoder_files
from my3dgen_jax.models.checkpoint import save_generator
from my3dgen_jax.storage import tensor_files
from my3dgen_jax.training.encoding import augmentation, looking, metric
from my3dgen_jax.training.encoding import samples as samples_lib
from tests.support import person

TRAINING = EncoderTrainingConfig(
  samples=64,
  steps=60,
  look_steps=6,
  batch_size=16,
  look_batch_size=8,
  learning_rate=0.01,
  augmentation=0.3,
  camera_error=1.0,
  metric_samples=32,
  held_out=16,
  lpips_weight=0.0,
  mse_weight=0.0,
  save_every=10,
  log_every=1,
  average=0.9,
)


class TrainEncoderTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    cls.folder = pathlib.Path(folder.name)
    cls.person = person.write(cls.folder / "person", latents=False, count=4)
    cls.base = cls.person / "base"
    # Weights as StyleGAN2 starts with them: W is as wide as it is meant to be.
    variables = person.make(4).base.variables
    mapping = variables["params"]["backbone"]["mapping"]
    wide = jax.tree.map(
      lambda leaf: leaf * (100 if leaf.ndim == 2 else 1), mapping
    )
    save_generator(
      cls.base,
      person.MODEL,
      {
        **variables,
        "params": {
          **variables["params"],
          "backbone": {**variables["params"]["backbone"], "mapping": wide},
        },
      },
      overwrite=True,
    )
    cls.said = io.StringIO()
    with contextlib.redirect_stdout(cls.said):
      cls.quality = cls.train()

  @classmethod
  def train(cls, out=None, resume=False, **changes):
    return train_encoder.train_encoder(
      train_encoder.TrainEncoderConfig(
        checkpoint=str(cls.base),
        out=out and str(cls.folder / out),
        training=dataclasses.replace(TRAINING, **changes),
      ),
      resume=resume,
    )

  @property
  def place(self):
    return encoder_files.place_beside(self.base)

  def test_learns(self):
    rows = self.quality["rows"]
    self.assertAlmostEqual(rows["mean of W"]["explained"], 0, delta=1e-5)
    self.assertGreater(rows["1 look"]["explained"], 0.15)
    self.assertGreater(rows["1 look"]["psnr"], rows["mean of W"]["psnr"])
    self.assertIsNone(rows["1 look"]["lpips"])
    self.assertIn("encoder: 66 of 66", self.said.getvalue())
    with Image.open(self.place / train_encoder.PICTURE_FILE) as picture:
      self.assertGreater(picture.height, 8 * 64)
    self.assertEqual(
      [path.name for path in (self.place / "samples").iterdir()], []
    )

  def test_stopped_and_resumed_is_the_same(self):
    requested = StopRequest.raise_if_wanted

    def stop_at(step):
      def raise_if_wanted(stop, message):
        if f"at step {step} of" in message:
          stop.signal = signal.SIGTERM
        requested(stop, message)

      return mock.patch.object(StopRequest, "raise_if_wanted", raise_if_wanted)

    for step in (13, 63):  # among the first steps, and among the others
      with stop_at(step), self.assertRaises(Interrupted):
        self.train("again", resume=True)
    self.assertEqual(self.train("again", resume=True), self.quality)
    whole, again = (
      (place / encoder_files.ENCODER_FILE).read_bytes()
      for place in (self.place, self.folder / "again")
    )
    self.assertEqual(whole, again)
    with self.assertRaisesRegex(UserError, "began with .*learning_rate"):
      self.train("again", resume=True, learning_rate=0.1)
    with self.assertRaisesRegex(UserError, "is not empty; --resume continues"):
      self.train("again")

  def test_pictures_and_w_plus(self):
    """All losses, and a row for each layer."""
    lpips = str(self.person / "lpips")
    config = train_encoder.TrainEncoderConfig(
      checkpoint=str(self.base),
      out=str(self.folder / "plus"),
      lpips=lpips,
      devices=1,
      training=dataclasses.replace(
        TRAINING,
        space="w+",
        samples=8,
        steps=1,
        look_steps=2,
        batch_size=2,
        look_batch_size=2,
        metric_samples=4,
        held_out=8,
        lpips_weight=1.0,
        mse_weight=1.0,
      ),
    )
    quality = train_encoder.train_encoder(config)
    self.assertGreater(quality["rows"]["1 look"]["lpips"], 0)
    text = (self.folder / "plus" / "metrics.jsonl").read_text()
    self.assertIn('"lpips": ', text)
    found = encoder_files.load_encoder(self.folder / "plus").network
    self.assertEqual(found.module.config.space, "w+")

  def test_anchors_at_a_look(self):
    """The encoder beside the base is found; its anchors need no step."""
    out = self.folder / "run"
    config = settings.PersonalizeConfig(
      checkpoint=str(self.base),
      album=str(self.person / "album"),
      out=str(out),
      lpips=str(self.person / "lpips"),
      test=1,
      devices=1,
      projection=ProjectionConfig(steps=0, batch_size=4),
      tuning=TuningConfig(mode="none"),
    )
    personalize(config)
    # Through what the command has read and written: the encoder's own answer.
    found = load_person(run=out)
    photos = found.photos_of("train")
    batch = photos.batch(range(len(photos)))
    expected = jax.jit(looking.encode)(
      found.encoder, found.generator, batch.image, batch.c
    )
    np.testing.assert_allclose(found.anchors.ws[:, :1], expected.ws, atol=1e-4)
    self.assertEqual(found.settings["projection"]["init"], "encoder")
    # A run goes on as it has begun, whatever lies beside the base by then.
    with self.assertRaisesRegex(UserError, "began with .*init"):
      personalize(
        dataclasses.replace(
          config, projection=ProjectionConfig(steps=2, init="mean")
        ),
        resume=True,
      )
    personalize(config, resume=True)

  def test_without_an_encoder(self):
    config = settings.PersonalizeConfig("base", "album", "out")
    plain = settings.with_encoder(
      dataclasses.replace(config, checkpoint=str(self.folder / "none")), None
    )
    self.assertIsNone(plain.projection.init)
    with self.assertRaisesRegex(ConfigError, "anchor_steps: expected"):
      settings.with_encoder(
        dataclasses.replace(
          config,
          checkpoint=str(self.folder / "none"),
          projection=ProjectionConfig(steps=0),
        ),
        None,
      )
    with self.assertRaisesRegex(CheckpointError, "no such file; expected"):
      settings.with_encoder(
        dataclasses.replace(config, encoder=str(self.folder / "nowhere")), None
      )
    begun = {"projection": {"steps": 500}}
    self.assertIsNone(
      settings.with_encoder(
        dataclasses.replace(config, checkpoint=str(self.base)), begun
      ).projection.init
    )

  def test_another_generators(self):
    other = self.folder / "other"
    if not other.exists():
      shutil.copytree(self.base, other)
      text = (other / "config.json").read_text()
      (other / "config.json").write_text(
        text.replace('"sha256": "', '"sha256": "0')
      )
      shutil.copytree(self.place, encoder_files.place_beside(other))
    config = settings.PersonalizeConfig(str(other), "album", "out")
    said = []
    with mock.patch.object(settings, "generator_digest", lambda _: "another"):
      found = settings.with_encoder(config, None, said.append)
      self.assertIsNone(found.encoder)
      self.assertIn("another generator; anchors start from the mean", said[0])
      with self.assertRaisesRegex(UserError, "trained for another generator"):
        settings.with_encoder(
          dataclasses.replace(
            config, projection=ProjectionConfig(init="encoder")
          ),
          None,
        )

  @parameterized.parameters(
    ("not a file", "cannot be read as an encoder"),
    ({"kind": "lpips"}, "is not an encoder"),
    ({"encoder": "{"}, "metadata is damaged"),
    ({"encoder": '{"rows": 0}'}, "metadata is damaged"),
    ({"sha256": "0"}, "damaged: not what was saved"),
    ({"less": "params/change/bias"}, "params/change/bias is missing"),
    ({"nan": "params/change/bias"}, "holds NaN"),
    ({"more": "params/other/bias"}, "params/other/bias is not part of it"),
    ({"shape": "params/change/bias"}, r"bias is float32 \[1\], expected \[8\]"),
  )
  def test_damaged(self, change, pattern):
    folder = self.folder / "damaged"
    folder.mkdir(exist_ok=True)
    path = folder / encoder_files.ENCODER_FILE
    if isinstance(change, str):
      path.write_text(change)
    else:
      with tensor_files.opened(self.place / path.name, "x") as file:
        metadata = {**file.metadata(), **change}
        arrays = {name: file.get_tensor(name) for name in file.keys()}
      arrays.pop(change.get("less"), None)
      if "nan" in change:
        arrays[change["nan"]] = arrays[change["nan"]] * np.nan
      for name in {"more", "shape"} & change.keys():
        arrays[change[name]] = np.zeros(1, np.float32)
      path.write_bytes(tensor_files.encode(arrays, metadata))
    with self.assertRaisesRegex(CheckpointError, pattern):
      encoder_files.load_encoder(folder)

  def test_metric_says_what_shows(self):
    """Directions that move pictures more count more, as measured."""
    generator = person.make(4).base
    found = metric.estimate(
      generator,
      dataclasses.replace(TRAINING, metric_samples=256, metric_share=1.0),
      1,
      jax.local_devices()[:1],
      StopRequest(),
    )
    strength = np.linalg.eigvalsh(found.factor[0] @ found.factor[0].T)
    vectors = np.linalg.eigh(found.factor[0] @ found.factor[0].T)[1]
    latents = samples_lib.draw_latents(
      generator, np.arange(16), config=TRAINING, rows=1
    )
    step = 0.02 * float(found.scale)
    image = jax.jit(samples_lib.rendered)
    before = image(generator, latents.ws, latents.c)
    shown = [
      float(
        np.mean(
          (
            image(generator, latents.ws + step * vectors[:, i], latents.c)
            - before
          )
          ** 2
        )
      )
      for i in (0, -1)
    ]
    self.assertGreater(strength[-1], 2 * strength[0])
    self.assertGreater(shown[1], 1.5 * shown[0])

  def test_augmentation(self):
    keys = jax.random.split(jax.random.key(0), 4)
    image = np.asarray(person.make(4).photos)[:, ::2, ::2]
    c = person.make(4).c
    config = dataclasses.replace(TRAINING, augmentation=1.0, camera_error=3.0)
    augmented = jax.jit(augmentation.augmented, static_argnums=3)
    change = lambda **changes: augmented(
      keys, image, c, dataclasses.replace(config, **changes)
    )
    plain = change(
      augmentation=0.0, camera_error=0.0, scale_error=0.0, shift_error=0.0
    )
    np.testing.assert_allclose(plain.image, image, atol=0.02)
    np.testing.assert_allclose(plain.c, c, atol=1e-5)
    np.testing.assert_array_equal(plain.mask, 1)
    found = change()
    self.assertGreater(float(np.abs(found.image - image).mean()), 0.02)
    self.assertLessEqual(float(np.abs(found.image).max()), 1)
    angle = np.degrees(
      np.arccos(
        np.einsum("ni,ni->n", found.c[:, [3, 7, 11]], c[:, [3, 7, 11]])
        / np.linalg.norm(c[:, [3, 7, 11]], axis=1) ** 2
      )
    )
    self.assertBetween(float(angle.mean()), 0.5, 8)

  def test_sizes(self):
    large = EncoderConfig.for_generator(
      dataclasses.replace(person.MODEL, w_dim=512)
    )
    self.assertEqual((large.resolution, large.features), (32, 1024))
    for field, value in (
      ("resolution", 48),
      ("channels", (1,)),
      ("rows", 0),
      ("features", 1.5),
    ):
      with self.assertRaisesRegex(ConfigError, f"encoder.{field}: expected"):
        dataclasses.replace(large, **{field: value}).validate()
    for field, value in (
      ("steps", 0),
      ("average", 1.0),
      ("truncation", 0.0),
      ("batch_size", 65),
      ("camera_error", -1.0),
    ):
      with self.assertRaisesRegex(ConfigError, f"{field}: expected"):
        dataclasses.replace(TRAINING, **{field: value}).validate()


if __name__ == "__main__":
  absltest.main()
