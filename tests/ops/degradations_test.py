"""What happens to photos, against Pillow and SciPy; and the way back."""

import io

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image
from scipy import ndimage

from my3dgen_jax.data import images as images_lib
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import degradations

SIDE = 24


def smooth_images(count=2, side=SIDE, seed=0):
  """Images like photos: neighbours resemble each other."""
  noise = np.random.default_rng(seed).standard_normal((count, side, side, 3))
  smooth = ndimage.gaussian_filter(noise, (0, 2, 2, 0))
  return (0.8 * smooth / np.abs(smooth).max()).astype(np.float32)


ALL = {
  "shrunk": lambda x: degradations.shrunk(x, side=7),
  "blurred": lambda x: degradations.blurred(x, sigma=1.5),
  "grey": degradations.grey,
  "jpeg_like": lambda x: degradations.jpeg_like(x, quality=30),
  "another": lambda x: 0.5 * x - 0.5,
}


class DegradationsTest(parameterized.TestCase):
  @parameterized.parameters(1, 7, 12, SIDE)
  def test_shrunk_as_pillow_does(self, side):
    images = smooth_images()
    expected = [
      Image.fromarray(image).resize((side, side), Image.LANCZOS)
      for image in images_lib.to_uint8(images)
    ]
    found = degradations.shrunk(images, side=side)
    np.testing.assert_allclose(
      (np.asarray(found) + 1) * 127.5, np.stack(expected), atol=1.1
    )

  def test_blurred_as_scipy_does(self):
    images = smooth_images()
    found = degradations.blurred(images, sigma=1.5)
    expected = ndimage.gaussian_filter(images, (0, 1.5, 1.5, 0), truncate=9)
    inside = np.s_[:, 8:-8, 8:-8]  # borders are another convention
    np.testing.assert_allclose(found[inside], expected[inside], atol=2e-4)
    np.testing.assert_allclose(
      degradations.blurred(jnp.full((1, 9, 5, 3), 0.3), sigma=4.0),
      0.3,
      atol=1e-6,
    )

  def test_grey_as_pillow_does(self):
    images = smooth_images()
    expected = [
      Image.fromarray(image).convert("L")
      for image in images_lib.to_uint8(images)
    ]
    found = degradations.grey(images)
    self.assertEqual(found.shape, (2, SIDE, SIDE, 1))
    np.testing.assert_allclose(
      (np.asarray(found)[..., 0] + 1) * 127.5, np.stack(expected), atol=1.1
    )

  @parameterized.parameters(SIDE, 21)
  def test_jpeg_loses_more_the_lower_its_quality(self, side):
    images = smooth_images(side=side)

    def errors(quality):
      ours = degradations.jpeg_like(images, quality=quality)
      theirs = []
      for image in images_lib.to_uint8(images):
        file = io.BytesIO()
        Image.fromarray(image).save(
          file, "JPEG", quality=quality, subsampling="4:4:4"
        )
        theirs.append(np.asarray(Image.open(file)) / 127.5 - 1)
      return [
        float(np.sqrt(np.mean((np.asarray(other) - images) ** 2)))
        for other in (ours, theirs)
      ]

    found = [errors(quality) for quality in (100, 60, 10)]
    self.assertLess(found[0][0], 2 / 255)
    self.assertLess(found[0][0], found[1][0])
    self.assertLess(found[1][0], found[2][0])
    # About as much as libjpeg's rounding and tables lose.
    self.assertBetween(found[2][0] / found[2][1], 0.4, 2.0)
    flat = jnp.full((1, 8, 8, 3), 0.25)
    np.testing.assert_allclose(
      degradations.jpeg_like(flat, quality=50), flat, atol=0.02
    )

  @parameterized.parameters(*ALL)
  def test_gradients_are_finite_differences(self, name):
    apply = ALL[name]
    images = jnp.asarray(smooth_images())
    rng = np.random.default_rng(1)
    way = rng.standard_normal(images.shape).astype(np.float32)
    weights = rng.standard_normal(jax.eval_shape(apply, images).shape)
    value = lambda x: float(np.sum(np.asarray(apply(x), np.float64) * weights))
    found = jax.grad(lambda x: jnp.sum(apply(x) * weights))(images)
    step = 1e-3
    expected = (value(images + step * way) - value(images - step * way)) / (
      2 * step
    )
    np.testing.assert_allclose(
      np.sum(np.asarray(found, np.float64) * way), expected, rtol=0.01
    )

  @parameterized.parameters(
    (lambda x: degradations.shrunk(x, side=SIDE + 1), "side: .*1 to 24"),
    (lambda x: degradations.shrunk(x, side=0), "side: "),
    (lambda x: degradations.blurred(x, sigma=0.0), "sigma: .*> 0"),
    (lambda x: degradations.jpeg_like(x, quality=0), "quality: "),
  )
  def test_bad_settings(self, apply, pattern):
    with self.assertRaisesRegex(UserError, pattern):
      apply(smooth_images())


class AgreeingTest(parameterized.TestCase):
  @parameterized.parameters("shrunk", "blurred", "grey", "another")
  def test_agrees_with_what_was_seen(self, name):
    apply = ALL[name]
    truth, other = smooth_images(seed=1), smooth_images(seed=2)
    seen = apply(truth)
    found = degradations.agreeing(other, seen, apply, steps=60)
    before, after = (
      float(jnp.mean(jnp.abs(apply(x) - seen))) * 127.5 for x in (other, found)
    )
    self.assertLess(after, min(1.0, before / 5))

  def test_what_agrees_stays(self):
    images = smooth_images()
    apply = ALL["shrunk"]
    found = degradations.agreeing(images, apply(images), apply)
    np.testing.assert_allclose(found, images, atol=1e-5)

  def test_grey_leaves_hues(self):
    images = smooth_images()
    found = degradations.agreeing(
      images, degradations.grey(images) + 0.1, degradations.grey
    )
    change = np.asarray(found) - images
    np.testing.assert_allclose(change, 0.1, atol=1e-4)


if __name__ == "__main__":
  absltest.main()
