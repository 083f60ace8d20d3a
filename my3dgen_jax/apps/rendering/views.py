"""Views: pictures of one latent from cameras all over a prior's range.

Textures and splats are made from them. They are super-resolved pictures, with
details that the radiance field itself does not have.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from my3dgen_jax.apps.rendering import frames, render
from my3dgen_jax.config import RenderConfig, setting
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import checks
from my3dgen_jax.types import Array, Network

MAX_VIEWS = 1000


@dataclasses.dataclass(frozen=True)
class ViewsConfig:
  """Cameras of the views."""

  views: int = setting(
    60,
    "Approximate number of cameras to render views from.",
    low=4,
    high=MAX_VIEWS,
  )
  view_yaw: float = setting(
    0.5,
    "Largest angle of the --views to either side, radians; the default is the "
    "range of the prior's training photos.",
    low=0,
    high=math.pi,
  )
  view_pitch: float = setting(
    0.25,
    "Largest angle of the --views up and down, radians.",
    low=0,
    high=math.pi / 2,
  )

  def validate(self) -> "ViewsConfig":
    """Checks every field; raises UserError that names the invalid one."""
    checks.whole_number("views", self.views, 4, MAX_VIEWS)
    for name, value, most in (
      ("view_yaw", self.view_yaw, math.pi),
      ("view_pitch", self.view_pitch, math.pi / 2),
    ):
      if not 0 <= value <= most:
        raise UserError(
          f"{name}: expected radians in [0, {most:.4g}], got {value}"
        )
    return self


class Views(NamedTuple):
  """Pictures from several cameras.

  Attributes:
    c: [V, 25], camera labels.
    image: [V, H, W, 3] float32 in [0, 1], after super-resolution.
    depth: [V, S, S, 1] float32, along the ray, world units; None unless
      requested.
  """

  c: np.ndarray
  image: np.ndarray
  depth: np.ndarray | None = None


def spread(
  rendering: RenderConfig, c: Array, config: ViewsConfig
) -> np.ndarray:
  """Evenly spaced cameras over the range, including its corners.

  Args:
    rendering: settings of the average camera.
    c: [25], label with the intrinsics to use.
    config: the count and range of cameras.

  Returns: [V, 25], in rows of equal pitch; V is close to `config.views`.
  """
  ratio = max(config.view_pitch, 1e-3) / max(config.view_yaw, 1e-3)
  rows = max(1, round(math.sqrt(config.views * ratio)))
  rows = min(rows, config.views)
  columns = max(1, round(config.views / rows))
  pitch, yaw = np.meshgrid(
    _even(config.view_pitch, rows),
    _even(config.view_yaw, columns),
    indexing="ij",
  )
  return np.asarray(
    render.label_about_front(rendering, c, yaw.ravel(), pitch.ravel())
  )


def between(
  rendering: RenderConfig, c: Array, config: ViewsConfig, count: int
) -> np.ndarray:
  """Held-out cameras in the range of `spread`, [count, 25].

  They are always the same: a low-discrepancy sequence over the range.

  Args:
    rendering: settings of the average camera.
    c: [25], label with the intrinsics to use.
    config: the range of cameras.
    count: number of cameras.

  Source: Roberts 2018, "The unreasonable effectiveness of quasirandom
    sequences", the R2 sequence.
  """
  golden = 1.32471795724474602596
  steps = np.arange(1, count + 1)
  yaw, pitch = (
    most * (2 * ((0.5 + steps / golden**power) % 1) - 1)
    for power, most in ((1, config.view_yaw), (2, config.view_pitch))
  )
  return np.asarray(
    render.label_about_front(
      rendering, c, yaw.astype(np.float32), pitch.astype(np.float32)
    )
  )


def take(
  network: Network,
  ws: Array,
  c: np.ndarray,
  *,
  depth: bool = False,
  devices: Sequence[jax.Device] = (),
  on_progress: Callable[[int, int], None] | None = None,
) -> Views:
  """Renders a latent from cameras.

  Args:
    network: the generator.
    ws: [num_ws, w_dim] or [1, num_ws, w_dim].
    c: [V, 25].
    depth: whether to render depth too.
    devices: the devices to use; none: all.
    on_progress: called with the number of views so far, and of all.
  """
  ws = np.asarray(ws)
  kinds = (frames.IMAGE, *((frames.DEPTH,) if depth else ()))
  made: dict[str, list[np.ndarray]] = {kind: [] for kind in kinds}
  for frame in frames.render_frames(
    network, ws[None] if ws.ndim == 2 else ws, c, kinds=kinds, devices=devices
  ):
    for kind in kinds:
      made[kind].append(frame[kind])
    if on_progress is not None:
      on_progress(len(made[frames.IMAGE]), len(c))
  image = np.stack(made[frames.IMAGE])[..., :3]
  return Views(
    np.asarray(c),
    np.clip((image + 1) / 2, 0, 1).astype(np.float32),
    np.stack(made[frames.DEPTH]) if depth else None,
  )


def _even(most: float, count: int) -> np.ndarray:
  """Angles from -most to most; a single one is 0."""
  if count == 1 or most == 0:
    return np.zeros(1, np.float32)
  return np.linspace(-most, most, count, dtype=np.float32)
