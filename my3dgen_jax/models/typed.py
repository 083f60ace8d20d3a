"""The generator's methods as plain functions of its variables.

`generator.synthesize(variables, ws, c)` is
`generator.apply(variables, ws, c, method="synthesis")`, with a signature that
editors and type checkers know.
"""

from collections.abc import Mapping
from typing import Any

import chex
import jax

from my3dgen_jax.models.layers import NoiseMode
from my3dgen_jax.types import Array, RadianceSample, RaySampling, RenderOutput


class TypedMethods:
  """A mixin for `Generator`; each method names the one that it calls.

  In all of them, `variables` is {"params": …, "buffers": …} and, with a
  `LoraConfig`, "lora"; `rngs` holds keys by stream, "render" and "noise".
  """

  apply: Any

  def generate(
    self,
    variables: Mapping[str, Any],
    z: Array,
    c: Array,
    *,
    truncation_psi: chex.Numeric = 1.0,
    truncation_cutoff: int | None = None,
    neural_rendering_resolution: int | None = None,
    noise_mode: NoiseMode = "const",
    rngs: Mapping[str, chex.PRNGKey] | None = None,
  ) -> RenderOutput:
    """Renders latents z [N, z_dim] from cameras c [N, 25]: `__call__`."""
    return self.apply(
      variables,
      z,
      c,
      truncation_psi=truncation_psi,
      truncation_cutoff=truncation_cutoff,
      neural_rendering_resolution=neural_rendering_resolution,
      noise_mode=noise_mode,
      rngs=rngs,
    )

  def map_latents(
    self,
    variables: Mapping[str, Any],
    z: Array,
    c: Array,
    *,
    truncation_psi: chex.Numeric = 1.0,
    truncation_cutoff: int | None = None,
  ) -> jax.Array:
    """Maps z [N, z_dim] and c [N, 25] to ws [N, num_ws, w_dim]: `mapping`."""
    return self.apply(
      variables,
      z,
      c,
      truncation_psi=truncation_psi,
      truncation_cutoff=truncation_cutoff,
      method="mapping",
    )

  def synthesize(
    self,
    variables: Mapping[str, Any],
    ws: Array,
    c: Array,
    *,
    neural_rendering_resolution: int | None = None,
    noise_mode: NoiseMode = "const",
    sampling: RaySampling | None = None,
    rngs: Mapping[str, chex.PRNGKey] | None = None,
  ) -> RenderOutput:
    """Renders ws [N, num_ws, w_dim] from c [N, 25]: `synthesis`."""
    return self.apply(
      variables,
      ws,
      c,
      neural_rendering_resolution=neural_rendering_resolution,
      noise_mode=noise_mode,
      sampling=sampling,
      rngs=rngs,
      method="synthesis",
    )

  def make_planes(
    self,
    variables: Mapping[str, Any],
    ws: Array,
    *,
    noise_mode: NoiseMode = "const",
    rngs: Mapping[str, chex.PRNGKey] | None = None,
  ) -> jax.Array:
    """Maps ws [N, num_ws, w_dim] to planes [N, 3, S, S, P]: `planes`."""
    return self.apply(
      variables, ws, noise_mode=noise_mode, rngs=rngs, method="planes"
    )

  def render(
    self,
    variables: Mapping[str, Any],
    planes: Array,
    ws: Array,
    c: Array,
    *,
    neural_rendering_resolution: int | None = None,
    sampling: RaySampling | None = None,
    rngs: Mapping[str, chex.PRNGKey] | None = None,
  ) -> RenderOutput:
    """Renders planes [N, 3, S, S, P] of ws from c [N, 25]: `render_planes`."""
    return self.apply(
      variables,
      planes,
      ws,
      c,
      neural_rendering_resolution=neural_rendering_resolution,
      sampling=sampling,
      rngs=rngs,
      method="render_planes",
    )

  def query_points(
    self, variables: Mapping[str, Any], planes: Array, points: Array
  ) -> RadianceSample:
    """Density and color at points [N, M, 3] in planes: `query`."""
    return self.apply(variables, planes, points, method="query")
