"""Training of the demo's judges: a few real steps, and how they are judged."""

import dataclasses
import functools
import json
import pathlib
import shutil
import tempfile
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from my3dgen_jax.config import ConfigError
from my3dgen_jax.demo import attributes, gallery, people, train_networks
from my3dgen_jax.losses import arcface, identity, lpips
from my3dgen_jax.training import checkpoint

TINY = identity.Network(
    "tiny", functools.partial(arcface.IrSe, channels=(4, 8), units=(1, 1),
                              features=6), arcface.SIDE)
CONFIG = train_networks.NetworksConfig(
    people=2, photos=2, resolution=16, batch=4, identity_steps=2,
    feature_steps=2, test_people=2, test_kinds_people=1, test_photos=2,
    log_every=1, save_every=1)


class TrainTest(absltest.TestCase):

  def test_trains_goes_on_and_measures(self):
    self.enterContext(mock.patch.dict(identity.NETWORKS,
                                      {train_networks.IDENTITY: TINY}))
    self.enterContext(mock.patch.object(gallery, "_PART", 8))
    self.enterContext(mock.patch.object(train_networks, "_AT_ONCE", 4))
    # One size of photos compiles once.
    self.enterContext(mock.patch.object(train_networks, "_TEST_SUPERSAMPLING",
                                        1))
    folder = pathlib.Path(tempfile.mkdtemp())
    self.addCleanup(shutil.rmtree, folder)
    save = checkpoint.save_state

    def save_and_die(*arguments):
      save(*arguments)
      raise KeyboardInterrupt

    with mock.patch.object(checkpoint, "save_state", save_and_die):
      with self.assertRaises(KeyboardInterrupt):
        train_networks.train(folder, CONFIG)
    states = folder / "state_identity"
    self.assertEqual(checkpoint.steps(states), [1])
    first = (states / "00000001").stat().st_mtime_ns
    quality = train_networks.train(folder, CONFIG)
    self.assertEqual(checkpoint.steps(states), [1, 2])
    self.assertEqual((states / "00000001").stat().st_mtime_ns, first)
    _, judge = identity.load_identity(folder / "identity")
    start = TINY.module(train=True).init(jax.random.key(CONFIG.seed),
                                         jnp.zeros((1, 112, 112, 3)))
    moved = jax.tree.map(lambda x, y: np.abs(x - y).max(), start, judge)
    for collection in ("params", "batch_stats"):
      self.assertGreater(max(jax.tree.leaves(moved[collection])), 0)
    self.assertLen((folder / "metrics.jsonl").read_text().splitlines(), 4)
    self.assertEqual(json.loads((folder / "quality.json").read_text()),
                     quality)
    self.assertEqual(set(quality["auc_kinds"]), set(people.MARKS))
    module, variables = lpips.load_lpips(folder / "lpips")
    self.assertEqual(module.backbone, "small")
    regressor = attributes.load_attributes(folder / "attributes")
    np.testing.assert_array_equal(
        variables["params"]["network"]["layer0"]["kernel"],
        regressor.variables["params"]["regressor"]["backbone"]["layer0"][
            "kernel"])
    np.testing.assert_array_equal(variables["params"]["lin2"], 0.25)

  def test_bad_settings(self):
    for changes, field in (({"photos": 1}, "photos"),
                           ({"identity_rate": 0.0}, "identity_rate"),
                           ({"batch": 100}, "batch"),
                           ({"resolution": 30}, "resolution")):
      with self.assertRaisesRegex(ConfigError, f"^{field}: "):
        train_networks.train("unused", dataclasses.replace(CONFIG, **changes))


class PartsTest(absltest.TestCase):

  def test_margin(self):
    angles = np.array([[0.5, 1.2, 2.0], [3.0, 1.0, 2.0]])
    labels = np.array([0, 0])
    for margin in (0.0, 0.3):
      loss = float(train_networks.margin_loss(
          jnp.cos(angles), labels, margin=margin, scale=8.0))
      moved = np.cos(angles)
      moved[0, 0] = np.cos(0.5 + margin)
      # 3.0 + 0.3 is beyond pi.
      moved[1, 0] -= margin * np.sin(margin)
      expected = np.log(np.exp(8 * moved).sum(-1)) - 8 * moved[:, 0]
      self.assertAlmostEqual(loss, expected.mean(), places=4)
    slope = jax.grad(lambda x: train_networks.margin_loss(
        x, labels, margin=0.3, scale=8.0))(jnp.ones((2, 3)))
    self.assertTrue(np.isfinite(slope).all())

  def test_targets(self):
    person = jax.vmap(lambda key: people.sample_person(key, ("scar",)))(
        jax.random.split(jax.random.key(0), 200))
    targets = np.asarray(train_networks.targets_of(person))
    self.assertEqual(targets.shape, (
        200, len(people.IDENTITY) + len(people.PHOTO) + len(people.MARKS)))
    np.testing.assert_array_equal(targets[:, 0], people.smile(person))
    np.testing.assert_array_equal(targets[:, 1], people.age(person))
    np.testing.assert_array_equal(targets[0, -6:], [0, 1, 0, 0, 0, 0])
    spread = targets[:, 2:-6].std(axis=0)
    self.assertGreater(spread.min(), 0.6)
    self.assertLess(spread.max(), 1.2)

  def test_augmented(self):
    images = np.full((3, 16, 16, 3), 64, np.uint8)
    images[:, 8:] = 192
    found = np.asarray(train_networks.augmented(jax.random.key(1), images))
    self.assertEqual(found.shape, images.shape)
    self.assertLessEqual(np.abs(found).max(), 1)
    # Rows stay rows, and neither half turns into the other.
    np.testing.assert_allclose(found, np.broadcast_to(
        found[:, :, :1], found.shape), atol=1e-6)
    self.assertGreater((found[:, -1] - found[:, 0]).min(), 0.5)
    self.assertGreater(np.abs(found[0] - found[1]).max(), 0.01)

  def test_photos_come_in_turn(self):
    config = dataclasses.replace(CONFIG, batch=4)
    turns = [np.concatenate([train_networks._chosen(config, step, 9)
                             for step in steps]) for steps in ((0, 1), (2, 3))]
    for turn in turns:
      self.assertLen(set(turn), 8)
    self.assertFalse(np.array_equal(*turns))


class QualityTest(absltest.TestCase):

  def test_area_under_curve(self):
    area = train_networks.area_under_curve
    self.assertEqual(area(np.array([2, 3]), np.array([0, 1, 1])), 1.0)
    self.assertEqual(area(np.array([1]), np.array([0, 1, 2, 1])), 0.5)
    self.assertAlmostEqual(area(np.array([1, 2]), np.array([1.5])), 0.5)

  def test_people_and_twins(self):
    """Embeddings that know people, and those that know marks, too."""
    plan = gallery.Plan(people=3, photos=2, seed=0)
    numbers = np.arange(plan.size)
    label, owner = numbers // 2, numbers // 4
    photos = gallery.Gallery(None, None, label, owner)
    for embeddings, twins in ((np.eye(3)[owner], 0.5),
                              (np.eye(6)[label], 1.0)):
      found = train_networks.identity_quality(embeddings, photos)
      self.assertEqual(found["auc_people"], 1)
      self.assertEqual(found["auc_twins"], twins)
      self.assertEqual(found["cosine_different"], 0)

  def test_kinds(self):
    label = np.repeat(np.arange(7), 2)
    photos = gallery.Gallery(None, None, label, np.zeros(14, int))
    # Sees no mark but moles.
    embeddings = np.eye(2)[(label == 1).astype(int)]
    found = train_networks.kinds_quality(embeddings, photos)
    self.assertEqual(found.pop("mole"), 1)
    self.assertEqual(set(found.values()), {0.5})


if __name__ == "__main__":
  absltest.main()
