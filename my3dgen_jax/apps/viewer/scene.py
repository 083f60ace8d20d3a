"""Faces and pictures of a viewer's window: latents of choices, and framing.

Pure functions without browser or server; `window` adds the controls.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import jax
import numpy as np

from my3dgen_jax.apps.editing import limits
from my3dgen_jax.apps.person import Person
from my3dgen_jax.apps.rendering import frames, render
from my3dgen_jax.apps.rendering.photo_latents import look_up, PhotoLatent
from my3dgen_jax.config import GeneratorConfig
from my3dgen_jax.directions import Direction
from my3dgen_jax.errors import UserError
from my3dgen_jax.types import Array, Network

STARTS = ("a photo", "between two", "a mix", "the mean face", "a seed")
SHOWN = frames.KINDS
BETA = 0.02  # dilation of the hull, as in other commands

_MARGIN = (24, 26, 27)  # color beside the picture: the dark theme's background
_MAX_ASPECT = 8  # largest length of a frame, in sides of the picture


# Faces.


@dataclasses.dataclass(frozen=True)
class Choice:
  """The controls' values for the face.

  Attributes:
    start: one of `STARTS`.
    first: a photo of the run.
    second: another photo, for "between two".
    way: position from the first photo, 0, to the second, 1.
    weights: photos and their weights, for "a mix"; they need not sum to 1.
    seed: the seed, for "a seed".
    truncation: truncation; 1: none; 0: the generator's mean face.
    edits: names of directions, and strengths in standard deviations.
    within: whether edits follow only the part that the person's anchors span.
  """

  start: Literal[
    "a photo", "between two", "a mix", "the mean face", "a seed"
  ] = "the mean face"
  first: str = ""
  second: str = ""
  way: float = 0.0
  weights: tuple[tuple[str, float], ...] = ()
  seed: int = 0
  truncation: float = 1.0
  edits: tuple[tuple[str, float], ...] = ()
  within: bool = True


def starts_of(person: Person) -> Sequence[str]:
  """The `STARTS` that a person has; a bare base has no photos."""
  return STARTS if person.anchors is not None else STARTS[3:]


def barycentric(weights: Sequence[float]) -> np.ndarray:
  """Weights divided by their sum.

  Args:
    weights: [K], >= 0; if all are 0, the results are equal.
  """
  weights = np.maximum(np.asarray(weights, np.float64), 0)
  total = weights.sum()
  if total <= 0:
    return np.full(len(weights), 1 / max(len(weights), 1))
  return weights / total


def alpha_of(
  person: Person, weights: Sequence[tuple[str, float]]
) -> np.ndarray:
  """Weights of all of a person's anchors, [N], in the personal hull.

  Args:
    person: a person with anchors.
    weights: photos and their weights; a photo may occur twice.

  Raises: UserError: there are no weights, or a photo does not exist.
  """
  if not weights:
    raise UserError("weights: choose at least one photo")
  alpha = np.zeros(len(person.anchors.names), np.float32)
  shares = barycentric([weight for _, weight in weights])
  for (name, _), share in zip(weights, shares):
    station = _of_photo(person, name, flag="weights")
    alpha += np.float32(share) * station.alpha
  return alpha


def latents_of(
  person: Person,
  choice: Choice,
  steps: Mapping[str, np.ndarray],
  *,
  mean: np.ndarray,
  sampled: Mapping[int, np.ndarray],
) -> np.ndarray:
  """The latent that controls choose.

  Args:
    person: the owner of the anchors.
    choice: the controls' values.
    steps: result of `edit_steps`: the change of ws per standard deviation.
    mean: [w_dim], the generator's mean w.
    sampled: w by seed, [w_dim], for "a seed".

  Returns: ws, [num_ws, w_dim] float32.
  Raises: UserError: names the control.
  """
  if choice.start not in starts_of(person):
    raise UserError(
      f"start: {person.name} has no photos to start from; "
      "choose the mean face or a seed"
    )
  rows = person.generator.module.config.num_ws
  mean = np.asarray(mean, np.float32)
  if choice.start == "a photo":
    ws = _of_photo(person, choice.first, flag="photo").ws
  elif choice.start == "between two":
    ws = _mixed(
      person, ((choice.first, 1 - choice.way), (choice.second, choice.way))
    )
  elif choice.start == "a mix":
    ws = _mixed(person, choice.weights)
  elif choice.start == "a seed":
    ws = np.repeat(sampled[choice.seed][None], rows, axis=0)
  else:
    ws = np.repeat(mean[None], rows, axis=0)
  ws = mean + np.float32(choice.truncation) * (ws - mean)
  for name, strength in choice.edits:
    if strength:
      ws = ws + np.float32(strength) * steps[name]
  return np.asarray(ws, np.float32)


def _of_photo(person: Person, name: str, *, flag: str) -> PhotoLatent:
  """A photo of the run; browsers can send any text, such as a file's name."""
  if name not in person.anchors.names:
    raise UserError(f"{flag}: no photo named {name!r}")
  return look_up(person, name, flag=flag)


def _mixed(person: Person, weights: Sequence[tuple[str, float]]) -> np.ndarray:
  return np.asarray(person.hull(BETA).latents(alpha_of(person, weights)[None]))[
    0
  ]


def edit_steps(
  person: Person, directions: Sequence[Direction], *, within: bool
) -> dict[str, np.ndarray]:
  """The change of ws per standard deviation of each direction.

  Args:
    person: the owner of the anchors.
    directions: directions with their spreads.
    within: whether to use only the part of a direction that the anchors span,
      so that an edited face is a weighted mean of the person's own, with
      weights that may leave the hull; else all of it. Without effect for a
      person without anchors.

  Returns: [num_ws, w_dim] by the direction's name.
  Source: MyStyle, section 3.3; see `apps.edit`.
  """
  shape = (
    person.generator.module.config.num_ws,
    person.generator.module.config.w_dim,
  )
  steps = {}
  for direction in directions:
    step = np.broadcast_to(direction.vector, shape)
    if within and person.anchors is not None:
      gamma = person.hull(BETA).coordinates(direction.vector).gamma
      step = np.einsum(
        "n,nld->ld", np.asarray(gamma), np.asarray(person.anchors.ws)
      )
    steps[direction.name] = np.asarray(direction.spread * step, np.float32)
  return steps


def unfollowed(person: Person, directions: Sequence[Direction]) -> str:
  """One line about directions that the anchors follow only in part, or "".

  Args:
    person: the owner of the anchors.
    directions: the sliders' directions.
  """
  if person.anchors is None:
    return ""
  hull = person.hull(BETA)
  cosines = {
    title_of(one): float(hull.coordinates(one.vector).cosine)
    for one in directions
  }
  parts = [
    f"{name} {cosine:.2f}"
    for name, cosine in cosines.items()
    if cosine < limits.LEAST_COSINE
  ]
  if not parts:
    return ""
  return (
    f"The {hull.size} photos allow only part of an edit (cosine): "
    f"{', '.join(parts)}; uncheck to apply all of it"
  )


def title_of(direction: Direction) -> str:
  """A direction's name on its slider."""
  return direction.name.split(" without ")[0].capitalize()


def mean_of(person: Person) -> np.ndarray:
  """The generator's mean w, [w_dim]."""
  buffers = person.generator.variables["buffers"]
  return np.asarray(buffers["backbone"]["mapping"]["w_avg"])


def sampled_w(generator: Network, seed: int) -> np.ndarray:
  """The w of a seed as `apps.rendering` draws it, [w_dim]."""
  config = generator.module.config
  front = render.view_labels(config.rendering, [0.0], [0.0])
  z = render.latents_of_seeds([seed], config.z_dim)
  return np.asarray(_mapped(generator, z, front))[0, 0]


@jax.jit
def _mapped(generator: Network, z: Array, c: Array) -> jax.Array:
  return generator(z, c, method="mapping")


def describe(choice: Choice) -> dict[str, str]:
  """A choice as metadata of a saved picture."""
  found = {"start": choice.start}
  if choice.start in ("a photo", "between two"):
    found["photo"] = choice.first
  if choice.start == "between two":
    found.update(second=choice.second, way=f"{choice.way:.3f}")
  if choice.start == "a mix":
    shares = barycentric([weight for _, weight in choice.weights])
    found["weights"] = ", ".join(
      f"{name} {share:.3f}"
      for (name, _), share in zip(choice.weights, shares)
      if share
    )
  if choice.start == "a seed":
    found["seed"] = str(choice.seed)
  if choice.truncation != 1:
    found["truncation_psi"] = f"{choice.truncation:.3f}"
  found.update(
    (f"edit {name}", f"{strength:+.2f}")
    for name, strength in choice.edits
    if strength
  )
  return found


# Pictures.


def levels_of(config: GeneratorConfig) -> Sequence[tuple[int, str]]:
  """Levels of pictures for a moving face, the finest first.

  Returns: pairs of the side of image_raw and a kind of `SHOWN`; the last ones
    are without super-resolution.
  """
  full = config.neural_rendering_resolution
  sides = [max(full // divisor, 8) for divisor in (1, 2, 4)]
  found = [(side, "image") for side in sides]
  found += [(side, "raw") for side in sides[1:]] + [(max(full // 8, 8), "raw")]
  return list(dict.fromkeys(found))


def framed(picture: np.ndarray, width: int, height: int) -> np.ndarray:
  """A square picture with margins, in the shape of a window.

  Browsers stretch a background over the window; this one fits without.

  Args:
    picture: uint8 [S, S, 3].
    width: width of the window, any unit.
    height: height of the window, in the same unit.

  Returns: uint8 [S', S'', 3], whose shorter side is S and whose longer side is
    at most `_MAX_ASPECT` S, whatever window size a browser sends.
  """
  side = picture.shape[0]
  shorter = max(min(width, height), 1)
  rows, columns = (
    min(max(side, round(side * extent / shorter)), _MAX_ASPECT * side)
    for extent in (height, width)
  )
  frame = np.empty((rows, columns, 3), np.uint8)
  frame[:] = _MARGIN
  top, left = (rows - side) // 2, (columns - side) // 2
  frame[top : top + side, left : left + side] = picture
  return frame
