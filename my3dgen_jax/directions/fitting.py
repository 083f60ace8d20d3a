"""Fits directions to scored samples, and removes others from a direction.

Source: Shen et al. 2020 (InterFaceGAN), sections 2.1 and 2.2.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from my3dgen_jax.directions.direction import Direction, unit
from my3dgen_jax.errors import UserError, without_package
from my3dgen_jax.ops import checks

_LEAST_SAMPLES = 10  # per class; fewer are meaningless, held out or not
_MOST_ITERATIONS = 10_000  # of the solver, ten times its default
_RELATIVE_TOLERANCE = (
  1e-6  # float32 vectors with a smaller relative difference are equal
)
_LEAST_LEFT = 1e-3  # of a direction's length; less is rounding error


def fit(
  w: Any,
  scores: Any,
  *,
  name: str,
  share: float = 0.1,
  validation: float = 0.3,
  seed: int = 0,
  c: float = 1.0,
) -> Direction:
  """Fits the direction in which scores increase, with a linear SVM.

  The SVM separates the samples with the highest scores from equally many with
  the lowest. If there are only two different scores, they are labels: all
  samples of the rarer label are used, with equally many of the other, drawn at
  random.

  Args:
    w: latents, [N, w_dim] real numbers.
    scores: [N] real numbers or booleans.
    name: name of the attribute that the scores measure.
    share: share of the samples in each of the two classes, in (0, 0.5]; not
      used for labels.
    validation: share of the chosen samples to hold out for measuring the
      accuracy, in [0, 1); 0: do not measure it.
    seed: seed of the random choices, >= 0.
    c: the SVM's penalty C, > 0; larger values fit single samples more closely.

  Returns: Direction; its vector is [w_dim].
  Raises:
    UserError: wrong shape, NaN, too few samples or equal scores, naming the
      argument; or scikit-learn is missing.
  Source: InterFaceGAN, section 2.1.
  """
  if not 0 < share <= 0.5:
    raise UserError(f"share: expected a number in (0, 0.5], got {share}")
  if not 0 <= validation < 1:
    raise UserError(
      f"validation: expected a number in [0, 1), got {validation}"
    )
  if not 0 < c < float("inf"):
    raise UserError(f"c: expected a number > 0, got {c}")
  seed = checks.whole_number("seed", seed, 0, 2**32 - 1)
  w = _real("w", w, ("N", "w_dim")).astype(np.float32, copy=False)
  scores = _real("scores", scores, (len(w),)).astype(np.float64)
  low, high = _extremes(scores, share, seed)
  count = len(low)
  held_out = (
    min(max(round(validation * count), 1), count - 1) if validation else 0
  )

  def samples(part: slice) -> tuple[np.ndarray, np.ndarray]:
    rows = np.concatenate([low[part], high[part]])
    return w[rows].astype(np.float64), np.arange(len(rows)) >= len(rows) // 2

  x, is_high = samples(slice(held_out, None))
  # One scale for all of W puts samples about 1 from their center, so `c` means
  # the same for any generator. A scale per coordinate would turn the normal
  # towards coordinates that hardly vary, where edits leave the distribution of
  # faces.
  centre, scale = np.mean(x, axis=0), np.sqrt(np.sum(np.var(x, axis=0)))
  if scale <= _RELATIVE_TOLERANCE * np.linalg.norm(
    centre
  ):  # no more than rounding error
    raise UserError("w: all samples are equal")
  svm = _separate((x - centre) / scale, is_high, seed=seed, c=c)
  normal = svm.coef_[0]
  if not np.any(normal):
    raise UserError("scores: w does not separate high scores from low ones")
  accuracy = None
  if held_out:
    x, is_high = samples(slice(held_out))
    accuracy = float(svm.score((x - centre) / scale, is_high))
  vector = unit(normal)
  return Direction(
    name, vector, accuracy, float(np.std(w @ vector, dtype=np.float64))
  )


def _extremes(
  scores: np.ndarray, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """Rows of low and of high scores, equally many, in random order."""
  values, counts = np.unique(scores, return_counts=True)
  if len(values) < 2:
    raise UserError(
      "scores: all are equal; expected at least two different values"
    )
  if len(values) == 2:
    count = int(counts.min())
    if count < _LEAST_SAMPLES:
      raise UserError(
        f"scores: only {count} of {len(scores)} samples have the label "
        f"{values[counts.argmin()]:g}; label at least {_LEAST_SAMPLES} of each"
      )
  else:
    count = int(share * len(scores) + 1e-9)  # 0.29 * 100 is 28.999…
    if count < _LEAST_SAMPLES:
      raise UserError(
        f"w: {len(scores)} samples are too few: share {share:g} selects "
        f"{count}, and at least {_LEAST_SAMPLES} are needed; use more samples "
        "or a larger share"
      )
  rng = np.random.default_rng(seed)
  order = rng.permutation(len(scores))  # breaks ties at random
  order = order[np.argsort(scores[order], kind="stable")]
  low, high = order[:count], order[-count:]
  if scores[low[-1]] >= scores[high[0]]:
    raise UserError(
      f"scores: too many equal {scores[high[0]]:g}, so high and low ones "
      "overlap; use a smaller share, or labels 0 and 1"
    )
  return rng.permutation(low), rng.permutation(high)


def check_fitting():
  """Raises a UserError if scikit-learn, which `fit` needs, is missing."""
  _separate(np.array([[0.0], [1.0]]), np.array([False, True]), seed=0, c=1.0)


def _separate(
  x: np.ndarray, is_high: np.ndarray, *, seed: int, c: float
) -> Any:
  """A linear SVM fitted to x, [N, w_dim], and is_high, [N] bool."""
  # Optional, so imported only here.
  # pylint: disable=import-outside-toplevel
  try:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC
  except ImportError as error:
    raise without_package(
      error,
      "scikit-learn",
      "fitting a direction needs scikit-learn: pip install scikit-learn",
    ) from error
  svm = LinearSVC(
    C=c, dual="auto", max_iter=_MOST_ITERATIONS, random_state=seed
  )
  with warnings.catch_warnings():
    # Full convergence does not matter; the accuracy shows the quality.
    warnings.simplefilter("ignore", ConvergenceWarning)
    return svm.fit(x, is_high)


def conditioned(direction: Direction, others: Sequence[Direction]) -> Direction:
  """Removes the components along other directions.

  All others are removed at once, so neither their order nor correlations
  between them matter.

  Args:
    direction: the direction to change.
    others: directions of the attributes to hold constant, in W or W+.

  Returns: Direction orthogonal to all others, in W+ if any of them is; its
    accuracy is unknown, its spread is that of `direction`.
  Raises: UserError: nothing is left, or the shapes differ.
  Source: InterFaceGAN, section 2.2.
  """
  together = [direction, *others]
  shape = max((one.vector.shape for one in together), key=len)
  if any(one.vector.shape not in (shape, shape[-1:]) for one in together):
    shapes = ", ".join(
      f"{one.name!r} {list(one.vector.shape)}" for one in together
    )
    raise UserError(f"others: they belong to different generators: {shapes}")
  vector, *rest = (
    unit(np.broadcast_to(one.vector, shape)).astype(np.float64).ravel()
    for one in together
  )
  if rest:
    span = np.stack(rest, axis=1)
    vector = (
      vector
      - span @ np.linalg.lstsq(span, vector, rcond=_RELATIVE_TOLERANCE)[0]
    )
  names = ", ".join(one.name for one in others)
  if np.linalg.norm(vector) < _LEAST_LEFT:
    raise UserError(
      f"others: nothing is left of {direction.name!r} without "
      f"{names!r}, which span it; leave some out"
    )
  return Direction(
    f"{direction.name} without {names}" if names else direction.name,
    unit(vector.reshape(shape)),
    spread=direction.spread,
  )


def _real(name: str, value: Any, shape: tuple[int | str, ...]) -> np.ndarray:
  """Checks an argument like `checks.as_float32`, without using a device."""
  try:
    array = np.asarray(value)
  except ValueError:
    array = np.empty((), object)  # rows of different lengths
  if array.dtype.kind not in "biuf":
    raise UserError(
      f"{name}: expected real numbers, got "
      f"{type(value).__name__} of {array.dtype}"
    )
  checks.check_shape(name, array, shape)
  with np.errstate(over="ignore"):
    finite = np.isfinite(array.astype(np.float32, copy=False))
  if not finite.all():
    first = tuple(map(int, np.argwhere(~finite)[0]))
    raise UserError(f"{name}: holds NaN or infinity, first at {first}")
  return array
