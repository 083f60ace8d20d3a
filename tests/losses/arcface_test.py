"""IR-SE-50 against PyTorch's numbers, and its properties."""

import functools
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest

from my3dgen_jax.losses import arcface, identity
from tests.support import faces, golden

# Of the scale of each unit's last normalisation in ir_se50_stable.npz.
_STABLE = 0.3
# What PyTorch in float32 leaves of the original's numbers in float64, see
# tests/golden/README.md: 5e-4 and 4e-3, with a margin of two.
_ORIGINAL = {"ir_se50": 1e-3, "ir_se50_pooled512": 1e-2}


def faces_112():
  return golden.to_nhwc(np.tanh(golden.draw("input.arcface", (2, 3, 112, 112))))


def face_512():
  return golden.to_nhwc(np.tanh(golden.draw("input.face512", (1, 3, 512, 512))))


@functools.cache
def stable():
  return jax.device_put(faces.ir_se50(_STABLE))


@pytest.mark.numbers
class GoldenTest(absltest.TestCase):
  def test_original(self):
    """In float64, as these numbers keep few digits in float32."""
    with jax.enable_x64(True):
      images = jnp.concatenate(
        [
          jnp.asarray(faces_112(), jnp.float64),
          identity.average_pool(jnp.asarray(face_512(), jnp.float64), 112),
        ]
      )
      variables = jax.tree.map(
        lambda leaf: jnp.asarray(leaf, jnp.float64), faces.ir_se50()
      )
      actual = jax.jit(arcface.IrSe(dtype=jnp.float64).apply)(variables, images)
    expected = golden.load("metrics")
    # Of the first image the original itself has no digit right.
    for key, rows in (
      ("ir_se50", slice(1, 2)),
      ("ir_se50_pooled512", slice(2, 3)),
    ):
      golden.assert_close(
        actual[rows],
        expected[key][-1:],
        _ORIGINAL[key],
        f"metrics: {key} (float64, last row)",
      )

  def test_stable(self):
    """As it is used: an image of any size, its gradient."""
    wrapper = identity.Identity()

    @jax.jit
    def loss(images, variables):
      embeddings = wrapper.embed(variables, images)
      return (
        identity.identity_loss(embeddings[:1], embeddings[1:])[0],
        embeddings,
      )

    (value, embeddings), slope = jax.value_and_grad(loss, has_aux=True)(
      faces_112(), stable()
    )
    self.assertEqual(embeddings.dtype, jnp.float32)
    np.testing.assert_allclose(
      jnp.linalg.norm(embeddings, axis=-1), 1, rtol=1e-6
    )
    pooled = jax.jit(wrapper.embed)(stable(), face_512())
    expected = golden.load("ir_se50_stable")
    for key, actual, tolerance in (
      ("embedding", embeddings, golden.IMAGES),
      ("pooled512", pooled, golden.IMAGES),
      ("loss", value, golden.IMAGES),
      (
        "gradient",
        slope.transpose(0, 3, 1, 2)[..., ::4, ::4],
        golden.GRADIENTS,
      ),
    ):
      golden.assert_close(
        actual, expected[key], tolerance, f"ir_se50_stable: {key}"
      )


@functools.cache
def tiny():
  with mock.patch.dict(identity.NETWORKS, {"ir_se50": faces.TINY}):
    return faces.variables(faces.tiny_state_dict())


@functools.cache
def tiny_embeddings(dtype="float32"):
  apply = jax.jit(faces.TINY.module(dtype=jnp.dtype(dtype)).apply)
  return apply(tiny(), faces_112())


class PropertyTest(absltest.TestCase):
  def test_batch_is_its_rows(self):
    apply = jax.jit(faces.TINY.module().apply)
    rows = [apply(tiny(), faces_112()[i : i + 1])[0] for i in range(2)]
    np.testing.assert_allclose(tiny_embeddings(), rows, atol=1e-5)

  def test_bfloat16_is_near(self):
    half = tiny_embeddings("bfloat16")
    self.assertEqual(half.dtype, jnp.float32)
    # 8 bits; 8e-3 is what is measured.
    self.assertLess(golden.relative_error(half, tiny_embeddings()), 4e-2)

  def test_statistics_are_no_parameters(self):
    variables = jax.eval_shape(
      faces.TINY.module().init, jax.random.key(0), faces_112()
    )
    self.assertEqual(set(variables), {"params", "batch_stats"})
    for path, _ in jax.tree.leaves_with_path(variables["batch_stats"]):
      self.assertIn(path[-1].key, ("mean", "var"))

  def test_other_sizes_are_refused(self):
    with self.assertRaises(AssertionError):
      faces.TINY.module().apply(tiny(), faces_112()[:, :96, :96])

  def test_traced_once(self):
    @jax.jit
    @chex.assert_max_traces(n=1)
    def embed(x):
      return faces.TINY.module().apply(tiny(), x)

    embed(faces_112())
    embed(-faces_112())


class SmallTest(absltest.TestCase):
  def module(self, **options):
    return identity.NETWORKS["ir_se_small"].module(**options)

  def test_size(self):
    """It travels with the project."""
    leaves = jax.tree.leaves(identity.abstract_variables("ir_se_small"))
    self.assertLess(sum(4 * leaf.size for leaf in leaves), 1_500_000)
    embeddings = jax.eval_shape(
      identity.Identity("ir_se_small").embed,
      identity.abstract_variables("ir_se_small"),
      jax.ShapeDtypeStruct((2, 128, 128, 3), jnp.float32),
    )
    self.assertEqual(embeddings.shape, (2, 64))

  def test_same_variables_in_training(self):
    shapes = [
      jax.eval_shape(
        self.module(train=train).init, jax.random.key(0), faces_112()
      )
      for train in (False, True)
    ]
    chex.assert_trees_all_equal_shapes_and_dtypes(*shapes)

  def test_training_moves_statistics(self):
    variables = tiny()
    images = np.concatenate([faces_112(), -faces_112()])
    apply = jax.jit(
      functools.partial(
        faces.TINY.module(train=True).apply, mutable=["batch_stats"]
      )
    )
    embeddings, updated = apply(variables, images)
    np.testing.assert_allclose(
      jnp.linalg.norm(embeddings, axis=-1), 1, rtol=1e-5
    )
    # The first norm's batch is the first convolution's output.
    kernel = variables["params"]["input_conv"]["kernel"]
    seen = jax.lax.conv_general_dilated(
      images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    before, after = (
      tree["batch_stats"]["input_norm"] for tree in (variables, updated)
    )
    for name, value in (
      ("mean", seen.mean((0, 1, 2))),
      ("var", seen.var((0, 1, 2))),
    ):
      np.testing.assert_allclose(
        after[name], 0.9 * before[name] + 0.1 * value, rtol=1e-4, atol=1e-5
      )
    moved = jax.tree.map(
      lambda x, y: np.abs(x - y).max(),
      variables["batch_stats"],
      updated["batch_stats"],
    )
    self.assertGreater(min(jax.tree.leaves(moved)), 0)

  def test_judging_does_not(self):
    _, updated = jax.jit(
      functools.partial(faces.TINY.module().apply, mutable=["batch_stats"])
    )(tiny(), faces_112())
    chex.assert_trees_all_equal(updated["batch_stats"], tiny()["batch_stats"])

  def test_training_forgets_the_scale_of_images(self):
    """Normalised by its batch, an image's contrast does not matter."""
    apply = jax.jit(
      functools.partial(
        faces.TINY.module(train=True).apply, mutable=["batch_stats"]
      )
    )
    one, _ = apply(tiny(), faces_112())
    other, _ = apply(tiny(), faces_112() * 2)
    np.testing.assert_allclose(one, other, atol=1e-3)


if __name__ == "__main__":
  absltest.main()
