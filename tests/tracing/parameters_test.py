"""Shapes are traced once, and are each caller's own."""

from unittest import mock

import jax
import jax.numpy as jnp
from absl.testing import absltest

from my3dgen_jax.losses import identity
from my3dgen_jax.tracing import parameters


class TracedOnceTest(absltest.TestCase):
  def test_once_for_each_argument(self):
    calls = []

    @parameters.traced_once
    def shapes(size, other=None):
      calls.append(size)
      return {"params": {"x": jax.ShapeDtypeStruct((size,), jnp.float32)}}

    first = shapes(2)
    del first["params"]["x"]
    self.assertEqual(shapes(2)["params"]["x"].shape, (2,))
    self.assertEqual(shapes(size=3)["params"]["x"].shape, (3,))
    self.assertEqual(shapes(3, other=None)["params"]["x"].shape, (3,))
    self.assertEqual(calls, [2, 3])

  def test_a_network_that_takes_a_name(self):
    """Shapes belong to what a name stands for, not to the name."""
    name, other = "ir_se_small", "mobilefacenet"
    before = identity.abstract_variables(name)
    with mock.patch.dict(identity.NETWORKS, {name: identity.NETWORKS[other]}):
      found = identity.abstract_variables(name)
    self.assertEqual(found, identity.abstract_variables(other))
    self.assertNotEqual(found, before)
    self.assertEqual(identity.abstract_variables(name), before)


if __name__ == "__main__":
  absltest.main()
