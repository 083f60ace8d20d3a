"""Other people's forms of a generator: NNX, and files of `jax.export`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized
from flax import nnx
from jax import export

from my3dgen_jax import Generator, latents, lora, LoraConfig
from my3dgen_jax.tracing import platforms
from tests.support import golden
from tests.support.tiny import random_variables, TINY

LORA = LoraConfig(rank=2)
PLATFORMS = ("cpu", "cuda", "tpu")


def personal():
  tree = jax.tree.map(
    lambda leaf: leaf + 0.1, lora.init(jax.random.key(0), TINY, LORA)
  )
  base = jax.tree.map(jnp.asarray, random_variables())
  return lora.personal(Generator(TINY), base, (tree, LORA))


class ExportTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ("mapping", "mapping", [("b", 4), ("b", 25)]),
    ("planes", "planes", [("b", TINY.num_ws, 4)]),
    (
      "views",
      "render_planes",
      [(1, 3, 8, 8, 4), (1, TINY.num_ws, 4), ("b", 25)],
    ),
    ("synthesis", "synthesis", [("b", TINY.num_ws, 4), ("b", 25)]),
    ("query", "query", [("b", 3, 8, 8, 4), ("b", 7, 3)]),
  )
  def test_any_batch_on_any_platform(self, method, shapes):
    platforms.trace_for_cpu_alone(False)
    self.addCleanup(platforms.trace_for_cpu_alone)
    jax.clear_caches()
    generator, variables = personal()
    function = jax.jit(
      functools.partial(generator.apply, variables, method=method)
    )
    (batch,) = export.symbolic_shape("b")
    exported = export.export(function, platforms=PLATFORMS)(
      *(
        jax.ShapeDtypeStruct(
          [batch if size == "b" else size for size in shape], jnp.float32
        )
        for shape in shapes
      )
    )
    data = exported.serialize()
    again = export.deserialize(data)
    self.assertEqual(again.platforms, PLATFORMS)
    for count in (1, 3):
      arguments = [
        golden.draw(
          f"bridge.{i}", [count if size == "b" else size for size in shape]
        )
        for i, shape in enumerate(shapes)
      ]
      if shapes[-1][-1] == 25:
        arguments[-1] = np.repeat(golden.two_cameras(), 2, axis=0)[:count]
      out, right = again.call(*arguments), function(*arguments)
      self.assertEqual(jax.tree.structure(out), jax.tree.structure(right))
      for mine, other in zip(jax.tree.leaves(out), jax.tree.leaves(right)):
        np.testing.assert_allclose(mine, other, atol=1e-5)

  def test_a_hull(self):
    hull = latents.Hull.of(golden.draw("anchors", (5, 3, 4)), 0.02)
    function = jax.jit(lambda hull, ws: hull.project(ws))
    ws = golden.draw("ws", (2, 3, 4))
    data = export.export(function)(hull, ws).serialize()
    np.testing.assert_allclose(
      export.deserialize(data).call(hull, ws), function(hull, ws), atol=1e-6
    )


class NnxTest(absltest.TestCase):
  def test_adapter_is_trained(self):
    generator, variables = personal()
    ws = jnp.asarray(golden.draw("ws", (1, TINY.num_ws, 4)))
    c = jnp.asarray(golden.two_cameras()[:1])
    model = nnx.bridge.ToNNX(generator, rngs=nnx.Rngs(0))
    for name, value in nnx.bridge.variables.linen_vars_to_nnx_attrs(
      variables
    ).items():
      setattr(model, name, nnx.data(value))
    out = nnx.jit(lambda model: model(ws, c, method="synthesis"))(model)
    right = jax.jit(generator.synthesize)(variables, ws, c)
    np.testing.assert_array_equal(out.image, right.image)

    kind = nnx.variable_type_from_name("lora")
    optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=kind)

    @nnx.jit
    def step(model, optimizer):
      loss, gradient = nnx.value_and_grad(
        lambda model: jnp.mean(model(ws, c, method="synthesis").image ** 2),
        argnums=nnx.DiffState(0, kind),
      )(model)
      optimizer.update(model, gradient)
      return loss

    first = step(model, optimizer)
    self.assertLess(float(step(model, optimizer)), float(first))
    after = nnx.bridge.variables.nnx_attrs_to_linen_vars(
      {name: getattr(model, name) for name in variables["params"]}
    )
    for mine, other in zip(
      jax.tree.leaves(after["params"]), jax.tree.leaves(variables["params"])
    ):
      np.testing.assert_array_equal(mine, other)
    changed = lora.merge_collections(variables, after["lora"])
    self.assertEqual(
      jax.tree.structure(changed["lora"]), jax.tree.structure(variables["lora"])
    )


if __name__ == "__main__":
  absltest.main()
