"""How the generator behaves: counts, batches, randomness, bad input."""

import dataclasses
import functools
import os
import pathlib
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax import config as config_lib
from my3dgen_jax import types
from my3dgen_jax.errors import UserError
from my3dgen_jax.models.generator import (
  abstract_variables,
  Generator,
  init_variables,
)
from my3dgen_jax.ops import cameras
from my3dgen_jax.ops.rendering import rays, renderer
from tests.support import golden
from tests.support.tiny import program, random_variables, TINY


def count(tree):
  return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


ROOT = pathlib.Path(__file__).resolve().parents[2]


class CountsTest(parameterized.TestCase):
  def test_of_the_ffhq_generator(self):
    variables = abstract_variables(config_lib.preset("ffhqrebalanced512-128"))
    params = variables["params"]
    self.assertEqual(count(params["backbone"]["mapping"]), 800_768)
    self.assertEqual(count(params["backbone"]["synthesis"]), 28_207_533)
    self.assertEqual(count(params["superresolution"]), 1_649_578)
    self.assertEqual(count(params["decoder"]), 4_257)
    self.assertEqual(count(params), 30_662_136)
    for leaf in jax.tree.leaves(variables):
      self.assertEqual(leaf.dtype, jnp.float32)

  @parameterized.parameters(*config_lib.PRESETS)
  def test_every_preset_builds(self, name):
    config = config_lib.preset(name)
    out = jax.eval_shape(
      lambda variables, ws, c: Generator(config).apply(
        variables, ws, c, method="synthesis"
      ),
      abstract_variables(config),
      jax.ShapeDtypeStruct((2, config.num_ws, config.w_dim), jnp.float32),
      jax.ShapeDtypeStruct((2, 25), jnp.float32),
    )
    raw, final = config.neural_rendering_resolution, config.img_resolution
    self.assertEqual(out.image.shape, (2, final, final, 3))
    self.assertEqual(out.image_raw.shape, (2, raw, raw, 3))
    self.assertEqual(out.image_depth.shape, (2, raw, raw, 1))
    self.assertEqual(
      (raw, final),
      tuple(
        map(
          int,
          (
            name.split("-")[1],
            "".join(filter(str.isdigit, name.split("-")[0])),
          ),
        )
      ),
    )


class InitTest(parameterized.TestCase):
  @parameterized.parameters(None, config_lib.LoraConfig(rank=2))
  def test_declared_is_what_a_call_would_make(self, lora):
    """To the last bit, without tracing a call."""
    generator, key = Generator(TINY, lora), jax.random.key(3)
    called = jax.jit(
      lambda key: generator.init(
        key,
        jnp.zeros((1, TINY.z_dim)),
        cameras.label(0.0)[None],
        neural_rendering_resolution=1,
      )
    )(key)
    chex.assert_trees_all_equal(init_variables(key, TINY, lora), called)

  def test_starts_as_stylegan2_does(self):
    variables = init_variables(jax.random.key(0), TINY)
    chex.assert_trees_all_equal_shapes_and_dtypes(
      variables, abstract_variables(TINY)
    )
    layer = variables["params"]["backbone"]["synthesis"]["b8"]["conv0"]
    self.assertAlmostEqual(float(jnp.std(layer["kernel"])), 1, delta=0.2)
    self.assertFalse(np.asarray(layer["bias"]).any())
    self.assertTrue((np.asarray(layer["affine"]["bias"]) == 1).all())
    hidden = variables["params"]["backbone"]["mapping"]["fc0"]["kernel"]
    self.assertAlmostEqual(float(jnp.std(hidden)), 100, delta=40)


class TinyGeneratorTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.config = TINY
    cls.generator = Generator(cls.config)
    cls.rays = (2, TINY.neural_rendering_resolution**2)
    cls.variables = random_variables()
    # Random weights are nearly transparent; a head is not.
    cls.variables["params"]["decoder"]["fc1"]["bias"] += 3.0
    cls.z = golden.draw("tiny.z", (2, TINY.z_dim))
    cls.c = golden.two_cameras()
    cls.ws = cls.apply("mapping", cls.z, cls.c)
    cls.planes = cls.apply("planes", cls.ws)

  @classmethod
  def apply(cls, method, *arguments, rngs=None, **options):
    sampling = options.pop("sampling", None)
    more = {} if sampling is None else {"sampling": sampling}
    return program(method, cls.config, **options)(
      cls.variables, *arguments, rngs=rngs, **more
    )

  def test_call_is_mapping_then_synthesis(self):
    chex.assert_trees_all_close(
      self.apply("__call__", self.z, self.c),
      self.apply("synthesis", self.ws, self.c),
      atol=1e-5,
    )

  def test_planes_once_equals_synthesis(self):
    chex.assert_trees_all_close(
      self.apply("render_planes", self.planes, self.ws, self.c),
      self.apply("synthesis", self.ws, self.c),
      atol=1e-5,
    )

  def test_split_batch_equals_full(self):
    key = jax.random.key(1)
    sampling = None
    for stratified in (False, True):
      if stratified:
        sampling = renderer.draw_sampling(key, self.rays, self.config.rendering)
      full = self.apply("synthesis", self.ws, self.c, sampling=sampling)
      for i in range(2):
        part = jax.tree.map(
          lambda x, i=i: x[i : i + 1], (self.ws, self.c, sampling)
        )
        chex.assert_trees_all_close(
          self.apply("synthesis", part[0], part[1], sampling=part[2]),
          jax.tree.map(lambda x, i=i: x[i : i + 1], full),
          atol=1e-5,
        )

  def test_one_face_many_cameras(self):
    both = self.apply("render_planes", self.planes[:1], self.ws[:1], self.c)
    twice = np.array([0, 0])
    repeated = self.apply(
      "render_planes", self.planes[twice], self.ws[twice], self.c
    )
    chex.assert_trees_all_close(both, repeated, atol=1e-5)
    chex.assert_trees_all_close(
      self.apply("synthesis", self.ws[:1], self.c), both, atol=1e-5
    )

  def test_one_camera_many_faces(self):
    chex.assert_trees_all_close(
      self.apply("synthesis", self.ws, self.c[:1]),
      self.apply("synthesis", self.ws, self.c[np.array([0, 0])]),
      atol=1e-5,
    )

  def test_numbers_of_any_kind(self):
    expected = self.apply("mapping", self.z, self.c)
    mapping = functools.partial(
      self.generator.apply, self.variables, method="mapping"
    )
    for convert in (np.float64, np.ndarray.tolist, jnp.asarray):
      np.testing.assert_allclose(
        mapping(convert(self.z), convert(self.c)), expected, rtol=1e-5
      )
    self.apply(
      "render_planes",
      self.planes,
      self.ws,
      self.c,
      neural_rendering_resolution=np.int64(3),
    )

  def test_sharded_batch_renders_where_it_is(self):
    """No device gathers the others' planes."""
    code = """
import functools, jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from my3dgen_jax import Generator
from tests.support import golden
from tests.support.tiny import TINY, random_variables
mesh = Mesh(np.array(jax.devices()), ("batch",))
split, same = (NamedSharding(mesh, PartitionSpec(*axes))
               for axes in (("batch",), ()))
variables = random_variables()
ws = golden.draw("tiny.ws", (2, TINY.num_ws, TINY.w_dim))
c = golden.two_cameras()
render = jax.jit(functools.partial(Generator(TINY).apply, method="synthesis"))
placed = (jax.device_put(variables, same), jax.device_put(ws, split),
          jax.device_put(c, split))
text = render.lower(*placed).compile().as_text()
assert "all-gather" not in text, text
np.testing.assert_allclose(render(*placed).image,
                           render(variables, ws, c).image, atol=1e-5)
"""
    subprocess.run(
      [sys.executable, "-c", code],
      check=True,
      cwd=ROOT,
      env={
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
      },
    )

  @parameterized.parameters(1, 7, 1000)
  def test_chunks_do_not_matter(self, chunk):
    chunked = dataclasses.replace(
      self.config,
      rendering=dataclasses.replace(self.config.rendering, ray_chunk=chunk),
    )
    chex.assert_trees_all_close(
      program("render_planes", chunked)(
        self.variables, self.planes, self.ws, self.c
      ),
      self.apply("render_planes", self.planes, self.ws, self.c),
      atol=1e-5,
    )
    points = golden.draw("tiny.points", (2, 33, 3)) / 4
    chex.assert_trees_all_close(
      program("query", chunked)(self.variables, self.planes, points),
      self.apply("query", self.planes, points),
      atol=1e-5,
    )

  def test_render_stream_makes_sampling_random(self):
    render = functools.partial(
      self.apply, "render_planes", self.planes, self.ws, self.c
    )
    keys = [jax.random.key(i) for i in (0, 0, 1)]
    first, again, other = (render(rngs={"render": key}) for key in keys)
    chex.assert_trees_all_equal(first, again)
    self.assertGreater(np.abs(first.image_raw - other.image_raw).max(), 1e-6)
    chex.assert_trees_all_equal(render(), render())
    self.assertGreater(np.abs(first.image_raw - render().image_raw).max(), 1e-6)

  def test_noise_modes(self):
    variables = jax.tree_util.tree_map_with_path(
      lambda path, leaf: leaf + 0.5 * ("noise_strength" in str(path)),
      self.variables,
    )
    planes = lambda mode, seed=0: program(
      "planes", self.config, noise_mode=mode
    )(variables, self.ws, rngs={"noise": jax.random.key(seed)})
    results = [
      planes("const"),
      planes("none"),
      planes("random"),
      planes("random", 1),
    ]
    for i, first in enumerate(results):
      for second in results[:i]:
        self.assertGreater(np.abs(first - second).max(), 1e-3)
    chex.assert_trees_all_equal(planes("random"), results[2])

  def test_coarse_pass_alone(self):
    config = dataclasses.replace(
      self.config,
      rendering=dataclasses.replace(
        self.config.rendering, depth_resolution_importance=0
      ),
    )
    out = program("render_planes", config)(
      self.variables,
      self.planes,
      self.ws,
      self.c,
      rngs={"render": jax.random.key(0)},
    )
    self.assertTrue(np.isfinite(out.image).all())

  def test_auto_depth_range_and_white_background(self):
    config = dataclasses.replace(
      self.config,
      rendering=dataclasses.replace(
        self.config.rendering, ray_start="auto", ray_end="auto", white_back=True
      ),
    )
    render = program("render_planes", config)
    out = render(self.variables, self.planes, self.ws, self.c)
    self.assertTrue(np.isfinite(out.image).all())
    self.assertTrue(np.isfinite(out.image_depth).all())
    transparent = jax.tree.map(lambda x: x, self.variables)
    transparent["params"]["decoder"]["fc1"]["bias"] = (
      self.variables["params"]["decoder"]["fc1"]["bias"].at[0].set(-1e4)
    )
    out = render(transparent, self.planes, self.ws, self.c)
    np.testing.assert_allclose(out.image_raw, 1, atol=1e-6)

  def test_raw_image_is_within_its_range(self):
    out = self.apply("synthesis", self.ws, self.c)
    self.assertLessEqual(np.abs(out.image_raw).max(), 1.002)
    rendering = self.config.rendering
    self.assertGreaterEqual(out.image_depth.min(), rendering.ray_start)
    self.assertLessEqual(out.image_depth.max(), rendering.ray_end)

  def test_query_is_what_the_renderer_sees(self):
    """An opaque field shows the color at the first samples' midpoint."""
    variables = jax.tree.map(lambda x: x, self.variables)
    variables["params"]["decoder"]["fc1"]["bias"] = (
      self.variables["params"]["decoder"]["fc1"]["bias"].at[0].set(1e6)
    )
    rendering = dataclasses.replace(
      self.config.rendering, depth_resolution_importance=0
    )
    config = dataclasses.replace(self.config, rendering=rendering)
    out = program("render_planes", config)(
      variables, self.planes, self.ws, self.c
    )
    seen = rays.generate_rays(
      *cameras.unpack_label(self.c), TINY.neural_rendering_resolution
    )
    depths = np.linspace(
      rendering.ray_start, rendering.ray_end, rendering.depth_resolution
    )[:2]
    query = program("query", config)
    rgb = [
      query(variables, self.planes, seen.origins + depth * seen.directions).rgb[
        ..., :3
      ]
      for depth in depths
    ]
    np.testing.assert_allclose(
      out.image_raw.reshape(self.rays + (3,)), rgb[0] + rgb[1] - 1, atol=1e-5
    )

  def test_gradients_are_finite(self):
    gradients = jax.jit(
      jax.grad(
        lambda variables, ws: jnp.sum(
          self.generator.apply(variables, ws, self.c, method="synthesis").image
          ** 2
        ),
        argnums=(0, 1),
      )
    )(self.variables, self.ws)
    chex.assert_tree_all_finite(gradients)
    self.assertGreater(
      np.abs(
        gradients[0]["params"]["backbone"]["synthesis"]["b4"]["const"]
      ).max(),
      0,
    )

  def test_one_compilation(self):
    @jax.jit
    @chex.assert_max_traces(n=1)
    def function(variables, ws, c):
      return self.generator.apply(variables, ws, c, method="synthesis")

    for i in range(3):
      function(self.variables, self.ws + i, self.c)

  def test_bfloat16_is_near_float32(self):
    """Eight bits of mantissa: 0.4 % a rounding, a few layers deep."""
    config = dataclasses.replace(self.config, dtype="bfloat16")
    out = program("synthesis", config)(self.variables, self.ws, self.c)
    for leaf in jax.tree.leaves(out):
      self.assertEqual(leaf.dtype, jnp.float32)
    expected = self.apply("synthesis", self.ws, self.c)
    self.assertLess(golden.relative_error(out.image, expected.image), 0.03)
    self.assertGreater(golden.relative_error(out.image, expected.image), 1e-5)

  @parameterized.named_parameters(
    (
      "24_numbers",
      "synthesis",
      dict(c=np.zeros((2, 24))),
      r"c: expected shape \[N, 25\], got \[2, 24\]",
    ),
    (
      "sheared_camera",
      "synthesis",
      dict(c=golden.two_cameras() + np.eye(1, 25, 1)),
      r"c\[0\]: cam2world is not a rigid camera",
    ),
    (
      "nan_ws",
      "synthesis",
      dict(ws=np.full((2, 4, 4), np.nan)),
      "ws: holds NaN",
    ),
    (
      "rows",
      "synthesis",
      dict(ws=np.zeros((2, 5, 4))),
      r"ws: expected shape \[N, 4, 4\]",
    ),
    (
      "batches",
      "synthesis",
      dict(ws=np.zeros((3, 4, 4))),
      "ws: has 3 rows, but c has 2",
    ),
    (
      "resolution",
      "synthesis",
      dict(neural_rendering_resolution=0),
      "neural_rendering_resolution: expected a whole number >= 1",
    ),
    (
      "huge",
      "synthesis",
      dict(neural_rendering_resolution=10**6),
      "neural_rendering_resolution: expected .* <= 4096",
    ),
    (
      "truth",
      "synthesis",
      dict(neural_rendering_resolution=True),
      "neural_rendering_resolution: expected a whole number",
    ),
    (
      "noise_mode",
      "synthesis",
      dict(noise_mode="loud"),
      "noise_mode: expected one of",
    ),
    (
      "noise_stream",
      "synthesis",
      dict(noise_mode="random"),
      "noise_mode: 'random' needs rngs=",
    ),
    ("nan_z", "mapping", dict(z=np.full((2, 4), np.nan)), "z: holds NaN"),
    (
      "z_shape",
      "mapping",
      dict(z=np.zeros((2, 9))),
      r"z: expected shape \[N, 4\]",
    ),
    (
      "label_rows",
      "mapping",
      dict(z=np.zeros((3, 4))),
      "c: has 2 rows, but z has 3",
    ),
    (
      "planes",
      "render_planes",
      dict(planes=np.zeros((2, 3, 9, 9, 4))),
      r"planes: expected shape \[N, 3, 8, 8, 4\]",
    ),
    (
      "points",
      "query",
      dict(points=np.zeros((2, 5))),
      r"points: expected shape \[N, M, 3\]",
    ),
    (
      "no_points",
      "query",
      dict(points=np.zeros((2, 0, 3))),
      r"points: expected shape \[N, M, 3\], got \[2, 0, 3\]",
    ),
    (
      "psi",
      "mapping",
      dict(truncation_psi=np.nan),
      "truncation_psi: holds NaN",
    ),
    (
      "psi_text",
      "mapping",
      dict(truncation_psi="x"),
      "truncation_psi: expected real numbers",
    ),
    (
      "cutoff",
      "mapping",
      dict(truncation_cutoff=2.5),
      "truncation_cutoff: expected a whole number >= 0 and <= 4",
    ),
    (
      "complex",
      "mapping",
      dict(z=np.zeros((2, 4), complex)),
      "z: expected real numbers",
    ),
    (
      "objects",
      "mapping",
      dict(z=np.full((2, 4), None)),
      "z: expected real numbers",
    ),
    ("ragged", "mapping", dict(z=[[1, 2], [3]]), "z: expected real numbers"),
    (
      "sampling",
      "synthesis",
      dict(
        sampling=types.RaySampling(
          jitter=np.zeros((2, 16, 4)), importance=np.zeros((2, 16, 3))
        )
      ),
      r"sampling.importance: expected shape \[2, 16, 4\]",
    ),
  )
  def test_bad_input_is_named(self, method, changes, message):
    names = {
      "synthesis": ("ws", "c"),
      "mapping": ("z", "c"),
      "render_planes": ("planes", "ws", "c"),
      "query": ("planes", "points"),
    }[method]
    given = {**{name: getattr(self, name, None) for name in names}, **changes}
    positional = [given.pop(name) for name in names]
    with self.assertRaisesRegex(UserError, message):
      self.generator.apply(self.variables, *positional, method=method, **given)


if __name__ == "__main__":
  absltest.main()
