"""Photos are found in the hull, as they are and through degradations."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax import latents
from my3dgen_jax.config import HullFitConfig
from my3dgen_jax.jobs import devices
from my3dgen_jax.jobs.interrupts import StopRequest
from my3dgen_jax.ops.resize import resize_bilinear
from my3dgen_jax.training.hull_fit import Degradation, HullFit
from my3dgen_jax.training.photo_fits import Targets
from tests.support import person

CONFIG = HullFitConfig(
  space="w", steps=75, batch_size=2, lpips_weight=0.0, learning_rate=0.04
)


def smaller(images):
  return resize_bilinear(images, 16, 16)


class HullFitTest(parameterized.TestCase):
  def fit(self, targets, config=CONFIG, num_devices=1, **changes):
    made = person.make(8)
    hull = latents.Hull.of(made.ws[:6], config.beta)
    fit = HullFit(
      config=config,
      hull=hull,
      generator=made.true,
      fingerprint="true",
      devices=devices.local_devices(num_devices),
      **changes,
    )
    found = fit.find(targets, ["a", "b"], StopRequest())
    return hull, found

  def targets(self):
    """Two photos whose latents are in the hull, and those weights."""
    made = person.make(8)
    hull = latents.Hull.of(made.ws[:6])
    alpha = hull.sample(jax.random.key(3), 2)
    c = made.c[6:8]
    image = np.asarray(person.render(made.true, hull.latents(alpha), c))
    return Targets(image, c, None), image

  @parameterized.parameters("w", "w+")
  def test_finds_what_is_in_the_hull(self, space):
    targets, image = self.targets()
    hull, found = self.fit(targets, dataclasses.replace(CONFIG, space=space))
    np.testing.assert_allclose(found.alpha.sum(axis=1), 1, atol=1e-6)
    self.assertGreaterEqual(found.alpha.min(), -hull.beta - 1e-6)
    error = lambda ws: float(
      np.mean(
        (np.asarray(person.render(person.make(8).true, ws, targets.c)) - image)
        ** 2
      )
    )
    start = hull.latents(np.full((2, 6), 1 / 6))
    self.assertLess(error(found.latents(hull)), 0.2 * error(start))
    self.assertEqual(found.offsets is None, space == "w")

  def test_through_a_degradation(self):
    targets, image = self.targets()
    seen = targets.replace(image=np.asarray(smaller(image)))
    hull, found = self.fit(seen, degradation=Degradation("smaller", smaller))
    error = lambda ws: float(
      np.mean(
        (np.asarray(person.render(person.make(8).true, ws, targets.c)) - image)
        ** 2
      )
    )
    start = hull.latents(np.full((2, 6), 1 / 6))
    self.assertLess(error(found.latents(hull)), 0.5 * error(start))

  def test_devices_find_the_same(self):
    targets, _ = self.targets()
    config = dataclasses.replace(CONFIG, steps=20)
    _, one = self.fit(targets, config)
    _, two = self.fit(targets, config, num_devices=2)
    np.testing.assert_allclose(two.alpha, one.alpha, atol=1e-4)

  def test_what_is_masked_does_not_matter(self):
    targets, image = self.targets()
    mask = np.ones(image.shape[:3] + (1,), np.float32)
    mask[:, 20:40, 20:40] = 0
    config = dataclasses.replace(CONFIG, steps=20)
    _, one = self.fit(targets.replace(mask=mask), config)
    other = np.where(mask > 0, image, 0.9)
    _, two = self.fit(targets.replace(mask=mask, image=other), config)
    np.testing.assert_array_equal(one.alpha, two.alpha)


class DistanceTest(absltest.TestCase):
  def test_degradations_have_names_in_the_memory(self):
    made = person.make(8)
    fit = lambda degradation: HullFit(
      config=CONFIG,
      hull=latents.Hull.of(made.ws),
      generator=made.true,
      fingerprint="true",
      devices=devices.local_devices(1),
      degradation=degradation,
    ).description()
    self.assertNotEqual(fit(None), fit(Degradation("x", jnp.abs)))
    self.assertNotEqual(
      fit(Degradation("y", jnp.abs)), fit(Degradation("x", jnp.abs))
    )


if __name__ == "__main__":
  absltest.main()
