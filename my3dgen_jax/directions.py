"""Directions in W along which one attribute of a face changes.

    smile = directions.fit(w, scores, name="smile")        # w [N, w_dim]
    smile = directions.conditioned(smile, [age])           # smile without age
    directions.save("smile.npy", smile)
    smile = directions.load("smile.npy", w_dim=512, num_ws=14)

A direction is the normal of the plane that best separates samples which have
an attribute from samples which lack it. The scores may come from anywhere: a
classifier run over pictures of the samples, a table of labels, or the known
parameters of procedural people.

Source: Shen et al. 2020 (InterFaceGAN), sections 2.1 and 2.2.
"""

import csv
import dataclasses
import io
import os
import pathlib
import shlex
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union
import warnings

import numpy as np

from my3dgen_jax.data.dataset_json import normal_name
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.errors import CheckpointError, UserError, one_line
from my3dgen_jax.ops import checks

SUFFIX = ".npy"

_LEAST_SAMPLES = 10  # of each kind: fewer say nothing, held out or not
_MOST_ITERATIONS = 10_000  # of the solver, ten times its default
_LEAST_LEFT = 1e-3  # of a direction's length; below, rounding decides
_SAME = 1e-6  # float32 vectors that differ by less, relatively, are one
_MOST_BYTES = 2**24  # of a file; directions have some kilobytes
_MOST_DIGITS = 18  # of a sample's number
_LONGEST_CELL = 40  # of a table, in messages
_WORDS = {"true": 1.0, "false": 0.0}
_TORCH_SUFFIXES = (".pt", ".pth", ".pkl")


@dataclasses.dataclass(frozen=True, eq=False)
class Direction:
  """A direction in W, or in W+.

  Attributes:
    name: of what changes, for people.
    vector: [w_dim], or [num_ws, w_dim] where layers differ; float32, of unit
      length over all its entries.
    accuracy: share of held-out samples on the right side of the plane, in
      [0, 1]; None: not known.
    spread: standard deviation of the samples' projections on it, so that
      strengths can be told in standard deviations; None: not known.
  """

  name: str
  vector: np.ndarray
  accuracy: Optional[float] = None
  spread: Optional[float] = None


def fit(w: Any, scores: Any, *, name: str, share: float = 0.1,
        validation: float = 0.3, seed: int = 0, c: float = 1.0) -> Direction:
  """Finds the direction in which scores grow, by a linear SVM.

  Two kinds of samples are told apart: those of the highest scores and those
  of the lowest, as many of each. If there are but two different scores, they
  are labels, and all samples of the rarer one are used, with as many of the
  other, drawn at random.

  Args:
    w: [N, w_dim] real numbers, latents.
    scores: [N] real numbers or booleans.
    name: of what the scores measure.
    share: of the samples that become the high ones, and again the low ones,
      in (0, 0.5]; labels do not need it.
    validation: share of the chosen samples that is held out to measure the
      accuracy, in [0, 1); 0: it is not measured.
    seed: of what is drawn at random, >= 0.
    c: of the SVM, > 0; the larger, the more does a single sample count.

  Returns: Direction; its vector is [w_dim].
  Raises:
    UserError: names the argument: another shape, NaN, too few samples, equal
      scores; or scikit-learn is missing.
  Source: InterFaceGAN, section 2.1.
  """
  if not 0 < share <= 0.5:
    raise UserError(f"share: expected a number in (0, 0.5], got {share}")
  if not 0 <= validation < 1:
    raise UserError(f"validation: expected a number in [0, 1), got "
                    f"{validation}")
  if not 0 < c < float("inf"):
    raise UserError(f"c: expected a number > 0, got {c}")
  seed = checks.whole_number("seed", seed, 0, 2**32 - 1)
  w = _real("w", w, ("N", "w_dim")).astype(np.float32, copy=False)
  scores = _real("scores", scores, (len(w),)).astype(np.float64)
  low, high = _extremes(scores, share, seed)
  count = len(low)
  held_out = (min(max(round(validation * count), 1), count - 1)
              if validation else 0)

  def samples(part: slice) -> Tuple[np.ndarray, np.ndarray]:
    rows = np.concatenate([low[part], high[part]])
    return w[rows].astype(np.float64), np.arange(len(rows)) >= len(rows) // 2

  x, is_high = samples(slice(held_out, None))
  # One scale for all of W, so that samples are about 1 from their centre and
  # `c` means the same for any generator. A scale for each coordinate would
  # turn the normal towards those that hardly vary, where edits leave the
  # faces that a generator knows.
  centre, scale = np.mean(x, axis=0), np.sqrt(np.sum(np.var(x, axis=0)))
  if scale <= _SAME * np.linalg.norm(centre):  # rounding, or nothing
    raise UserError("w: all samples are equal")
  svm = _separate((x - centre) / scale, is_high, seed=seed, c=c)
  normal = svm.coef_[0]
  if not np.any(normal):
    raise UserError("scores: nothing in w tells the high ones from the low")
  accuracy = None
  if held_out:
    x, is_high = samples(slice(held_out))
    accuracy = float(svm.score((x - centre) / scale, is_high))
  vector = _unit(normal)
  return Direction(name, vector, accuracy,
                   float(np.std(w @ vector, dtype=np.float64)))


def _extremes(scores: np.ndarray, share: float, seed: int
              ) -> Tuple[np.ndarray, np.ndarray]:
  """Rows of low and of high scores, as many of each, in random order."""
  values, counts = np.unique(scores, return_counts=True)
  if len(values) < 2:
    raise UserError("scores: all are equal, so they tell nothing apart")
  if len(values) == 2:
    count = int(counts.min())
    if count < _LEAST_SAMPLES:
      raise UserError(
          f"scores: only {count} of {len(scores)} samples have the label "
          f"{values[counts.argmin()]:g}; label at least {_LEAST_SAMPLES} of "
          "each kind")
  else:
    count = int(share * len(scores) + 1e-9)  # 0.29 * 100 is 28.999…
    if count < _LEAST_SAMPLES:
      raise UserError(
          f"w: {len(scores)} samples are too few: share {share:g} of them is "
          f"{count}, and at least {_LEAST_SAMPLES} are needed; give more "
          "samples, or a larger share")
  rng = np.random.default_rng(seed)
  order = rng.permutation(len(scores))  # so that equal scores have no order
  order = order[np.argsort(scores[order], kind="stable")]
  low, high = order[:count], order[-count:]
  if scores[low[-1]] >= scores[high[0]]:
    raise UserError(f"scores: so many are {scores[high[0]]:g} that high and "
                    "low ones overlap; give a smaller share, or labels 0 "
                    "and 1")
  return rng.permutation(low), rng.permutation(high)


def check_fitting():
  """Whether `fit` can work here; raises UserError: scikit-learn is missing."""
  _separate(np.array([[0.0], [1.0]]), np.array([False, True]), seed=0, c=1.0)


def _separate(x: np.ndarray, is_high: np.ndarray, *, seed: int, c: float
              ) -> Any:
  """A linear SVM that has seen x, [N, w_dim], and is_high, [N] bool."""
  # Only whoever fits needs it.
  # pylint: disable=import-outside-toplevel
  try:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC
  except ImportError as error:
    raise UserError("fitting a direction needs scikit-learn: pip install "
                    f"scikit-learn ({one_line(error)})") from error
  svm = LinearSVC(C=c, dual="auto", max_iter=_MOST_ITERATIONS,
                  random_state=seed)
  with warnings.catch_warnings():
    # The last digits do not matter; the accuracy says what it is worth.
    warnings.simplefilter("ignore", ConvergenceWarning)
    return svm.fit(x, is_high)


def conditioned(direction: Direction, others: Sequence[Direction]
                ) -> Direction:
  """What is left of a direction without what others change.

  All others are taken out at once, so their order does not matter, nor
  whether they resemble each other.

  Args:
    direction: to be freed of the others.
    others: which are to stay as they are; in W or W+.

  Returns: Direction at right angles to all others, in W+ if any is; its
    accuracy is not known, its spread is the one before.
  Raises: UserError: nothing is left, or they are of different generators.
  Source: InterFaceGAN, section 2.2.
  """
  together = [direction, *others]
  shape = max((one.vector.shape for one in together), key=len)
  if any(one.vector.shape not in (shape, shape[-1:]) for one in together):
    shapes = ", ".join(f"{one.name!r} {list(one.vector.shape)}"
                       for one in together)
    raise UserError(f"others: they belong to different generators: {shapes}")
  vector, *rest = (
      _unit(np.broadcast_to(one.vector, shape)).astype(np.float64).ravel()
      for one in together)
  if rest:
    span = np.stack(rest, axis=1)
    vector = vector - span @ np.linalg.lstsq(span, vector, rcond=_SAME)[0]
  names = ", ".join(one.name for one in others)
  if np.linalg.norm(vector) < _LEAST_LEFT:
    raise UserError(f"others: nothing is left of {direction.name!r} without "
                    f"{names!r}: they are one direction; leave some out")
  return Direction(f"{direction.name} without {names}" if names
                   else direction.name, _unit(vector.reshape(shape)),
                   spread=direction.spread)


# Labels.


def read_labels(path: Union[str, os.PathLike],
                names_or_count: Union[Sequence[str], int], *,
                partly: bool = False) -> np.ndarray:
  """Reads a table of labels or scores.

  The file is CSV in UTF-8, two columns, separated by commas: what is
  labelled, and a number, "true" or "false". Space around either does not
  count, and empty lines are passed over. The first line is a header, and
  passed over as well, if its second column is no score and its first is
  nothing that could be labelled.

    name,smile
    00012.png,0.83
    00013.png,0.02

  Args:
    path: of the file.
    names_or_count: names of what is labelled: the first column is to have
      each of them once, in any order, and other names in it are passed over;
      or how many samples there are: the first column is to have the numbers
      0 to count - 1, each once, in any order.
    partly: some may have no line, or nothing in their second column: those
      that nobody could decide, or has come to.

  Returns: [N] float64, in the order of the names or numbers; NaN of those
    that `partly` leaves out.
  Raises:
    UserError: names the file and the line: no score, no such number, a name
      that comes twice; or the file, and the first name that has no label, if
      all must, or none has.
  """
  numbered = isinstance(names_or_count, (int, np.integer))
  names = (list(map(str, range(names_or_count))) if numbered
           else list(map(normal_name, names_or_count)))
  rows = {name: i for i, name in enumerate(names)}
  if len(rows) < len(names):
    raise UserError("names_or_count: some names come twice")
  scores = np.full(len(names), np.nan)
  seen: Dict[str, int] = {}
  for i, (line, cells) in enumerate(_read_table(path)):
    here = f"{path}: line {line}"
    if len(cells) != 2:
      raise UserError(f"{here}: expected 2 columns separated by a comma, got "
                      f"{len(cells)}")
    name = _number(cells[0]) if numbered else normal_name(cells[0])
    score = _score(cells[1])
    if i == 0 and score is None and (name is None if numbered
                                     else name not in rows):
      continue  # the header
    if partly and not cells[1]:
      continue
    if score is None:
      raise UserError(f"{here}: expected a finite number, true or false, got "
                      f"{_short(cells[1])}")
    if name not in rows:
      if not numbered:
        continue
      raise UserError(f"{here}: expected a sample's number, 0 to "
                      f"{len(names) - 1}, got {_short(cells[0])}")
    if name in seen:
      raise UserError(f"{here}: {_short(name)} has a label already, in line "
                      f"{seen[name]}; keep one of them")
    seen[name] = line
    scores[rows[name]] = score
  missing = [name for name in names if name not in seen]
  if missing and not (partly and seen):
    raise UserError(f"{path}: {len(missing)} of {len(names)} have no label, "
                    f"the first is {_short(missing[0])}; add a line for "
                    + ("some" if partly else "each"))
  return scores


def _read_table(path: Union[str, os.PathLike]
                ) -> Iterator[Tuple[int, List[str]]]:
  """The lines that are not empty, with their numbers."""
  path = pathlib.Path(path)
  try:
    # A spreadsheet may put a mark in front, which "-sig" takes off.
    text = _read_bytes(path).decode("utf-8-sig")
  except OSError as error:
    raise UserError(f"{path}: cannot be read: {error.strerror}") from None
  except UnicodeDecodeError:
    raise UserError(f"{path}: is no text in UTF-8; save it as CSV in UTF-8"
                    ) from None
  reader = csv.reader(io.StringIO(text, newline=""), strict=True)
  try:
    for cells in reader:
      cells = [cell.strip() for cell in cells]
      if any(cells):
        yield reader.line_num, cells
  except csv.Error as error:
    raise UserError(f"{path}: line {reader.line_num}: is no CSV: {error}"
                    ) from None


def _number(cell: str) -> Optional[str]:
  """A sample's number as Python writes it, or None."""
  if cell.isascii() and cell.isdigit() and len(cell) <= _MOST_DIGITS:
    return str(int(cell))
  return None


def _score(cell: str) -> Optional[float]:
  if cell.lower() in _WORDS:
    return _WORDS[cell.lower()]
  try:
    score = float(cell)
  except ValueError:
    return None
  return score if np.isfinite(score) else None


def _short(text: str) -> str:
  return repr(text if len(text) <= _LONGEST_CELL
              else text[:_LONGEST_CELL - 3] + "...")


# On disk.


def save(path: Union[str, os.PathLike], direction: Direction):
  """Writes a direction's vector as one `.npy` file, whole or not at all.

  Args:
    path: of the file; replaced if it exists.
    direction: its name, accuracy and spread are not kept.

  Raises: OSError.
  """
  with replacing(path) as file:
    np.save(file, np.asarray(direction.vector, np.float32),
            allow_pickle=False)


def load(path: Union[str, os.PathLike], *, w_dim: int, num_ws: int
         ) -> Direction:
  """Reads a direction, ours or anybody's.

  Args:
    path: a `.npy` file of real numbers, see `check_vector`.
    w_dim: the generator's width of w.
    num_ws: rows of the generator's ws.

  Returns: Direction, called as the file.
  Raises:
    CheckpointError: a UserError of one line: the file, what is wrong with it,
      and the remedy.
  """
  path = pathlib.Path(path)
  if path.suffix.lower() in _TORCH_SUFFIXES and path.is_file():
    source, target = (shlex.quote(str(name))
                      for name in (path, path.with_suffix(SUFFIX)))
    raise CheckpointError(
        f"{path}: is a file of PyTorch; convert it: python converters/"
        f"direction_to_npy.py --input {source} --output {target}")
  try:
    data = _read_bytes(path)
  except OSError as error:
    raise CheckpointError(f"{path}: cannot be read: {error.strerror}"
                          ) from None
  try:
    array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
  # NumPy raises a good dozen types for damaged files.
  except Exception:  # pylint: disable=broad-exception-caught
    raise CheckpointError(
        f"{path}: is damaged, or no {SUFFIX} file of numbers alone; write it "
        "again by numpy.save") from None
  try:
    return Direction(path.stem,
                     check_vector(array, w_dim=w_dim, num_ws=num_ws))
  except CheckpointError as error:
    raise CheckpointError(f"{path}: {error}") from None


def check_vector(array: np.ndarray, *, w_dim: Optional[int] = None,
                 num_ws: Optional[int] = None) -> np.ndarray:
  """Checks a direction out of a file and brings it to unit length.

  Args:
    array: real numbers, [w_dim] or [1, w_dim] for all layers alike, or
      [num_ws, w_dim] or [1, num_ws, w_dim].
    w_dim: the generator's width of w; None: any.
    num_ws: rows of the generator's ws; None: any.

  Returns: float32, [w_dim] if all layers are alike, so that a strength means
    the same however the file is written; else [num_ws, w_dim].
  Raises:
    CheckpointError: another dtype or shape; NaN, infinity or zeros alone. It
      does not know the file's name.
  """
  if array.dtype.kind not in "iuf" or not _fits(array.shape, w_dim, num_ws):
    width, rows = w_dim or "w_dim", num_ws or "num_ws"
    raise CheckpointError(
        f"expected real numbers of shape [{width}], [1, {width}], [{rows}, "
        f"{width}] or [1, {rows}, {width}], got {array.dtype} "
        f"{list(array.shape)}; it is no direction, or one of another "
        "generator: fit one of yours")
  with np.errstate(over="ignore"):  # becomes infinity, refused below
    array = array.astype(np.float64)
  if not np.isfinite(array).all():
    raise CheckpointError("holds NaN or infinity; make the direction again")
  if not array.any():
    raise CheckpointError("holds zeros alone, which is no direction; make it "
                          "again")
  rows = array.reshape(-1, array.shape[-1])
  return _unit(rows[0] if (rows == rows[0]).all() else rows)


def _fits(shape: Tuple[int, ...], w_dim: Optional[int], num_ws: Optional[int]
          ) -> bool:
  if not 1 <= len(shape) <= 3 or 0 in shape:
    return False
  *outer, rows, width = (1, 1, *shape)[-3:]
  return (outer == [1] and w_dim in (None, width)
          and (rows == 1 or num_ws in (None, rows)))


def _read_bytes(path: pathlib.Path) -> bytes:
  """The bytes of an ordinary file; raises OSError, which has a reason."""
  if path.exists() and not path.is_file():
    # A pipe or a device could go on for ever.
    raise OSError(None, "is not an ordinary file")
  with path.open("rb") as file:
    data = file.read(_MOST_BYTES + 1)
  if len(data) > _MOST_BYTES:
    raise OSError(None, f"has more than {_MOST_BYTES // 2**20} MiB")
  return data


# Numbers.


def _unit(vector: np.ndarray) -> np.ndarray:
  """The same direction in float32, of unit length, read-only."""
  vector = np.asarray(vector, np.float64)
  vector = vector / np.abs(vector).max()  # squares of tiny numbers are zero
  vector = (vector / np.linalg.norm(vector)).astype(np.float32)
  vector.flags.writeable = False
  return vector


def _real(name: str, value: Any, shape: Tuple[Union[int, str], ...]
          ) -> np.ndarray:
  """Checks an argument like `checks.as_float32`, but stays off devices."""
  try:
    array = np.asarray(value)
  except ValueError:
    array = np.empty((), object)  # rows of different lengths
  if array.dtype.kind not in "biuf":
    raise UserError(f"{name}: expected real numbers, got "
                    f"{type(value).__name__} of {array.dtype}")
  checks.check_shape(name, array, shape)
  with np.errstate(over="ignore"):
    finite = np.isfinite(array.astype(np.float32, copy=False))
  if not finite.all():
    first = tuple(map(int, np.argwhere(~finite)[0]))
    raise UserError(f"{name}: holds NaN or infinity, first at {first}")
  return array
