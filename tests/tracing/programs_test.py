"""What is called outside of `jax.jit` compiles few programs."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax import cameras, lora, LoraConfig
from my3dgen_jax.config import TuningConfig
from my3dgen_jax.ops import upfirdn2d
from my3dgen_jax.tracing.programs import one_program
from my3dgen_jax.training import state as state_lib
from tests.support import programs
from tests.support.tiny import random_variables, TINY

CONFIG = LoraConfig(rank=2, alpha=3.0)


def adapter():
  return jax.tree.map(
    lambda leaf: np.asarray(leaf) + np.float32(0.1),
    lora.init(jax.random.key(0), TINY, CONFIG),
  )


def same_numbers(tree):
  return jax.tree.map(np.asarray, tree)


class OneProgramTest(parameterized.TestCase):
  def test_changes_nothing_inside_jit(self):
    plain = lambda x: jnp.sin(x) + 1
    trace = lambda f: str(jax.make_jaxpr(lambda x: f(x) * 2)(1.0))
    self.assertEqual(trace(one_program()(plain)), trace(plain))
    self.assertNotIn("jit", trace(plain))

  @parameterized.named_parameters(
    # Both products and sums, one program each.
    ("merge", 2, lambda base, tree: lora.merge_into_params(base, tree, CONFIG)),
    (
      "relative_change",
      1,
      lambda base, tree: lora.relative_change(base["params"], tree, CONFIG),
    ),
    (
      "interpolate",
      1,
      lambda base, tree: lora.interpolate((tree, CONFIG), (tree, CONFIG), 0.25)[
        0
      ],
    ),
    ("stack", 0, lambda base, tree: lora.stack([tree, tree])),
    # The vector's moments and counters are a few more.
    (
      "state",
      4,
      lambda base, tree: state_lib.unravelled(
        state_lib.init_state(tree, TuningConfig()), tree
      ),
    ),
    # Each function, and the conversion of a number.
    (
      "label",
      5,
      lambda base, tree: cameras.unpack_label(
        cameras.pack_label(np.eye(4), cameras.intrinsics_from_focal(4.0))
      ),
    ),
    (
      "upsample",
      3,
      lambda base, tree: upfirdn2d.filter2d(
        upfirdn2d.upsample2(np.ones((1, 5, 5, 2), np.float32))
      ),
    ),
  )
  def test_few_programs(self, most, function):
    base, tree = random_variables(), adapter()
    jax.clear_caches()
    with programs.compiled() as found:
      once = same_numbers(function(base, tree))
    self.assertLessEqual(len(found), most, found)
    with programs.compiled() as found:
      again = same_numbers(function(base, tree))
    self.assertEmpty(found)
    jax.tree.map(np.testing.assert_array_equal, once, again)

  def test_states_are_cut_and_joined(self):
    """The same numbers while they are traced, and when they are known."""
    tree = adapter()
    vector = state_lib.ravel(tree)
    np.testing.assert_array_equal(vector, jax.jit(state_lib.ravel)(tree))
    for found in (
      state_lib.unravel(vector, tree),
      jax.jit(lambda vector: state_lib.unravel(vector, tree))(vector),
      state_lib.unravel(np.asarray(vector), tree),
    ):
      jax.tree.map(np.testing.assert_array_equal, found, tree)


if __name__ == "__main__":
  absltest.main()
