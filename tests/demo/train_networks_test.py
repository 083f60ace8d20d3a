"""Training of the demo's judges: a few real steps."""

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
from my3dgen_jax.demo.judges import identity_task, quality, settings
from my3dgen_jax.losses import arcface, identity, lpips
from my3dgen_jax.training import checkpoint

TINY = identity.Network(
  "tiny",
  functools.partial(arcface.IrSe, channels=(4, 8), units=(1, 1), features=6),
  arcface.SIDE,
)
CONFIG = settings.NetworksConfig(
  people=2,
  photos=2,
  resolution=16,
  batch=4,
  identity_steps=2,
  feature_steps=2,
  test_people=2,
  test_kinds_people=1,
  test_photos=2,
  log_every=1,
  save_every=1,
)


class TrainTest(absltest.TestCase):
  def test_trains_goes_on_and_measures(self):
    self.enterContext(
      mock.patch.dict(identity.NETWORKS, {identity_task.IDENTITY: TINY})
    )
    self.enterContext(mock.patch.object(gallery, "_PART", 8))
    self.enterContext(mock.patch.object(quality, "_AT_ONCE", 4))
    # One size of photos compiles once.
    self.enterContext(mock.patch.object(settings, "_TEST_SUPERSAMPLING", 1))
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
    measured = train_networks.train(folder, CONFIG)
    self.assertEqual(checkpoint.steps(states), [1, 2])
    self.assertEqual((states / "00000001").stat().st_mtime_ns, first)
    judge = identity.load_identity(folder / "identity").variables
    start = TINY.module(train=True).init(
      jax.random.key(CONFIG.seed), jnp.zeros((1, 112, 112, 3))
    )
    moved = jax.tree.map(lambda x, y: np.abs(x - y).max(), start, judge)
    for collection in ("params", "batch_stats"):
      self.assertGreater(max(jax.tree.leaves(moved[collection])), 0)
    self.assertLen((folder / "metrics.jsonl").read_text().splitlines(), 4)
    self.assertEqual(
      json.loads((folder / "quality.json").read_text()), measured
    )
    self.assertEqual(set(measured["auc_kinds"]), set(people.MARKS))
    network = lpips.load_lpips(folder / "lpips")
    module, variables = network.module, network.variables
    self.assertEqual(module.backbone, "small")
    regressor = attributes.load_attributes(folder / "attributes")
    np.testing.assert_array_equal(
      variables["params"]["network"]["layer0"]["kernel"],
      regressor.variables["params"]["regressor"]["backbone"]["layer0"][
        "kernel"
      ],
    )
    np.testing.assert_array_equal(variables["params"]["lin2"], 0.25)

  def test_bad_settings(self):
    for changes, field in (
      ({"photos": 1}, "photos"),
      ({"identity_rate": 0.0}, "identity_rate"),
      ({"batch": 100}, "batch"),
      ({"resolution": 30}, "resolution"),
    ):
      with self.assertRaisesRegex(ConfigError, f"^{field}: "):
        train_networks.train("unused", dataclasses.replace(CONFIG, **changes))

  def test_photos_come_in_turn(self):
    config = dataclasses.replace(CONFIG, batch=4)
    turns = [
      np.concatenate(
        [train_networks._chosen(config, step, 9) for step in steps]
      )
      for steps in ((0, 1), (2, 3))
    ]
    for turn in turns:
      self.assertLen(set(turn), 8)
    self.assertFalse(np.array_equal(*turns))


if __name__ == "__main__":
  absltest.main()
