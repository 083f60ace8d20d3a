"""The EG3D generator: maps latents and cameras to 3D-consistent images."""

import functools
from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from my3dgen_jax.config import GeneratorConfig, LoraConfig, MAX_RESOLUTION
from my3dgen_jax.errors import UserError
from my3dgen_jax.models import adapter
from my3dgen_jax.models.decoder import Decoder
from my3dgen_jax.models.layers import NOISE_MODES, NoiseMode
from my3dgen_jax.models.superresolution import Superresolution
from my3dgen_jax.models.synthesis import Backbone
from my3dgen_jax.models.typed import TypedMethods
from my3dgen_jax.ops import cameras, checks
from my3dgen_jax.ops.rendering import density_grid, renderer, triplane
from my3dgen_jax.ops.rendering import rays as rays_lib
from my3dgen_jax.tracing import derivatives, meshes
from my3dgen_jax.tracing.parameters import traced_once
from my3dgen_jax.types import (
  Array,
  DecoderWeights,
  Network,
  RadianceSample,
  RaySampling,
  RenderOutput,
)


def _differentiated(method: Callable[..., Any]) -> Callable[..., Any]:
  """Runs a `Generator` method under the config's kind of derivatives."""

  @derivatives.entry
  @functools.wraps(method)
  def wrapper(self: "Generator", *arguments: Any, **options: Any) -> Any:
    with derivatives.automatic(self.config.differentiation == "any"):
      return method(self, *arguments, **options)

  return wrapper


class Generator(TypedMethods, nn.Module):
  """EG3D (Chan et al. 2022).

  Call methods as `generator.apply(variables, …, method=NAME)`, with
  `variables = {"params": …, "buffers": …}`, or as typed functions of variables
  (`generator.synthesize(variables, ws, c)`, see `TypedMethods`). Two PRNG
  streams are optional: with `rngs={"render": key}` depths are sampled at random
  (stratified), otherwise rendering is deterministic; `rngs={"noise": key}` is
  for `noise_mode="random"`.

  Shapes are always checked; values (NaN, cameras) only if they are concrete,
  that is, outside `jax.jit`. Gradients support reverse mode (`jax.grad`,
  `jax.vjp`, also nested); forward mode (`jax.jvp`, `jax.jacfwd`) and mixtures
  of both need a config with `differentiation="any"`, whose gradients take more
  time and memory. Batches may be sharded over a mesh, also with explicit axes.

  With a `lora`, `variables` has a third collection of that name, which holds
  everything personal; `params` is not modified. See `my3dgen_jax.lora`.

  Attributes:
    config: every size and setting.
    lora: how the layers are adapted; None: the plain generator.
  """

  config: GeneratorConfig
  lora: LoraConfig | None = None

  def setup(self):
    self.config.validate()
    if self.lora is not None:
      self.lora.validate()
    given = self.variables
    if adapter.COLLECTION in given and not self.is_initializing():
      adapter.check(
        given.get("params", {}), given[adapter.COLLECTION], self.lora
      )
    self.backbone = Backbone(self.config, self.lora)
    self.decoder = Decoder(self.config, self.lora)
    self.superresolution = Superresolution(self.config, self.lora)

  @meshes.along_batch
  @_differentiated
  def __call__(
    self,
    z: Array,
    c: Array,
    *,
    truncation_psi: chex.Numeric = 1.0,
    truncation_cutoff: int | None = None,
    neural_rendering_resolution: int | None = None,
    noise_mode: NoiseMode = "const",
  ) -> RenderOutput:
    """`mapping`, then `synthesis` from the camera used for conditioning."""
    ws = self.mapping(
      z, c, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff
    )
    return self.synthesis(
      ws,
      c,
      neural_rendering_resolution=neural_rendering_resolution,
      noise_mode=noise_mode,
    )

  @meshes.along_batch
  @_differentiated
  def mapping(
    self,
    z: Array,
    c: Array,
    *,
    truncation_psi: chex.Numeric = 1.0,
    truncation_cutoff: int | None = None,
  ) -> jax.Array:
    """Maps latents z to ws, the rows of w that the layers read.

    Args:
      z: [N, z_dim], standard normal.
      c: [N, 25] or [1, 25], the camera that each face is conditioned on.
      truncation_psi: 1 leaves w unchanged, 0 gives the mean face.
      truncation_cutoff: number of rows truncated, from the first; None: all.

    Returns: ws, [N, num_ws, w_dim].
    Raises: UserError: names the argument that does not fit.
    """
    z = checks.as_float32("z", z, ("N", self.config.z_dim))
    c = checks.as_float32("c", c, ("N", self.config.c_dim))
    checks.check_rows("c", c, z.shape[0], "z")
    c = jnp.broadcast_to(c, (z.shape[0], self.config.c_dim))
    checks.as_float32("truncation_psi", truncation_psi, ())
    if truncation_cutoff is not None and not isinstance(
      truncation_cutoff, jax.core.Tracer
    ):
      truncation_cutoff = checks.whole_number(
        "truncation_cutoff", truncation_cutoff, 0, self.config.num_ws
      )
    return self.backbone.mapping(
      z, c, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff
    )

  @meshes.along_batch
  @_differentiated
  def planes(self, ws: Array, *, noise_mode: NoiseMode = "const") -> jax.Array:
    """The tri-planes of latents, for rendering from many cameras.

    Args:
      ws: [N, num_ws, w_dim].
      noise_mode: "const" (the stored maps), "random" or "none".

    Returns: [N, 3, S, S, plane_channels], float32; axes (plane, row, column).
    Raises: UserError: names the argument that does not fit.
    """
    ws = self._check_ws(ws)
    if noise_mode not in NOISE_MODES:
      raise UserError(
        f"noise_mode: expected one of {NOISE_MODES}, got {noise_mode!r}"
      )
    if noise_mode == "random" and not self.has_rng("noise"):
      raise UserError("noise_mode: 'random' needs rngs={'noise': key}")
    return self.backbone.planes(ws, noise_mode=noise_mode)

  @meshes.along_batch
  @_differentiated
  def synthesis(
    self,
    ws: Array,
    c: Array,
    *,
    neural_rendering_resolution: int | None = None,
    noise_mode: NoiseMode = "const",
    sampling: RaySampling | None = None,
  ) -> RenderOutput:
    """Renders latents from cameras: `planes`, then `render_planes`.

    Args:
      ws: [N, num_ws, w_dim], or [1, …] for one face and N cameras.
      c: [N, 25], or [1, 25] for one camera and N faces.
      neural_rendering_resolution: S, side of `image_raw`, pixels; None: the
        config's.
      noise_mode: noise in the backbone: "const" (the stored maps), "random" or
        "none".
      sampling: see `render_planes`.

    Returns: RenderOutput.
    Raises: UserError: names the argument that does not fit.
    """
    ws, c = self._check_views(ws, c)  # before the work, not halfway through it
    planes = self.planes(ws, noise_mode=noise_mode)
    return self.render_planes(
      planes,
      ws,
      c,
      neural_rendering_resolution=neural_rendering_resolution,
      sampling=sampling,
    )

  @meshes.along_batch
  @_differentiated
  def render_planes(
    self,
    planes: Array,
    ws: Array,
    c: Array,
    *,
    neural_rendering_resolution: int | None = None,
    sampling: RaySampling | None = None,
  ) -> RenderOutput:
    """Renders planes from cameras.

    Args:
      planes: [N, 3, S, S, plane_channels], or [1, …] for one face seen by N
        cameras.
      ws: [N, num_ws, w_dim] or [1, …]; super-resolution reads the last row.
      c: [N, 25], or [1, 25] for one camera and N faces.
      neural_rendering_resolution: side of `image_raw`, pixels; None: the
        config's.
      sampling: random numbers for stratified sampling, for callers that keep
        them; None: drawn from the stream `render`, if there is one.

    Returns: RenderOutput.
    Raises: UserError: names the argument that does not fit.
    """
    ws, c = self._check_views(ws, c)
    planes = self._check_planes(planes)
    checks.check_rows("planes", planes, c.shape[0], "c")
    resolution = checks.whole_number(
      "neural_rendering_resolution",
      self.config.neural_rendering_resolution
      if neural_rendering_resolution is None
      else neural_rendering_resolution,
      1,
      MAX_RESOLUTION,
    )
    rays = rays_lib.generate_rays(*cameras.unpack_label(c), resolution)
    shape = c.shape[0], resolution**2
    if sampling is None and self.has_rng("render"):
      sampling = renderer.draw_sampling(
        self.make_rng("render"), shape, self.config.rendering
      )
    elif sampling is not None:
      self._check_sampling(sampling, shape)
    rendering = renderer.render_rays(
      self._padded_planes(planes),
      self.decoder(),
      rays,
      config=self.config.rendering,
      sampling=sampling,
      precision=self.config.precision,
    )
    to_image = lambda x: x.reshape(
      (x.shape[0], resolution, resolution, x.shape[-1])
    )
    features = to_image(rendering.features)
    image_raw = features[..., : self.config.img_channels]
    ws = jnp.broadcast_to(ws, (c.shape[0],) + ws.shape[1:])
    image, image_raw = self.superresolution(image_raw, features, ws)
    return RenderOutput(
      image=image, image_raw=image_raw, image_depth=to_image(rendering.depth)
    )

  @meshes.along_batch
  @_differentiated
  def query(self, planes: Array, points: Array) -> RadianceSample:
    """Density and color of the field at points.

    Args:
      planes: [N, 3, S, S, plane_channels], or [1, …] for all points.
      points: [N, M, 3], world units; outside the box of side box_warp the
        planes are zero.

    Returns: RadianceSample, sigma [N, M, 1] and rgb [N, M, color_features].
    Raises: UserError: names the argument that does not fit.
    """
    planes = self._check_planes(planes)
    points = checks.as_float32("points", points, ("N", "M", 3))
    checks.check_rows("planes", planes, points.shape[0], "points")
    return renderer.query_points(
      self._padded_planes(planes),
      self.decoder(),
      points,
      config=self.config.rendering,
      precision=self.config.precision,
    )

  @_differentiated
  def density_grid(
    self, planes: Array, x: Array, y: Array, z: Array
  ) -> jax.Array:
    """Density on a regular grid; equals `query`'s sigma except for rounding.

    Args:
      planes: [1, 3, S, S, plane_channels].
      x: [X], world units.
      y: [Y], world units.
      z: [Z], world units.

    Returns: [X, Y, Z], float32 whatever the dtype of the activations.
    Raises: UserError: names the argument that does not fit.
    """
    planes = self._check_planes(planes)
    checks.check_rows("planes", planes, 1, "the grid")
    x, y, z = (
      checks.as_float32(name, axis, (name.upper(),))
      for name, axis in (("x", x), ("y", y), ("z", z))
    )
    return density_grid.density(
      triplane.fold_planes(planes)[0],
      self.decoder(),
      x,
      y,
      z,
      box_warp=self.config.rendering.box_warp,
      precision=self.config.precision,
    )

  def declared(self, key: chex.PRNGKey) -> Any:
    """The variables that `init` gives for any inputs, in a tenth of the time.

    Args:
      key: the PRNG key.
    """
    return self.init(key, method=Generator._declare)

  def _declare(self):
    config = self.config
    # Too few operations to be worth a way of their own.
    self.mapping(jnp.zeros((1, config.z_dim)), jnp.zeros((1, config.c_dim)))
    self.decoder()
    self.backbone.synthesis.declare()
    self.superresolution.declare()

  def decoder_weights(self) -> DecoderWeights:
    """The decoder's weights, with gains and the adapter's changes applied."""
    return self.decoder()

  def _padded_planes(self, planes: jax.Array) -> jax.Array:
    return triplane.fold_planes(planes).astype(self.config.dtype)

  def _check_ws(self, ws: Any) -> jax.Array:
    return checks.as_float32(
      "ws", ws, ("N", self.config.num_ws, self.config.w_dim)
    )

  def _check_views(self, ws: Any, c: Any) -> tuple[jax.Array, jax.Array]:
    """Latents and cameras; one camera serves any number of latents."""
    ws, c = self._check_ws(ws), cameras.check_label(c)
    if c.shape[0] == 1:
      c = jnp.broadcast_to(c, (ws.shape[0], c.shape[1]))
    checks.check_rows("ws", ws, c.shape[0], "c")
    return ws, c

  def _check_planes(self, planes: Any) -> jax.Array:
    backbone = self.config.backbone
    return checks.as_float32(
      "planes",
      planes,
      (
        "N",
        3,
        backbone.resolution,
        backbone.resolution,
        backbone.plane_channels,
      ),
    )

  def _check_sampling(self, sampling: RaySampling, shape: tuple[int, int]):
    rendering = self.config.rendering
    checks.check_shape(
      "sampling.jitter", sampling.jitter, shape + (rendering.depth_resolution,)
    )
    checks.check_shape(
      "sampling.importance",
      sampling.importance,
      shape + (rendering.depth_resolution_importance,),
    )


@jax.jit
def images_of(network: Network, ws: Array, c: Array) -> RenderOutput:
  """Renders each latent from its own camera: [N, num_ws, w_dim], [N, 25].

  One shared program for all callers, so that it is compiled only once.
  """
  return network(ws, c, method="synthesis")


@derivatives.entry
def init_variables(
  key: chex.PRNGKey, config: GeneratorConfig, lora: LoraConfig | None = None
) -> Any:
  """Random weights, initialized as in StyleGAN2.

  Returns: {"params": …, "buffers": …}, and "lora" if there is a config.
  """
  return jax.jit(Generator(config, lora).declared)(key)


@derivatives.entry
@traced_once
def abstract_variables(
  config: GeneratorConfig, lora: LoraConfig | None = None
) -> Any:
  """The tree of `init_variables` as `jax.ShapeDtypeStruct`s; no memory."""
  return jax.eval_shape(
    lambda: Generator(config, lora).declared(jax.random.key(0))
  )
