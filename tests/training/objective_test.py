"""Equation 1 by hand, and the terms that are off by default."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.config import LossConfig
from my3dgen_jax.losses.lpips import Lpips
from my3dgen_jax.losses.reconstruction import mean_squared_error
from my3dgen_jax.models.generator import Generator
from my3dgen_jax.ops import cameras
from my3dgen_jax.ops.resize import resize_bilinear
from my3dgen_jax.training import objective as objective_lib
from my3dgen_jax.types import Network, RenderOutput
from tests.support import albums, classifiers
from tests.support.tiny import random_variables, TINY

LPIPS = Network(classifiers.lpips_variables("alex"), Lpips("alex"))
reconstruction_terms = jax.jit(
  objective_lib.reconstruction_terms, static_argnums=3
)


def output(seed=0):
  rng = np.random.default_rng(seed)
  draw = lambda *shape: jnp.asarray(rng.uniform(-1, 1, shape), jnp.float32)
  return RenderOutput(
    image=draw(2, 64, 64, 3),
    image_raw=draw(2, 32, 32, 3),
    image_depth=draw(2, 32, 32, 1),
  )


class ReconstructionTermsTest(parameterized.TestCase):
  def test_equation_1(self):
    out, photo = output(), output(1).image
    terms = reconstruction_terms(out, photo, None, LossConfig(), LPIPS)
    small = jax.jit(resize_bilinear, static_argnums=(1, 2))(photo, 32, 32)
    lpips = jax.jit(LPIPS.__call__)
    self.assertEqual(set(terms), {"lpips", "mse", "lpips_raw", "mse_raw"})
    for name, expected in (
      ("mse", mean_squared_error(out.image, photo)),
      ("mse_raw", mean_squared_error(out.image_raw, small)),
      ("lpips", lpips(out.image, photo)),
      ("lpips_raw", lpips(out.image_raw, small)),
    ):
      np.testing.assert_allclose(terms[name], expected, rtol=1e-5)

  def test_masked_pixels_do_not_count(self):
    out, photo = output(), output(1).image
    mask = jnp.ones((2, 64, 64, 1)).at[:, :32].set(0)
    spoilt = photo.at[:, :32].set(1.0)
    terms = [
      reconstruction_terms(out, image, mask, LossConfig(raw_weight=0.0), LPIPS)
      for image in (photo, spoilt)
    ]
    for name in ("mse", "lpips"):
      np.testing.assert_allclose(terms[0][name], terms[1][name], rtol=1e-5)

  def test_terms_of_weight_zero_are_left_out(self):
    for weights, names in (
      ({"lpips_weight": 0.0}, {"mse", "mse_raw"}),
      ({"mse_weight": 0.0, "raw_weight": 0.0}, {"lpips"}),
    ):
      terms = reconstruction_terms(
        output(), output(1).image, None, LossConfig(**weights), LPIPS
      )
      self.assertEqual(set(terms), names)


class Embedding:
  """A stand-in for a face network: the mean color, as a unit vector."""

  def embed(self, variables, images):
    del variables
    mean = jnp.mean(images, axis=(1, 2)) + 2
    return mean / jnp.linalg.norm(mean, axis=-1, keepdims=True)


class ExtrasTest(absltest.TestCase):
  def run_objective(self, config, batch):
    identity = Network({}, Embedding())
    generator = Network(random_variables(), Generator(TINY))
    return jax.jit(
      lambda generator, batch: objective_lib.objective(
        generator, batch, config, identity=identity, stratified=True
      )
    )(generator, batch)

  def batch(self):
    rng = np.random.default_rng(0)
    side = TINY.img_resolution
    return objective_lib.TuningBatch(
      image=rng.uniform(-1, 1, (2, side, side, 3)).astype(np.float32),
      c=albums.labels(2),
      ws=np.ones((2, TINY.num_ws, 4), np.float32),
      key=np.array([[0, 1], [0, 1]], np.uint32),
    )

  def test_identity_symmetry_and_density(self):
    config = LossConfig(
      lpips_weight=0.0,
      identity_weight=2.0,
      symmetry_weight=3.0,
      density_weight=5.0,
      density_points=10,
    )
    loss, terms = self.run_objective(config, self.batch())
    self.assertEqual(
      set(terms), {"mse", "mse_raw", "identity", "symmetry", "density"}
    )
    expected = (
      terms["mse"]
      + terms["mse_raw"]
      + 2 * terms["identity"]
      + 3 * terms["symmetry"]
      + 5 * terms["density"]
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    # One person, one key: space is as rough for both photos.
    np.testing.assert_allclose(*np.asarray(terms["density"]), rtol=1e-5)
    self.assertTrue((np.asarray(terms["density"]) > 0).all())

  def test_the_mirrored_front_is_the_front(self):
    front = cameras.pack_label(
      cameras.look_at(0.0, 0.0, (0.0, 0.0, 0.2), 2.7),
      cameras.intrinsics_from_focal(4.2647),
    )
    batch = self.batch().replace(c=np.stack([front, albums.labels(1)[0]]))
    _, terms = self.run_objective(
      LossConfig(lpips_weight=0.0, symmetry_weight=1.0), batch
    )
    self.assertLess(float(terms["symmetry"][0]), 1e-6)
    self.assertGreater(float(terms["symmetry"][1]), 1e-5)

  def test_photos_do_not_depend_on_the_batch(self):
    config = LossConfig(lpips_weight=0.0, density_weight=1.0)
    batch = self.batch().replace(key=np.array([[0, 1], [0, 2]], np.uint32))
    both, _ = self.run_objective(config, batch)
    one, _ = self.run_objective(config, jax.tree.map(lambda x: x[1:], batch))
    np.testing.assert_allclose(both[1:], one, rtol=1e-5)


if __name__ == "__main__":
  absltest.main()
