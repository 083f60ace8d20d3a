"""LPIPS against the original's numbers, its properties, and its files."""

import functools
import os
import pathlib
import tempfile
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from absl.testing import absltest, parameterized

from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.losses import backbones
from my3dgen_jax.losses.backbones import PUBLISHED
from my3dgen_jax.losses.lpips import (
  abstract_variables,
  BACKBONES,
  load_lpips,
  Lpips,
  save_lpips,
  WEIGHTS_FILE,
)
from tests.support import classifiers, golden

# 8e-8 is what is measured.
_RELATIVE = 2e-6


@functools.cache
def variables(net):
  return jax.device_put(classifiers.lpips_variables(net))


@functools.cache
def jitted(net, dtype="float32"):
  return jax.jit(Lpips(net, dtype=dtype).apply)


@functools.cache
def gradient(net="alex"):
  """Value and gradient by the first image: f(variables, x, y)."""
  return jax.jit(
    jax.value_and_grad(
      lambda variables, x, y: Lpips(net).apply(variables, x, y).sum(), argnums=1
    )
  )


@functools.cache
def jitted_method(method):
  return jax.jit(functools.partial(Lpips("alex").apply, method=method))


def images(rows=slice(None)):
  return [
    golden.to_nhwc(
      np.tanh(golden.draw(f"input.metric.{name}", (2, 3, 64, 64)))
    )[rows]
    for name in "xy"
  ]


@pytest.mark.numbers
class GoldenTest(parameterized.TestCase):
  @parameterized.parameters(*PUBLISHED)
  def test_original(self, net):
    x, y = images()
    expected = golden.load("metrics")
    distance = jitted(net)(variables(net), x, y)
    self.assertEqual(distance.dtype, jnp.float32)
    golden.assert_close(
      distance, expected[f"lpips_{net}"], _RELATIVE, f"metrics: lpips_{net}"
    )
    np.testing.assert_array_equal(
      jitted(net)(variables(net), x, x), expected[f"lpips_{net}_self"]
    )

  def test_bfloat16_is_near(self):
    x, y = images()
    half = jitted("alex", "bfloat16")
    distance = half(variables("alex"), x, y)
    self.assertEqual(distance.dtype, jnp.float32)
    # 8e-4 is what is measured; bfloat16 has 8 bits.
    golden.assert_close(
      distance,
      golden.load("metrics")["lpips_alex"],
      4e-3,
      "metrics: lpips_alex in bfloat16",
    )
    np.testing.assert_array_equal(half(variables("alex"), x, x), 0)

  def test_equal_images_have_no_gradient(self):
    x, _ = images(slice(1))
    value, slope = gradient()(variables("alex"), x, x)
    self.assertEqual(value, 0)
    np.testing.assert_array_equal(slope, 0)


class PropertyTest(parameterized.TestCase):
  def distance(self, *args, **kwargs):
    return jitted("alex")(variables("alex"), *args, **kwargs)

  def test_symmetric(self):
    x, y = images()
    np.testing.assert_allclose(
      self.distance(x, y), self.distance(y, x), rtol=1e-6
    )

  def test_batch_is_its_rows(self):
    x, y = images()
    rows = [self.distance(x[i : i + 1], y[i : i + 1])[0] for i in range(2)]
    np.testing.assert_allclose(self.distance(x, y), rows, rtol=1e-5)

  def test_one_image_against_many(self):
    x, y = images()
    np.testing.assert_allclose(
      self.distance(x, y[:1]),
      self.distance(x, np.concatenate([y[:1], y[:1]])),
      rtol=1e-5,
    )

  # AlexNet's is asked of the fully optimized program, above.
  @parameterized.parameters(*(net for net in PUBLISHED if net != "alex"))
  def test_equal_images_have_no_gradient(self, net):
    x, _ = images(slice(1))
    value, slope = gradient(net)(variables(net), x, x)
    self.assertEqual(value, 0)
    np.testing.assert_array_equal(slope, 0)

  def test_gradient_is_the_slope(self):
    x, y = images(slice(1))
    value = lambda x: gradient()(variables("alex"), x, y)[0]
    _, slope = gradient()(variables("alex"), x, y)
    # Small enough for few units to switch, large enough for float32.
    step = 1e-2 * slope / jnp.linalg.norm(slope)
    rise = (value(x + step) - value(x - step)) / 2
    np.testing.assert_allclose(rise, jnp.sum(slope * step), rtol=2e-2)

  def test_pixels_without_features(self):
    """Layers that are zero everywhere, or in one image only."""
    x, y = images(slice(1))
    params = dict(variables("alex")["params"])
    network = dict(params["network"])
    bias = network["layer0"]["bias"]
    for offset in (-1e3, -3.0):
      network["layer0"] = {**network["layer0"], "bias": bias + offset}
      dead = {"params": {**params, "network": network}}
      value, slope = gradient()(dead, x, y)
      self.assertTrue(np.isfinite(value))
      self.assertTrue(np.isfinite(slope).all())

  def test_features_can_be_reused(self):
    x, y = images()
    features = jitted_method("features")
    distance = jitted_method("distance")
    of_x, of_y = (features(variables("alex"), image) for image in (x, y))
    for layer in of_x:
      lengths = jnp.linalg.norm(layer, axis=-1)
      np.testing.assert_allclose(lengths, 1, rtol=1e-5)
    np.testing.assert_allclose(
      distance(variables("alex"), of_x, of_y), self.distance(x, y), rtol=1e-6
    )
    np.testing.assert_array_equal(distance(variables("alex"), of_x, of_x), 0)

  def test_half_features(self):
    x, _ = images(slice(1))
    layers = jax.eval_shape(
      functools.partial(
        Lpips("alex", dtype="bfloat16").apply, method="features"
      ),
      variables("alex"),
      x,
    )
    self.assertEqual(
      {layer.dtype for layer in layers}, {jnp.dtype(jnp.bfloat16)}
    )

  def test_traced_once(self):
    @jax.jit
    @chex.assert_max_traces(n=1)
    def distance(x, y):
      return Lpips("alex").apply(variables("alex"), x, y)

    x, y = images(slice(1))
    distance(x, y)
    distance(y, x)

  def test_eager_is_jitted(self):
    x, y = images(slice(1))
    np.testing.assert_allclose(
      Lpips("alex").apply(variables("alex"), x, y),
      self.distance(x, y),
      rtol=1e-5,
    )


class MaskTest(parameterized.TestCase):
  def distance(self, *args, **kwargs):
    return jitted("alex")(variables("alex"), *args, **kwargs)

  def test_ones_are_no_mask(self):
    x, y = images()
    ones = np.ones((2, 64, 64, 1), np.float32)
    np.testing.assert_allclose(
      self.distance(x, y, mask=ones), self.distance(x, y), rtol=1e-6
    )
    np.testing.assert_array_equal(self.distance(x, x, mask=ones), 0)

  def test_what_is_masked_out_does_not_count(self):
    x, y = images()
    mask = np.ones((1, 64, 64, 1), np.float32)
    mask[:, :, 40:] = 0
    changed = np.where(mask > 0, x, -x[:, ::-1])
    np.testing.assert_array_equal(
      self.distance(x, y, mask=mask), self.distance(changed, y, mask=mask)
    )
    np.testing.assert_array_equal(self.distance(changed, x, mask=mask), 0)
    self.assertTrue((self.distance(changed, x) > 0.01).all())

  def test_weighted_by_what_is_left(self):
    """A half that is masked out is not a half that agrees."""
    x, y = images()
    mask = np.zeros((1, 64, 64, 1), np.float32)
    mask[:, :, :32] = 1
    ratio = self.distance(x, y, mask=mask) / self.distance(x, y)
    np.testing.assert_allclose(ratio, 1, atol=0.25)

  def test_nothing_left(self):
    x, y = images()
    zeros = np.zeros((1, 64, 64, 1), np.float32)
    np.testing.assert_array_equal(self.distance(x, y, mask=zeros), 0)

  def test_features_under_a_mask(self):
    x, y = images()
    mask = np.ones((2, 64, 64, 1), np.float32)
    mask[0, :20] = 0
    features, distance = map(jitted_method, ("features", "distance"))
    of_x, of_y = (
      features(variables("alex"), image, mask=mask) for image in (x, y)
    )
    np.testing.assert_allclose(
      distance(variables("alex"), of_x, of_y, mask=mask),
      self.distance(x, y, mask=mask),
      rtol=1e-6,
    )

  def test_one_image_under_many_masks(self):
    x, y = images(slice(1))
    masks = np.ones((2, 64, 64, 1), np.float32)
    masks[0, :, :32] = 0
    np.testing.assert_allclose(
      self.distance(x, y, mask=masks),
      [self.distance(x, y, mask=masks[i : i + 1])[0] for i in range(2)],
      rtol=1e-5,
    )


class RefusedTest(parameterized.TestCase):
  @parameterized.parameters(("alex", 31), ("vgg", 16), ("squeeze", 17))
  def test_smallest_image(self, net, side):
    def shape(height, width):
      image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
      return jax.eval_shape(
        Lpips(net).apply, abstract_variables(net), image, image
      ).shape

    self.assertEqual(shape(side, side), (1,))
    for size in ((side - 1, 40), (40, side - 1)):
      with self.assertRaisesRegex(
        UserError,
        f"^x: LPIPS on .* at least {side} x {side} pixels, got "
        f"{size[0]} x {size[1]}$",
      ):
        shape(*size)

  @parameterized.named_parameters(
    ("rank", "x", lambda x: {"x": x[0]}),
    ("channels", "x", lambda x: {"x": x[..., :1]}),
    ("nan", "x", lambda x: {"x": x * np.nan}),
    ("size", "y", lambda x: {"y": x[:, :32]}),
    ("rows", "y", lambda x: {"y": np.concatenate([x, x])}),
    ("mask_size", "mask", lambda x: {"mask": x[:, :8, :, :1] * 0}),
    ("mask_channels", "mask", lambda x: {"mask": x * 0}),
    ("mask_rows", "mask", lambda x: {"mask": np.zeros((3, 64, 64, 1))}),
    ("mask_range", "mask", lambda x: {"mask": x[..., :1] * 9}),
  )
  def test_arguments(self, name, change):
    x, y = images()
    arguments = {"x": x, "y": y, **change(x)}
    with self.assertRaisesRegex(UserError, f"^{name}: "):
      Lpips("alex").apply(variables("alex"), **arguments)

  def test_options(self):
    image = np.zeros((1, 64, 64, 3), np.float32)
    for name in ("backbone", "dtype", "precision"):
      with self.assertRaisesRegex(UserError, f"^{name}: expected one of "):
        Lpips(**{name: "resnet"}).apply(variables("alex"), image, image)

  def test_features_of_another_network_or_size(self):
    distance = functools.partial(
      Lpips("alex").apply, variables("alex"), method="distance"
    )
    right = [
      np.zeros((2, 4, 4, channels), np.float32)
      for channels in backbones.NETWORKS["alex"].tap_channels()
    ]
    for name, wrong in (
      ("features_y", right[:4]),
      (r"features_y\[1\]", [right[0], right[0], *right[2:]]),
      (r"features_y\[0\]", [right[0][:, :3], *right[1:]]),
      (r"features_y\[0\]", [right[0][[0, 0, 0]], *right[1:]]),
    ):
      with self.assertRaisesRegex(UserError, f"^{name}: "):
        distance(right, wrong)


class PoolingTest(parameterized.TestCase):
  @parameterized.product(size=(2, 3), side=(4, 5), ceil=(False, True))
  def test_against_windows(self, size, side, ceil):
    x = golden.draw("pool", (1, side, side, 2))
    count = -(-(side - size) // 2) + 1 if ceil else (side - size) // 2 + 1
    expected = np.array(
      [
        [
          x[0, 2 * i : 2 * i + size, 2 * j : 2 * j + size].max(axis=(0, 1))
          for j in range(count)
        ]
        for i in range(count)
      ]
    )
    actual = backbones.max_pool(x, backbones.MaxPool(size, ceil=ceil))
    np.testing.assert_array_equal(actual[0], expected)


class FeatureStackTest(absltest.TestCase):
  def test_small(self):
    """The demo's own: it sees every pixel, and travels with the project."""
    self.assertEqual(BACKBONES, (*PUBLISHED, "small"))
    shapes = abstract_variables("small")
    leaves = jax.tree.leaves(shapes)
    self.assertBetween(sum(leaf.size for leaf in leaves), 45_000, 60_000)
    layers = jax.eval_shape(
      functools.partial(Lpips("small").apply, method="features"),
      shapes,
      jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32),
    )
    self.assertEqual(
      [layer.shape[1:] for layer in layers],
      [(64, 64, 16), (32, 32, 32), (16, 16, 48), (8, 8, 64)],
    )

  def test_small_measures(self):
    x, y = images(slice(1))
    init = jax.jit(Lpips("small").init)(jax.random.key(0), x, y)
    apply = jax.jit(Lpips("small").apply)
    far, near = (apply(init, x, other) for other in (y, 0.9 * x + 0.1 * y))
    self.assertGreater(far, near)
    self.assertGreater(near, 0)
    self.assertEqual(apply(init, x, x), 0)

  def test_other_taps(self):
    """As another metric would choose them, from fewer layers."""
    stack = backbones.FeatureStack("vgg", taps=(1, 4))
    x = jnp.zeros((1, 16, 16, 3))
    outputs, params = jax.eval_shape(
      stack.init_with_output, jax.random.key(0), x
    )
    self.assertEqual(
      [output.shape for output in outputs], [(1, 16, 16, 64), (1, 8, 8, 64)]
    )
    self.assertEqual(set(params["params"]), {"layer0", "layer2"})


class FilesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.parent = pathlib.Path(folder.name)
    self.folder = self.parent / "alex"
    self.weights = self.folder / WEIGHTS_FILE

  def save(self, **options):
    save_lpips(self.folder, "alex", variables("alex"), **options)

  def assert_refused(self, reason, path=None, call=None):
    with self.assertRaisesRegex(CheckpointError, reason) as caught:
      (call or (lambda: load_lpips(self.folder)))()
    self.assertStartsWith(str(caught.exception), str(path or self.weights))
    self.assertNotIn("\n", str(caught.exception))

  def rewrite(self, *, metadata=None, **changes):
    """Saves the file again with something else in it."""
    with safetensors.safe_open(self.weights, "numpy") as file:
      kept = {**file.metadata(), **(metadata or {})}
      arrays = {name: file.get_tensor(name) for name in file.keys()}
    arrays.update(changes)
    self.weights.write_bytes(
      safetensors.numpy.save(
        {name: array for name, array in arrays.items() if array is not None},
        kept,
      )
    )

  def test_round_trip(self):
    self.save(source={"file": "alexnet.pth"})
    network = load_lpips(self.folder, dtype="bfloat16")
    module, loaded = network.module, network.variables
    self.assertEqual(module, Lpips("alex", dtype="bfloat16"))
    chex.assert_trees_all_equal(loaded, variables("alex"))
    self.assertEqual(os.listdir(self.parent), ["alex"])
    self.assertEqual(os.listdir(self.folder), [WEIGHTS_FILE])

  def test_existing_folder_is_kept_unless_told(self):
    self.save()
    with self.assertRaises(FileExistsError):
      self.save()
    self.save(overwrite=True)
    load_lpips(self.folder)
    (self.folder / "thesis.tex").write_text("")
    self.assert_refused(
      "contains thesis.tex besides",
      self.folder,
      lambda: self.save(overwrite=True),
    )
    self.weights.unlink()
    self.assert_refused(
      "not a folder with LPIPS", self.folder, lambda: self.save(overwrite=True)
    )

  @parameterized.parameters(False, True)
  def test_full_disk_leaves_what_was_there(self, overwrite):
    if overwrite:
      self.save()
      before = self.weights.read_bytes()
    with mock.patch.object(
      pathlib.Path, "write_bytes", side_effect=OSError(28, "No space left")
    ):
      self.assert_refused(
        "No space left", self.folder, lambda: self.save(overwrite=overwrite)
      )
    if overwrite:
      self.assertEqual(self.weights.read_bytes(), before)
    self.assertEqual(os.listdir(self.parent), ["alex"] if overwrite else [])

  def test_variables_that_do_not_fit(self):
    wrong = {
      "params": {
        **variables("alex")["params"],
        "lin4": np.full(256, np.nan, np.float32),
      }
    }
    for net, what, reason in (
      ("vgg", variables("alex"), "not the weights of vgg: "),
      ("alex", wrong, "lin4 holds NaN"),
    ):
      self.assert_refused(
        reason, self.folder, lambda: save_lpips(self.folder, net, what)
      )
    self.assertEqual(os.listdir(self.parent), [])

  def test_missing(self):
    self.assert_refused("no such folder", self.folder)
    self.folder.mkdir()
    self.assert_refused("missing; expected a folder")

  def test_damage(self):
    self.save()
    data = self.weights.read_bytes()
    for damaged in (b"", b"<html>", data[:1000], data[:-1]):
      self.weights.write_bytes(damaged)
      self.assert_refused("damaged, or not a safetensors file")
    flipped = bytearray(data)
    flipped[-1000] ^= 1
    self.weights.write_bytes(flipped)
    self.assert_refused("not what was saved")

  @parameterized.named_parameters(
    ("kind", {"metadata": {"kind": "adapter"}}, "does not hold LPIPS"),
    ("format", {"metadata": {"format": "2"}}, "does not hold LPIPS"),
    ("backbone", {"metadata": {"backbone": "resnet"}}, "field 'backbone'"),
    ("other", {"metadata": {"backbone": "vgg"}}, "not the weights of vgg"),
    ("fewer", {"lin0": None}, "lin0 is missing"),
    ("more", {"lin5": np.zeros(2)}, "lin5 is not part"),
    ("shape", {"lin0": np.zeros(2, np.float32)}, r"lin0 is float32 \[2\]"),
    ("dtype", {"lin0": np.zeros(64)}, r"lin0 is float64 \[64\]"),
  )
  def test_another_file(self, changes, reason):
    self.save()
    self.rewrite(**changes)
    self.assert_refused(reason)


if __name__ == "__main__":
  absltest.main()
