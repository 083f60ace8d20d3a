"""The volume renderer for any planes, decoder and cameras.

    decoder = jax.tree_util.Partial(my_decoder, my_params)
    out = rendering.render(planes, decoder, c, resolution=64)
    out.features, out.depth, out.opacity                    # [N, 64, 64, ...]

For a generator's planes and decoder, call `generator.apply(variables, ws,
method="planes")` and `generator.apply(variables, method="decoder_weights")`.
"""

from my3dgen_jax.config import RenderConfig
from my3dgen_jax.ops import cameras, checks
from my3dgen_jax.ops.rendering.rays import generate_rays
from my3dgen_jax.ops.rendering.renderer import (
  draw_sampling,
  query_points,
  render_rays,
)
from my3dgen_jax.ops.rendering.triplane import fold_planes
from my3dgen_jax.types import (
  Array,
  Decoder,
  DecoderWeights,
  RadianceSample,
  Rays,
  RaySampling,
  VolumeRendering,
)

__all__ = [
  "Decoder",
  "DecoderWeights",
  "RadianceSample",
  "RaySampling",
  "Rays",
  "RenderConfig",
  "VolumeRendering",
  "draw_sampling",
  "fold_planes",
  "generate_rays",
  "query",
  "query_points",
  "render",
  "render_rays",
]


def render(
  planes: Array,
  decoder: Decoder,
  c: Array,
  *,
  resolution: int,
  config: RenderConfig = RenderConfig(),
  sampling: RaySampling | None = None,
) -> VolumeRendering:
  """Renders a tri-plane field from cameras.

  Args:
    planes: [N, 3, S, S, P], or [1, ...] for one field seen by N cameras.
    decoder: function of features [M, P] that returns a `RadianceSample` or (sigma [M, 1],
      rgb [M, C]); see `render_rays`.
    c: camera labels, [N, 25].
    resolution: H, side of the images, pixels.
    config: depth range, box and samples per ray.
    sampling: random numbers of stratified sampling, N x H^2 rays; None:
      deterministic.

  Returns: VolumeRendering: features [N, H, H, C] in [-1, 1] where rgb is in
    [0, 1], depth and opacity [N, H, H, 1].
  Raises: UserError: names the invalid argument.
  """
  config.validate()
  planes = _checked(planes)
  c = cameras.check_label(c)
  checks.check_rows("planes", planes, c.shape[0], "c")
  rays = generate_rays(*cameras.unpack_label(c), resolution)
  found = render_rays(
    fold_planes(planes), decoder, rays, config=config, sampling=sampling
  )
  shape = c.shape[0], resolution, resolution, -1
  return VolumeRendering(
    features=found.features.reshape(shape),
    depth=found.depth.reshape(shape),
    opacity=found.opacity.reshape(shape),
  )


def query(
  planes: Array,
  decoder: Decoder,
  points: Array,
  *,
  config: RenderConfig = RenderConfig(),
) -> RadianceSample:
  """Evaluates density and colors of a tri-plane field at points.

  Args:
    planes: [N, 3, S, S, P], or [1, ...] for one field at N sets of points.
    decoder: see `render`.
    points: [N, M, 3], world units.
    config: size of the box.

  Returns: RadianceSample, [N, M, ...].
  Raises: UserError: names the invalid argument.
  """
  planes = _checked(planes)
  points = checks.as_float32("points", points, ("N", "M", 3))
  checks.check_rows("planes", planes, points.shape[0], "points")
  return query_points(fold_planes(planes), decoder, points, config=config)


def _checked(planes: Array) -> Array:
  planes = checks.as_float32("planes", planes, ("N", 3, "S", "S", "P"))
  checks.check_shape("planes", planes, ("N", 3, *planes.shape[2:3] * 2, "P"))
  return planes
