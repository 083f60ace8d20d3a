"""Pieces that others build with: renderer, typed methods, public places."""

import importlib
import inspect
import pkgutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax import Generator, lora, LoraConfig, rendering
from my3dgen_jax.errors import UserError
from my3dgen_jax.models import adapter
from my3dgen_jax.models.typed import TypedMethods
from my3dgen_jax.types import Network
from tests.support import golden
from tests.support.tiny import random_variables, TINY

TYPED = {
  "generate": "__call__",
  "map_latents": "mapping",
  "synthesize": "synthesis",
  "make_planes": "planes",
  "render": "render_planes",
  "query_points": "query",
}
PUBLIC = (
  "my3dgen_jax",
  "my3dgen_jax.cameras",
  "my3dgen_jax.directions",
  "my3dgen_jax.latents",
  "my3dgen_jax.lora",
  "my3dgen_jax.losses",
  "my3dgen_jax.rendering",
  "my3dgen_jax.training",
)


def own_decoder(params, features):
  hidden = jnp.tanh(features @ params["first"])
  return hidden @ params["sigma"], nn.sigmoid(hidden @ params["rgb"])


class OwnDecoder(nn.Module):
  @nn.compact
  def __call__(self, features):
    hidden = nn.tanh(nn.Dense(5)(features))
    return nn.Dense(1)(hidden), nn.sigmoid(nn.Dense(3)(hidden))


class RendererTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)
    self.planes = draw(1, 3, 8, 8, 6)
    self.params = dict(first=draw(6, 5), sigma=draw(5, 1), rgb=draw(5, 3))
    self.c = golden.two_cameras()
    self.target = draw(2, 4, 4, 3)

  def render(self, planes, decoder):
    return rendering.render(
      planes, decoder, self.c, resolution=4, config=TINY.rendering
    )

  def test_is_the_generators(self):
    variables = random_variables()
    ws = golden.draw("tiny.ws", (2, TINY.num_ws, TINY.w_dim))
    generator = Generator(TINY)
    planes = jax.jit(generator.make_planes)(variables, ws)
    weights = generator.apply(variables, method="decoder_weights")
    out = jax.jit(self.render)(planes, weights)
    right = jax.jit(generator.render)(variables, planes, ws, self.c)
    np.testing.assert_allclose(
      out.features[..., :3], right.image_raw, atol=1e-6
    )
    np.testing.assert_allclose(out.depth, right.image_depth, atol=1e-6)
    points = jnp.asarray(golden.draw("points", (2, 7, 3)) * 0.2)
    found = rendering.query(planes, weights, points, config=TINY.rendering)
    right = jax.jit(generator.query_points)(variables, planes, points)
    np.testing.assert_allclose(found.sigma, right.sigma, atol=1e-6)

  def test_functions_and_pytrees_agree(self):
    """Values, and gradients in planes and parameters."""

    def loss(planes, params, as_pytree):
      decoder = (
        jax.tree_util.Partial(own_decoder, params)
        if as_pytree
        else lambda features: own_decoder(params, features)
      )
      out = self.render(planes, decoder)
      return jnp.mean((out.features - self.target) ** 2) + jnp.mean(out.depth)

    found, right = (
      jax.jit(jax.value_and_grad(loss, argnums=(0, 1)), static_argnums=2)(
        self.planes, self.params, as_pytree
      )
      for as_pytree in (True, False)
    )
    for mine, other in zip(jax.tree.leaves(found), jax.tree.leaves(right)):
      self.assertLess(golden.relative_error(mine, other), 1e-4)
      self.assertGreater(float(jnp.abs(other).max()), 0)

  def test_a_module(self):
    module = OwnDecoder()
    variables = module.init(jax.random.key(0), jnp.zeros((1, 6)))
    gradient = jax.jit(
      jax.grad(
        lambda variables: jnp.sum(
          self.render(self.planes, Network(variables, module)).features ** 2
        )
      )
    )(variables)
    for leaf in jax.tree.leaves(gradient):
      self.assertGreater(float(jnp.abs(leaf).max()), 0)

  @parameterized.parameters(
    (lambda x: (x[:, 0], x[:, :3]), r"decoder: expected density \[\d+, 1\]"),
    (lambda x: (x[:, :1], x[:3]), "decoder: expected density"),
  )
  def test_wrong_decoder(self, decoder, message):
    with self.assertRaisesRegex(UserError, message):
      self.render(self.planes, decoder)

  def test_wrong_planes(self):
    for shape in ((1, 3, 8, 7, 6), (1, 2, 8, 8, 6), (3, 3, 8, 8, 6)):
      with self.assertRaisesRegex(UserError, "^planes: "):
        self.render(jnp.zeros(shape), own_decoder)


class TypedTest(parameterized.TestCase):
  @parameterized.parameters(*TYPED.items())
  def test_signatures_are_the_methods(self, name, method):
    typed, own = (
      list(inspect.signature(function).parameters.values())
      for function in (getattr(TypedMethods, name), getattr(Generator, method))
    )
    typed = [one for one in typed if one.name not in ("variables", "rngs")]
    self.assertEqual(
      [(one.name, one.kind, one.default, one.annotation) for one in typed],
      [(one.name, one.kind, one.default, one.annotation) for one in own],
    )
    self.assertEqual(
      inspect.signature(getattr(TypedMethods, name)).return_annotation,
      inspect.signature(getattr(Generator, method)).return_annotation,
    )

  def test_results_are_the_methods(self):
    variables = random_variables()
    generator = Generator(TINY)
    z, c = golden.draw("z", (2, TINY.z_dim)), golden.two_cameras()
    rngs = {"render": jax.random.key(0)}
    out = generator.generate(variables, z, c, truncation_psi=0.5, rngs=rngs)
    ws = generator.map_latents(variables, z, c, truncation_psi=0.5)
    again = generator.synthesize(variables, ws, c, rngs=rngs)
    right = generator.apply(variables, z, c, truncation_psi=0.5, rngs=rngs)
    for one in (out, again):
      np.testing.assert_array_equal(one.image, right.image)


class ForeignTest(absltest.TestCase):
  def test_a_layer_that_is_not_ours(self):
    class Foreign(nn.Module):
      @nn.compact
      def __call__(self, x):
        return adapter.Adapter(
          nn.Dense(3, parent=None), LoraConfig(targets=(".*",)), name="out"
        )(x)

    with self.assertRaisesRegex(
      UserError, "lora: out is a Dense; only this project's layers"
    ):
      Foreign().init(jax.random.key(0), jnp.zeros((1, 2)))

  def test_parameters_that_are_not_ours(self):
    params = {"out": {"kernel": jnp.zeros((4, 3)), "bias": jnp.zeros(3)}}
    pair = {"out": {"lora_a": jnp.ones((4, 1)), "lora_b": jnp.ones((1, 3))}}
    with self.assertRaisesRegex(UserError, "lora: out/lora_a .* no layer uses"):
      lora.merge_into_params({"params": params}, pair, LoraConfig())


class PublicTest(parameterized.TestCase):
  @parameterized.parameters(*PUBLIC)
  def test_names_are_there(self, name):
    module = importlib.import_module(name)
    for one in module.__all__:
      self.assertTrue(hasattr(module, one), one)
    self.assertLen(set(module.__all__), len(module.__all__))
    self.assertTrue(module.__doc__)
    # A name that hides a module takes it from who imported that.
    for one in pkgutil.iter_modules(getattr(module, "__path__", [])):
      inner = f"{name}.{one.name}"
      if hasattr(module, one.name):
        self.assertIs(getattr(module, one.name), importlib.import_module(inner))

  def test_generator_inside_another_module(self):
    """Targets are paths inside the generator, wherever it is."""

    class Outer(nn.Module):
      @nn.compact
      def __call__(self, ws, c):
        return Generator(TINY, LoraConfig(), name="face").synthesis(ws, c).image

    ws, c = golden.draw("ws", (1, TINY.num_ws, 4)), golden.two_cameras()[:1]
    variables = jax.eval_shape(Outer().init, jax.random.key(0), ws, c)
    self.assertEqual(
      jax.tree.structure(variables["lora"]["face"]),
      jax.tree.structure(lora.abstract(TINY, LoraConfig())),
    )


if __name__ == "__main__":
  absltest.main()
