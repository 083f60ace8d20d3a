"""A generator is bent to each photo by itself, and left alone when it fits."""

import pathlib
import signal
import tempfile

import chex
import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.config import PivotConfig
from my3dgen_jax.errors import Interrupted
from my3dgen_jax.jobs import devices
from my3dgen_jax.jobs.interrupts import StopRequest
from my3dgen_jax.losses.lpips import Lpips
from my3dgen_jax.training.photo_fits import Targets
from my3dgen_jax.training.pivotal import PivotalTuner
from my3dgen_jax.types import Network
from tests.support import classifiers, person

CONFIG = PivotConfig(
  steps=30, learning_rate=0.003, lpips_weight=0.0, stop_lpips=0.0
)


class PivotalTest(parameterized.TestCase):
  def tuner(self, config=CONFIG, num_devices=1, **changes):
    return PivotalTuner(
      config=config,
      generator=person.make(8).base,
      fingerprint="base",
      devices=devices.local_devices(num_devices),
      **changes,
    )

  def targets(self, count=2):
    made = person.make(8)
    return Targets(
      made.photos[:count], made.c[:count], None, ws=made.ws[:count]
    )

  def error(self, generator, i):
    made = person.make(8)
    image = person.render(generator, made.ws[i : i + 1], made.c[i : i + 1])
    return float(np.mean((np.asarray(image)[0] - made.photos[i]) ** 2))

  @parameterized.parameters("lora", "full")
  def test_each_photo_has_its_own(self, mode):
    tuner = self.tuner(
      PivotConfig(
        mode=mode,
        steps=30,
        learning_rate=0.003,
        lpips_weight=0.0,
        stop_lpips=0.0,
      )
    )
    found = tuner.find(self.targets(), ["a", "b"], StopRequest())
    base = person.make(8).base
    for i, bent in enumerate(found):
      self.assertEqual(bent.steps, 30)
      self.assertLess(
        self.error(tuner.bent(bent.trainable), i), 0.7 * self.error(base, i)
      )

  def test_stops_where_lpips_is_low(self):
    lpips = Network(classifiers.lpips_variables("alex"), Lpips("alex"))
    config = PivotConfig(steps=10, stop_lpips=1e6)
    tuner = self.tuner(config, lpips=lpips)
    (found,) = tuner.find(self.targets(1), ["a"], StopRequest())
    self.assertEqual(found.steps, 0)
    self.assertLess(found.lpips, 1e6)
    chex.assert_trees_all_equal(found.trainable, tuner._split[0])

  def test_goes_on_where_it_was_stopped(self):
    with tempfile.TemporaryDirectory() as folder:
      whole = self.tuner(num_devices=2).find(
        self.targets(), ["a", "b"], StopRequest()
      )
      stop, step = StopRequest(), PivotalTuner.step
      calls = []

      def stopping(self_, targets, state):
        calls.append(0)
        if len(calls) == 12:
          stop.signal = signal.SIGTERM
        return step(self_, targets, state)

      with absltest.mock.patch.object(PivotalTuner, "step", stopping):
        for interrupted in (True, False):
          tuner = self.tuner(num_devices=2, cache=pathlib.Path(folder))
          if interrupted:
            with self.assertRaisesRegex(Interrupted, "a, b at step 12 of 30"):
              tuner.find(self.targets(), ["a", "b"], stop)
          else:
            found = tuner.find(self.targets(), ["a", "b"], StopRequest())
      self.assertLen(calls, 30)
      for one, other in zip(whole, found):
        chex.assert_trees_all_equal(one.trainable, other.trainable)


if __name__ == "__main__":
  absltest.main()
