"""People as latents, and back."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from my3dgen_jax.demo import people, prior


class PriorTest(absltest.TestCase):
  def people(self, count=6):
    return jax.vmap(lambda key: people.sample_person(key, kinds=()))(
      jax.random.split(jax.random.key(0), count)
    )

  def test_true_latents_tell_who_it_is(self):
    person = self.people()
    z = prior.latents(jax.random.key(1), person)
    self.assertEqual(z.shape, (6, prior.MODEL.z_dim))
    # The length that mapping networks scale to: nothing is lost there.
    np.testing.assert_allclose(jnp.mean(z**2, axis=-1), 1, rtol=1e-5)
    again = prior.parameters_of(3 * z)
    np.testing.assert_allclose(again.identity, person.identity, atol=1e-5)
    np.testing.assert_allclose(again.photo, person.photo, atol=1e-5)

  def test_random_latents_are_random_people(self):
    z = jax.random.normal(jax.random.key(2), (2000, prior.MODEL.z_dim))
    found = np.asarray(prior.parameters_of(z).identity)
    np.testing.assert_allclose(found.mean(0), 0, atol=0.1)
    np.testing.assert_allclose(found.std(0), 1, atol=0.08)

  def test_extreme_people_still_fit(self):
    person = self.people(1)
    person = person.replace(identity=person.identity * 10)
    z = prior.latents(jax.random.key(1), person)
    self.assertTrue(np.isfinite(z).all())
    np.testing.assert_allclose(jnp.mean(z**2, axis=-1), 1, rtol=1e-5)


if __name__ == "__main__":
  absltest.main()
