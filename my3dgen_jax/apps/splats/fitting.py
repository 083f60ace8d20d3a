"""Fits splats to pictures."""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from my3dgen_jax.apps.splats.targets import Targets
from my3dgen_jax.ops.rendering import splats as ops
from my3dgen_jax.ops.rendering.splats import Splats
from my3dgen_jax.types import Array

_TILES = 128  # tiles of a picture per step
_LONGEST = 256  # maximum number of splats per tile
# Adam's initial step sizes; for positions, in cells of the grid that the
# initial splats come from.
_MEANS = 0.03
_RATES = dict(log_scales=0.02, quaternions=0.02, logits=0.05, colors=0.01)
_LAST = 0.05  # final share of these step sizes
# In cells: smaller splats would leave gaps in close views, larger ones do not
# occur in heads.
_SMALLEST, _LARGEST = 0.15, 4.0
# Viewers show splats at a far higher resolution than that of the fit, where
# `ops.LOW_PASS` adds far less to their size.
_LOW_PASS = 0.05
_FAINT = -3.5  # logit of an invisible opacity


def fit(
  splats: Splats,
  targets: Targets,
  cell: float,
  steps: int,
  *,
  seed: int = 0,
  on_progress: Callable[[int, float], None] | None = None,
) -> Splats:
  """Fits splats to pictures, and drops those that become invisible.

  Each step uses a part of one picture, on a background of a random color: empty
  regions must show it, and solid regions must not.

  Args:
    splats: the initial splats.
    targets: the pictures; S is a multiple of `ops.TILE`.
    cell: width of the initial splats' cells, world units.
    steps: number of steps.
    seed: seed of the order of views, and of each step's tiles.
    on_progress: called with the number of steps so far and the loss.

  Returns: the splats, as NumPy arrays.
  """
  side, count = targets.image.shape[1], len(targets.image)
  rng = np.random.default_rng(seed)
  optimizer = _optimizer(steps)
  splats = jax.tree.map(jnp.asarray, splats)
  state = optimizer.init(splats)
  tiles_of = [
    tuple(
      np.asarray(ops.to_tiles(values[i].reshape(side, side, -1)), np.float32)
      for values in (targets.image, targets.head, targets.sure)
    )
    for i in range(count)
  ]
  order = np.array([], int)
  for step in range(steps):
    if not len(order):
      order = rng.permutation(count)
    view, order = order[0], order[1:]
    c = targets.c[view]
    lists = ops.bin_splats(
      _project(splats, c, side), splats.logits, side, _LONGEST
    )
    # Tiles that contain something, or should contain something, come first.
    full = (lists.indices[:, 0] < len(splats.logits)) | tiles_of[view][1].any(
      axis=(1, 2)
    )
    tiles = np.argsort(~full + 0.5 * rng.uniform(size=len(full)))[:_TILES]
    splats, state, loss = _step(
      optimizer,
      splats,
      state,
      c,
      lists.indices[tiles],
      tiles,
      tuple(values[tiles] for values in tiles_of[view]),
      rng.uniform(size=3).astype(np.float32),
      cell,
      side,
    )
    if on_progress is not None:
      on_progress(step + 1, float(loss))
  made = jax.tree.map(np.asarray, splats)
  kept = made.logits > _FAINT
  return jax.tree.map(lambda values: values[kept], made)


@functools.cache
def _optimizer(steps: int) -> optax.GradientTransformation:
  """Adam with an initial step size of 1, shared by fits of the same length."""
  schedule = optax.cosine_decay_schedule(1.0, max(steps, 1), _LAST)
  return optax.chain(
    optax.scale_by_adam(b1=0.9, b2=0.99, eps=1e-12),
    optax.scale_by_learning_rate(schedule),
  )


def picture(
  splats: Splats, c: Array, side: int
) -> tuple[np.ndarray, np.ndarray]:
  """A camera's picture, [side, side, 3] over black, and its transparency.

  It is rendered at a higher resolution, as in viewers, and downscaled.
  """
  color, empty = ops.render(
    splats, c, side, longest=2 * _LONGEST, low_pass=_LOW_PASS
  )
  return np.asarray(color), np.asarray(empty)


def psnr(splats: Splats, targets: Targets) -> np.ndarray:
  """Peak signal-to-noise ratio of each view where the head is, dB, [V]."""
  values = []
  for c, image, head, sure in zip(
    targets.c, targets.image, targets.head, targets.sure
  ):
    seen, _ = picture(splats, c, image.shape[0])
    wrong = (np.clip(seen, 0, 1) - image)[head & sure]
    values.append(-10 * np.log10(max(float(np.mean(wrong**2)), 1e-10)))
  return np.array(values)


_project = jax.jit(
  functools.partial(ops.project, low_pass=_LOW_PASS), static_argnums=2
)


@functools.partial(jax.jit, static_argnames=("optimizer", "side"))
def _step(
  optimizer: optax.GradientTransformation,
  splats: Splats,
  state: Any,
  c: Array,
  indices: Array,
  tiles: Array,
  wanted: tuple[Array, Array, Array],
  behind: Array,
  cell: chex.Numeric,
  side: int,
) -> tuple[Splats, Any, jax.Array]:
  image, head, sure = wanted

  def loss_of(splats):
    projected = ops.project(splats, c, side, low_pass=_LOW_PASS)
    color, through = ops.composite(splats, projected, indices, tiles, side)
    wrong = color + through[..., None] * behind - jnp.where(head, image, behind)
    return jnp.sum(sure * jnp.abs(wrong)) / jnp.maximum(3 * jnp.sum(sure), 1)

  loss, gradient = jax.value_and_grad(loss_of)(splats)
  updates, state = optimizer.update(gradient, state)
  rates = {"means": _MEANS * cell, **_RATES}
  moved = {
    name: value + rates[name] * getattr(updates, name)
    for name, value in vars(splats).items()
  }
  sizes = jnp.log(cell * jnp.array([_SMALLEST, _LARGEST]))
  moved["log_scales"] = jnp.clip(moved["log_scales"], *sizes)
  moved["colors"] = jnp.clip(moved["colors"], 0, 1)
  return Splats(**moved), state, loss
