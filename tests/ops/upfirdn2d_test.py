"""Resampling and modulated convolutions against the original's tensors."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from my3dgen_jax.ops import convolution, modulated_conv, resize, upfirdn2d
from tests.support import golden

FILE = golden.load("ops")
X = golden.to_nhwc(FILE["x"])
X8 = golden.to_nhwc(FILE["x8"])
IMAGE = golden.to_nhwc(FILE["img64"])
KERNEL = FILE["w"].transpose(2, 3, 1, 0)
STYLES = FILE["styles"]


@pytest.mark.numbers
class OpsGoldenTest(chex.TestCase):
  @chex.variants(with_jit=True, without_jit=True)
  @parameterized.named_parameters(
    ("up2", lambda: upfirdn2d.upsample2(X)),
    ("down2", lambda: upfirdn2d.downsample2(X)),
    ("filter2d", lambda: upfirdn2d.filter2d(X)),
    ("conv_up2", lambda: upfirdn2d.conv_up2(X8, KERNEL)),
    ("conv_down2", lambda: upfirdn2d.conv_down2(X8, KERNEL)),
    ("modconv", lambda: modulated_conv.modulated_conv2d(X8, KERNEL, STYLES)),
    (
      "modconv_nodemod",
      lambda: modulated_conv.modulated_conv2d(
        X8, KERNEL, STYLES, demodulate=False
      ),
    ),
    (
      "modconv_up2",
      lambda: modulated_conv.modulated_conv2d(X8, KERNEL, STYLES, up=2),
    ),
    ("resize_aa_20", lambda: resize.resize_bilinear(IMAGE, 20, 20)),
    ("resize_up_96", lambda: resize.resize_bilinear(IMAGE, 96, 96)),
  )
  def test_matches_original(self, function):
    # The test's own name ends in the key of the file.
    key = next(
      key
      for key in sorted(FILE, key=len, reverse=True)
      if f"original_{key}" in self.id()
    )
    golden.assert_close(
      self.variant(function)(),
      golden.to_nhwc(FILE[key]),
      golden.OPS,
      f"ops: {key}",
    )

  def test_filter_is_the_originals(self):
    taps = np.array(upfirdn2d.FILTER_TAPS)
    np.testing.assert_array_equal(
      FILE["filter"], np.outer(taps, taps) / taps.sum() ** 2
    )


class ConvUp2Test(parameterized.TestCase):
  @parameterized.parameters((1, 1), (1, 5), (4, 3), (7, 8))
  def test_equals_zero_insertion(self, height, width):
    """Against the definition: insert zeros, correlate in full, filter."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, height, width, 3)).astype(np.float32)
    kernel = rng.standard_normal((3, 3, 3, 2)).astype(np.float32)
    # XLA correlates: turning the kernel round gives sum_i x[i] k[n - 2i].
    full = jax.lax.conv_general_dilated(
      x,
      kernel[::-1, ::-1],
      (1, 1),
      ((2, 2), (2, 2)),
      lhs_dilation=(2, 2),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    self.assertEqual(full.shape, (2, 2 * height + 1, 2 * width + 1, 2))
    taps = jnp.asarray(upfirdn2d.FILTER_TAPS) / 4
    window = jnp.einsum("a,b,io->abio", taps, taps, jnp.eye(2))
    expected = jax.lax.conv_general_dilated(
      full,
      window,
      (1, 1),
      ((1, 1), (1, 1)),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    np.testing.assert_allclose(
      upfirdn2d.conv_up2(x, kernel), expected, rtol=1e-5, atol=1e-5
    )


class ModulatedConvTest(parameterized.TestCase):
  @parameterized.parameters(
    (3, 1, True), (3, 1, False), (3, 2, True), (1, 1, True), (1, 1, False)
  )
  def test_equals_a_kernel_per_sample(self, size, up, demodulate):
    shared = KERNEL[:size, :size]
    actual = modulated_conv.modulated_conv2d(
      X8, shared, STYLES, up=up, demodulate=demodulate
    )
    pad = ((size // 2, size // 2),) * 2
    for i in range(X8.shape[0]):
      kernel = shared * STYLES[i][:, None]
      if demodulate:
        kernel = kernel / np.sqrt((kernel**2).sum((0, 1, 2)) + 1e-8)
      convolve = (
        upfirdn2d.conv_up2
        if up == 2
        else functools.partial(convolution.conv2d, padding=pad)
      )
      np.testing.assert_allclose(
        actual[i : i + 1], convolve(X8[i : i + 1], kernel), atol=1e-5
      )

  def test_split_batch_equals_full(self):
    full = modulated_conv.modulated_conv2d(X8, KERNEL, STYLES, up=2)
    halves = [
      modulated_conv.modulated_conv2d(
        X8[i : i + 1], KERNEL, STYLES[i : i + 1], up=2
      )
      for i in range(2)
    ]
    np.testing.assert_allclose(
      full, np.concatenate(halves), rtol=1e-5, atol=1e-6
    )


if __name__ == "__main__":
  absltest.main()
