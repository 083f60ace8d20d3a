"""What a caller's number types and JAX's stricter settings may be."""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax import (
  cameras,
  Generator,
  latents,
  load_generator,
  lora,
  LoraConfig,
)
from my3dgen_jax.demo import shipped
from my3dgen_jax.losses import dists, identity, lpips, reconstruction
from my3dgen_jax.models.generator import init_variables
from my3dgen_jax.ops import degradations
from tests.support import golden
from tests.support.tiny import random_variables, TINY

LORA = LoraConfig(rank=2)
GENERATOR = Generator(TINY, LORA)


@contextlib.contextmanager
def strictest():
  """All settings at once, as none hides what another finds.

  Under the usual ones, of which nothing here is a test, float64 cannot occur.
  """
  with (
    jax.enable_x64(True),
    jax.numpy_dtype_promotion("strict"),
    jax.numpy_rank_promotion("raise"),
  ):
    yield


def shapes_of(tree):
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), np.float32), tree
  )


def calls():
  """Name to a function of no arguments that returns arrays or their shapes."""
  base = jax.tree.map(
    lambda leaf: jnp.asarray(leaf, jnp.float32), random_variables()
  )
  ws = golden.draw("ws", (2, TINY.num_ws, TINY.w_dim))
  z = golden.draw("z", (2, TINY.z_dim))
  planes = np.zeros((1, 3, 8, 8, 4), np.float32)
  images = np.zeros((2, 128, 128, 3), np.float32)
  small = images[:, :31, :31]
  key = jax.random.key(0)
  c = np.stack(
    [
      cameras.pack_label(
        cameras.look_at(yaw, 0.1, radius=2.7),
        cameras.intrinsics_from_focal(4.2647),
      )
      for yaw in (-0.3, 0.3)
    ]
  )
  tree = lora.init(key, TINY, LORA)
  variables = lora.merge_collections(base, tree)
  hull = latents.Hull.of(
    golden.draw("anchors", (5, TINY.num_ws, TINY.w_dim)), 0.02
  )
  alpha = np.full((2, 5), 0.2, np.float32)

  def apply(*arguments, method, **options):
    return lambda: jax.eval_shape(
      lambda variables, *arguments: GENERATOR.apply(
        variables, *arguments, method=method, **options
      ),
      variables,
      *arguments,
    )

  def gradient(loss, *arguments):
    places = tuple(range(len(arguments)))
    return lambda: jax.eval_shape(
      jax.value_and_grad(loss, argnums=places), *arguments
    )

  def image_loss(variables, ws):
    out = GENERATOR.apply(
      {**variables, "buffers": base["buffers"]},
      ws,
      c,
      method="synthesis",
      rngs={"render": key},
    )
    return sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(out))

  def network_loss(module, variables, **options):
    return gradient(
      lambda x: jnp.sum(module.apply(variables, x, small, **options)), small
    )

  trained = {name: variables[name] for name in ("params", "lora")}
  return {
    "lora.init": lambda: tree,
    "load": lambda: [
      load_generator(shipped.PRIOR)[1],
      lpips.load_lpips(shipped.LPIPS).variables,
      identity.load_identity(shipped.IDENTITY).variables,
    ],
    "init_variables": lambda: jax.eval_shape(
      lambda key: init_variables(key, TINY, LORA), key
    ),
    "cameras": lambda: [
      jnp.asarray(c),
      cameras.intrinsics_from_fov(18.8),
      *cameras.unpack_label(c),
    ],
    "mapping": apply(
      z, c, method="mapping", truncation_psi=0.7, truncation_cutoff=2
    ),
    "synthesis": apply(
      ws,
      c,
      method="synthesis",
      noise_mode="random",
      rngs={"render": key, "noise": key},
    ),
    "query": apply(planes, np.zeros((1, 5, 3)), method="query"),
    "density_grid": apply(planes, *[np.zeros(2)] * 3, method="density_grid"),
    "gradients": gradient(image_loss, trained, ws),
    "merge_into_params": lambda: jax.eval_shape(
      lambda base, tree: lora.merge_into_params(base, tree, LORA), base, tree
    ),
    "average": lambda: lora.average([(tree, LORA), (tree, LORA)])[0],
    "Hull": lambda: [
      hull.project(ws),
      hull.latents(alpha),
      hull.sample(key, 3),
      hull.coordinates(ws[0]),
      hull.edit(alpha, alpha[0] - 0.2, 0.5, "project"),
      latents.constrained(alpha, 0.02),
      latents.offset_penalty(alpha, np.zeros((2, 4, 5), np.float32)),
      latents.between(ws[0], ws[1], np.linspace(0, 1, 3), spherical=True),
    ],
    "degradations": lambda: [
      degradations.shrunk(small, side=8),
      degradations.blurred(small, sigma=2.0),
      degradations.grey(small),
      degradations.jpeg_like(images[:, :32, :32], quality=30),
    ],
    "reconstruction": lambda: [
      reconstruction.psnr(small, small + np.float32(0.1)),
      reconstruction.ssim(small, small),
    ],
    **{
      f"lpips_{name}": network_loss(
        lpips.Lpips(name),
        jax.tree.map(
          lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
          lpips.abstract_variables(name),
        ),
        mask=np.ones((1, 31, 31, 1), np.float32),
      )
      for name in lpips.BACKBONES
    },
    "dists": network_loss(
      dists.Dists(),
      jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
        dists.abstract_variables(),
      ),
    ),
    **{
      f"identity_{name}": gradient(
        lambda variables, x, name=name: jnp.sum(
          identity.Identity(name).embed(variables, x)
        ),
        identity.abstract_variables(name),
        images,
      )
      for name in identity.NETWORKS
    },
  }


class SettingsTest(parameterized.TestCase):
  def test_all_is_float32(self):
    jax.clear_caches()  # what was traced under other settings
    self.addCleanup(jax.clear_caches)
    with strictest():
      for name, call in calls().items():
        with self.subTest(name):
          found = {leaf.dtype.name for leaf in jax.tree.leaves(call())}
          self.assertEqual(found, {"float32"})


class HalfPrecisionTest(parameterized.TestCase):
  @parameterized.product(
    kept=(jnp.bfloat16, jnp.float16), computed=("float32", "bfloat16")
  )
  def test_weights_kept_in_half(self, kept, computed):
    """As if their rounded values were kept as float32, gradients included."""
    base = random_variables()
    tree = lora.init(jax.random.key(1), TINY, LORA)
    variables = lora.merge_collections(base, tree)
    small = jax.tree.map(lambda leaf: jnp.asarray(leaf).astype(kept), variables)
    rounded = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), small)
    ws = golden.draw("ws", (1, TINY.num_ws, TINY.w_dim))
    c = golden.two_cameras()[:1]
    config = dataclasses.replace(TINY, dtype=computed)

    @jax.jit
    def gradient(variables):
      def loss(trained):
        out = Generator(config, LORA).apply(
          {**variables, **trained}, ws, c, method="synthesis"
        )
        return jnp.mean(out.image**2) + jnp.mean(out.image_raw**2)

      return jax.value_and_grad(loss)(
        {name: variables[name] for name in ("params", "lora")}
      )

    value, found = gradient(small)
    right_value, right = gradient(rounded)
    self.assertEqual(value.dtype, jnp.float32)
    self.assertEqual(float(value), float(right_value))
    for mine, other in zip(jax.tree.leaves(found), jax.tree.leaves(right)):
      self.assertEqual(mine.dtype, kept)
      if computed == "float32":
        np.testing.assert_array_equal(mine, other.astype(kept))
      else:  # where XLA rounds in between is its own affair
        np.testing.assert_allclose(
          mine.astype(np.float32),
          other,
          rtol=0.02,
          atol=0.02 * np.abs(other).max(),
        )


if __name__ == "__main__":
  absltest.main()
