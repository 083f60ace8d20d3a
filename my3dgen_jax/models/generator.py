"""The EG3D generator: latents and cameras to images that can be turned."""

from typing import Any, Optional

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from my3dgen_jax.config import GeneratorConfig
from my3dgen_jax.errors import UserError
from my3dgen_jax.models.decoder import Decoder
from my3dgen_jax.models.layers import NOISE_MODES, NoiseMode
from my3dgen_jax.models.superresolution import Superresolution
from my3dgen_jax.models.synthesis import Backbone
from my3dgen_jax.ops import cameras, checks, renderer, triplane
from my3dgen_jax.ops import rays as rays_lib
from my3dgen_jax.types import RadianceSample, RaySampling, RenderOutput


class Generator(nn.Module):
  """EG3D (Chan et al. 2022).

  All methods run through `generator.apply(variables, …, method=NAME)`, with
  `variables = {"params": …, "buffers": …}`. Two PRNG streams are optional:
  with `rngs={"render": key}` depths are sampled at random (stratified),
  without it the rendering is deterministic; `rngs={"noise": key}` serves
  `noise_mode="random"`.

  Shapes are checked always, values (NaN, cameras) where they are concrete,
  that is outside `jax.jit`.

  Attributes:
    config: every size and setting.
  """

  config: GeneratorConfig

  def setup(self):
    self.config.validate()
    self.backbone = Backbone(self.config)
    self.decoder = Decoder(self.config)
    self.superresolution = Superresolution(self.config)

  def __call__(self, z: chex.Array, c: chex.Array, *,
               truncation_psi: chex.Numeric = 1.0,
               truncation_cutoff: Optional[int] = None,
               neural_rendering_resolution: Optional[int] = None,
               noise_mode: NoiseMode = "const") -> RenderOutput:
    """`mapping`, then `synthesis` from the camera the face was made for."""
    ws = self.mapping(z, c, truncation_psi=truncation_psi,
                      truncation_cutoff=truncation_cutoff)
    return self.synthesis(
        ws, c, neural_rendering_resolution=neural_rendering_resolution,
        noise_mode=noise_mode)

  def mapping(self, z: chex.Array, c: chex.Array, *,
              truncation_psi: chex.Numeric = 1.0,
              truncation_cutoff: Optional[int] = None) -> jax.Array:
    """Latents to the rows that the layers read.

    Args:
      z: [N, z_dim], standard normal.
      c: [N, 25] or [1, 25], the camera each face is conditioned on.
      truncation_psi: 1 leaves w as it is, 0 gives the mean face.
      truncation_cutoff: rows truncated, from the first; None: all.

    Returns: ws, [N, num_ws, w_dim].
    Raises: UserError that names the argument which does not fit.
    """
    checks.check_shape("z", z, ("N", self.config.z_dim))
    checks.check_finite("z", z)
    checks.check_shape("c", c, ("N", self.config.c_dim))
    checks.check_finite("c", c)
    checks.check_rows("c", c, z.shape[0], "z")
    z = jnp.asarray(z, jnp.float32)
    c = jnp.broadcast_to(jnp.asarray(c, jnp.float32),
                         (z.shape[0], self.config.c_dim))
    return self.backbone.mapping(z, c, truncation_psi=truncation_psi,
                                 truncation_cutoff=truncation_cutoff)

  def planes(self, ws: chex.Array, *,
             noise_mode: NoiseMode = "const") -> jax.Array:
    """The tri-planes of latents, to be rendered from many cameras.

    Args:
      ws: [N, num_ws, w_dim].
      noise_mode: "const" (the stored maps), "random" or "none".

    Returns: [N, 3, S, S, plane_channels], float32; axes (plane, row, column).
    Raises: UserError that names the argument which does not fit.
    """
    self._check_ws(ws)
    if noise_mode not in NOISE_MODES:
      raise UserError(f"noise_mode: expected one of {NOISE_MODES}, got "
                       f"{noise_mode!r}")
    if noise_mode == "random" and not self.has_rng("noise"):
      raise UserError("noise_mode: 'random' needs rngs={'noise': key}")
    return self.backbone.planes(jnp.asarray(ws, jnp.float32),
                                noise_mode=noise_mode)

  def synthesis(self, ws: chex.Array, c: chex.Array, *,
                neural_rendering_resolution: Optional[int] = None,
                noise_mode: NoiseMode = "const",
                sampling: Optional[RaySampling] = None) -> RenderOutput:
    """Latents seen by cameras: `planes`, then `render_planes`.

    Args:
      ws: [N, num_ws, w_dim], or [1, …] for one face and N cameras.
      c: [N, 25].
      neural_rendering_resolution: S, side of `image_raw`; None: the config's.
      noise_mode: of the backbone: "const" (the stored maps), "random" or
        "none".
      sampling: see `render_planes`.

    Returns: RenderOutput.
    Raises: UserError that names the argument which does not fit.
    """
    self._check_camera(c, ws)  # before the work, not after half of it
    planes = self.planes(ws, noise_mode=noise_mode)
    return self.render_planes(
        planes, ws, c, neural_rendering_resolution=neural_rendering_resolution,
        sampling=sampling)

  def render_planes(self, planes: chex.Array, ws: chex.Array, c: chex.Array,
                    *, neural_rendering_resolution: Optional[int] = None,
                    sampling: Optional[RaySampling] = None) -> RenderOutput:
    """Renders planes from cameras.

    Args:
      planes: [N, 3, S, S, plane_channels], or [1, …] for one face seen by N
        cameras.
      ws: [N, num_ws, w_dim] or [1, …]; super-resolution reads the last row.
      c: [N, 25].
      neural_rendering_resolution: side of `image_raw`; None: the config's.
      sampling: the random numbers of stratified sampling, for callers who
        keep them; else drawn from the stream `render`, if there is one.

    Returns: RenderOutput.
    Raises: UserError that names the argument which does not fit.
    """
    self._check_ws(ws)
    self._check_planes(planes)
    self._check_camera(c, ws)
    checks.check_rows("planes", planes, c.shape[0], "c")
    resolution = (self.config.neural_rendering_resolution
                  if neural_rendering_resolution is None
                  else neural_rendering_resolution)
    if not isinstance(resolution, int) or resolution < 1:
      raise UserError("neural_rendering_resolution: expected a whole number "
                       f">= 1, got {resolution!r}")
    rays = rays_lib.generate_rays(
        *cameras.unpack_label(jnp.asarray(c, jnp.float32)), resolution)
    if sampling is None and self.has_rng("render"):
      sampling = renderer.draw_sampling(
          self.make_rng("render"), rays.origins.shape[:2],
          self.config.rendering)
    rendering = renderer.render_rays(
        self._tables(planes), self.decoder(), rays,
        config=self.config.rendering, sampling=sampling,
        precision=self.config.precision)
    to_image = lambda x: x.reshape(
        (x.shape[0], resolution, resolution, x.shape[-1]))
    features = to_image(rendering.features)
    image_raw = features[..., :self.config.img_channels]
    ws = jnp.broadcast_to(jnp.asarray(ws, jnp.float32),
                          (c.shape[0],) + ws.shape[1:])
    return RenderOutput(
        image=self.superresolution(image_raw, features, ws),
        image_raw=image_raw, image_depth=to_image(rendering.depth))

  def query(self, planes: chex.Array, points: chex.Array) -> RadianceSample:
    """Density and colour of the field at points.

    Args:
      planes: [N, 3, S, S, plane_channels], or [1, …] for all points.
      points: [N, M, 3], world units; beyond the box of side box_warp the
        planes are zero.

    Returns: RadianceSample, sigma [N, M, 1] and rgb [N, M, color_features].
    Raises: UserError that names the argument which does not fit.
    """
    self._check_planes(planes)
    checks.check_shape("points", points, ("N", "M", 3))
    if not points.size:
      raise UserError("points: expected at least one")
    checks.check_finite("points", points)
    checks.check_rows("planes", planes, points.shape[0], "points")
    return renderer.query_points(
        self._tables(planes), self.decoder(),
        jnp.asarray(points, jnp.float32), config=self.config.rendering,
        precision=self.config.precision)

  def _tables(self, planes: chex.Array) -> jax.Array:
    return triplane.fold_planes(jnp.asarray(planes)).astype(self.config.dtype)

  def _check_ws(self, ws: chex.Array):
    checks.check_shape("ws", ws,
                       ("N", self.config.num_ws, self.config.w_dim))
    checks.check_finite("ws", ws)

  def _check_planes(self, planes: chex.Array):
    backbone = self.config.backbone
    checks.check_shape(
        "planes", planes, ("N", 3, backbone.resolution, backbone.resolution,
                           backbone.plane_channels))
    checks.check_finite("planes", planes)

  def _check_camera(self, c: chex.Array, ws: chex.Array):
    cameras.check_label(c)
    checks.check_rows("ws", ws, c.shape[0], "c")


def _init(generator: Generator, key: chex.PRNGKey) -> Any:
  config = generator.config
  camera = cameras.pack_label(cameras.look_at(0.0, 0.0, radius=2.7),
                              cameras.intrinsics_from_focal(4.2647))
  # No size of a parameter depends on this resolution; one ray is cheapest.
  return generator.init(key, jnp.zeros((1, config.z_dim)), camera[None],
                        neural_rendering_resolution=1)


def init_variables(key: chex.PRNGKey, config: GeneratorConfig) -> Any:
  """Random weights, as StyleGAN2 starts: {"params": …, "buffers": …}."""
  return jax.jit(lambda key: _init(Generator(config), key))(key)


def abstract_variables(config: GeneratorConfig) -> Any:
  """The tree of `init_variables` as `jax.ShapeDtypeStruct`s; no memory."""
  return jax.eval_shape(lambda: _init(Generator(config), jax.random.key(0)))
