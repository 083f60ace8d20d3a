"""The end of a synthesis layer: its gradient by hand against autodiff's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from my3dgen_jax.ops.bias_act import bias_act, scale_noise_bias_act
from tests.support import golden


def plain(x, scale, noise, strength, bias, clamp):
  x = x * scale[:, None, None, :].astype(x.dtype)
  if noise is not None:
    x = x + (strength[:, None, None, :] * noise[..., None]).astype(x.dtype)
  return bias_act(
    x + bias[:, None, None, :].astype(x.dtype), activation="lrelu", clamp=clamp
  )


@pytest.mark.numbers
class ScaleNoiseBiasActTest(parameterized.TestCase):
  @parameterized.product(noise=(None, (4, 6), (2, 4, 6)), clamp=(None, 1.5))
  def test_gradients(self, noise, clamp):
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)
    arguments = (
      draw(2, 4, 6, 5),
      draw(2, 5),
      None if noise is None else draw(*noise),
      np.full((2, 5), 0.7, np.float32),
      draw(2, 5),
    )
    weights = draw(2, 4, 6, 5)

    def run(function):
      return jax.jit(
        jax.value_and_grad(
          lambda arguments: jnp.sum(weights * function(*arguments, clamp))
        )
      )(arguments)

    value, mine = run(scale_noise_bias_act)
    expected, right = run(plain)
    self.assertLess(golden.relative_error(value, expected), 1e-6)
    self.assertEqual(jax.tree.structure(mine), jax.tree.structure(right))
    for one, other in zip(jax.tree.leaves(mine), jax.tree.leaves(right)):
      self.assertLess(
        np.abs(one - other).max(), 1e-5 * max(1, np.abs(other).max())
      )

  def test_dtypes(self):
    """Activations stay in 16 bits, what is summed over pixels does not."""
    x = jnp.ones((1, 4, 4, 3), jnp.bfloat16)
    arguments = (
      x,
      jnp.ones((1, 3)),
      jnp.ones((4, 4)),
      jnp.ones((1, 3)),
      jnp.ones((1, 3)),
    )
    result, pull_back = jax.vjp(
      lambda *arguments: scale_noise_bias_act(*arguments, None), *arguments
    )
    self.assertEqual(result.dtype, jnp.bfloat16)
    self.assertEqual(
      [leaf.dtype for leaf in pull_back(result)],
      [leaf.dtype for leaf in arguments],
    )


if __name__ == "__main__":
  absltest.main()
