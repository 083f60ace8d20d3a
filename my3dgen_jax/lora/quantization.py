"""Quantized adapters: integers, and a scale for each row.

    packed = pack(leaves, "int4")
    leaves = unpack(shapes, packed)

A row is a column of A, a row of B, or a row of an offset. Only a pair's product
B A has a meaning, so the pair is first rewritten as its singular vectors, each
times the root of its singular value: a row's scale then bounds the rounding
error in B A. "int8" gives every row the same number of bits. "int4" allocates
bits where they matter: it rounds all rows of a tensor to the same error in B A,
so rows of small singular values get few bits and those of large ones more, at
most 4 on average. The integers are Huffman coded (zlib), with one code for all
rows of about the same bits.

Source: reverse water-filling (Cover and Thomas, Elements of Information
Theory, section 10.3.3); Huffman 1952.
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from my3dgen_jax.models.adapter import PAIR

Path = tuple[str, ...]

DTYPES = ("int8", "int4")
# Average bits per number for the integers; the rest of the 4 bits is for
# scales, names and the overhead of Huffman codes.
BUDGETS = {"int4": 3.6}
_TOP = 127  # largest integer
_HALVINGS = 30  # bisection steps in the search for a precision
_MOST_NUMBERS_A_BYTE = 8  # a Huffman code has at least one bit


class Packed(NamedTuple):
  """Quantized numbers.

  Attributes:
    codes: [B] uint8, a zlib stream of int8 integers, one byte each.
    scales: [R] float32, scales of the rows.
    bits: [R] uint8, 0 to 7: bit length of a row's largest integer; rows are
      stored in `codes` in the order of their bits.
  """

  codes: np.ndarray
  scales: np.ndarray
  bits: np.ndarray


def pack(
  leaves: Mapping[Path, np.ndarray], dtype: str, *, bits: float | None = None
) -> Packed:
  """Quantizes an adapter.

  Args:
    leaves: tensors by path, finite.
    dtype: one of `DTYPES`.
    bits: average bits per number, instead of `BUDGETS`; cannot exceed 7.

  Returns: Packed; its pairs have other factors A and B than `leaves`, with
    nearly the same B A.
  """
  budget = BUDGETS.get(dtype) if bits is None else bits
  rows: list[np.ndarray] = []
  steps: list[float] = []
  groups = _groups(leaves)
  factors = [_factors([leaves[path] for path in group]) for group in groups]
  precision = 0.0
  if budget is not None:
    precision = _precision(
      [(row, unit) for group in factors for row, unit in group.rows], budget
    )
  found: dict[Path, list[tuple[np.ndarray, float]]] = {}
  for group, own in zip(groups, factors):
    for path, rounded in zip(group, own.rounded(precision)):
      found[path] = rounded
  for path in sorted(leaves):
    for codes, step in found[path]:
      rows.append(codes)
      steps.append(step)
  lengths = np.array([_bit_length(row) for row in rows], np.uint8)
  return Packed(
    np.frombuffer(_compressed(rows, lengths), np.uint8),
    np.array(steps, np.float32),
    lengths,
  )


def unpack(
  shapes: Mapping[Path, tuple[int, ...]], packed: Packed
) -> dict[Path, np.ndarray]:
  """The inverse of `pack`.

  Args:
    shapes: shapes of all tensors, by path.
    packed: quantized numbers from any source.

  Returns: float32 tensors by path.
  Raises: ValueError: they do not match; its text is to follow a file's name.
  """
  layout = [
    (path, shapes[path], _row_shape(path, shapes[path]))
    for path in sorted(shapes)
  ]
  numbers = sum(count * length for _, _, (count, length) in layout)
  count = sum(count for _, _, (count, _) in layout)
  _check(packed, numbers, count)
  lengths = np.repeat(
    [length for _, _, (_, length) in layout],
    [count for _, _, (count, _) in layout],
  )
  codes = np.frombuffer(_expanded(packed.codes, numbers), np.int8)
  ends = np.empty(count, np.int64)
  order = np.argsort(packed.bits, kind="stable")
  ends[order] = np.cumsum(lengths[order])
  leaves, row = {}, 0
  with np.errstate(over="ignore"):  # readers of the file check for infinity
    for path, shape, (own, length) in layout:
      values = np.stack(
        [
          codes[ends[i] - length : ends[i]] * packed.scales[i]
          for i in range(row, row + own)
        ]
      )
      leaves[path] = _of_rows(path, values, shape)
      row += own
  return leaves


def relative_error(
  leaves: Mapping[Path, np.ndarray], other: Mapping[Path, np.ndarray]
) -> float:
  """The root mean square, over pairs and offsets, of relative errors.

  Args:
    leaves: an adapter's tensors by path.
    other: tensors of the same shapes, nearly equal; pairs are compared as B A.
  """
  errors = []
  for group in _groups(leaves):
    mine, its = (
      _factors([tree[path] for path in group]).whole()
      for tree in (leaves, other)
    )
    size = float(np.sum(mine**2))
    if size:
      errors.append(float(np.sum((its - mine) ** 2)) / size)
  return math.sqrt(sum(errors) / max(1, len(errors)))


class _Offset:
  """A tensor that is stored as it is.

  Attributes:
    rows: the rows, each with its step's factor: the tensor's length.
  """

  def __init__(self, rows: np.ndarray):
    size = float(np.linalg.norm(rows))
    self.rows = [(row, size) for row in rows]

  def rounded(self, precision: float) -> list[list[tuple[np.ndarray, float]]]:
    return [[_rounded(row, precision * unit) for row, unit in self.rows]]

  def whole(self) -> np.ndarray:
    return np.stack([row for row, _ in self.rows])


class _Pair:
  """A pair, as the singular vectors of its product.

  Attributes:
    rows: columns of A and then rows of B, each with its step's factor.
  """

  def __init__(self, a: np.ndarray, b: np.ndarray):
    # The product itself may be large: two thin factors give its vectors.
    q_a, r_a = np.linalg.qr(a)
    q_b, r_b = np.linalg.qr(b.T)
    u, sizes, v = np.linalg.svd(r_a @ r_b.T)
    count = len(sizes)
    roots = np.zeros(a.shape[1])
    roots[:count] = np.sqrt(sizes)
    left, right = np.zeros_like(a.T), np.zeros_like(b)
    left[:count] = (q_a @ u[:, :count]).T
    right[:count] = (q_b @ v.T[:, :count]).T
    self._left, self._right = left * roots[:, None], right * roots[:, None]
    size = float(np.linalg.norm(sizes))
    # A singular value of 0 has rows of zeros, for which any unit will do.
    units = size / np.where(roots > 0, roots, 1.0)
    self._units = units
    self.rows = [
      (row, float(unit))
      for side in (self._left, self._right)
      for row, unit in zip(side, units)
    ]

  def rounded(self, precision: float) -> list[list[tuple[np.ndarray, float]]]:
    a = [
      _rounded(row, precision * unit)
      for row, unit in zip(self._left, self._units)
    ]
    # Given the rounded A, find the B that restores B A best.
    known = np.stack([codes * step for codes, step in a])
    b = np.linalg.lstsq(
      known @ known.T, (known @ self._left.T) @ self._right, rcond=1e-10
    )[0]
    return [
      a,
      [_rounded(row, precision * unit) for row, unit in zip(b, self._units)],
    ]

  def whole(self) -> np.ndarray:
    return self._left.T @ self._right


def _groups(leaves: Mapping[Path, np.ndarray]) -> list[list[Path]]:
  """Paths of pairs, A first, and of single offsets."""
  groups = []
  for path in sorted(leaves):
    partner = (*path[:-1], PAIR[1])
    if path[-1] == PAIR[0] and partner in leaves:
      groups.append([path, partner])
    elif path[-1] != PAIR[1] or (*path[:-1], PAIR[0]) not in leaves:
      groups.append([path])
  return groups


def _factors(tensors: Sequence[np.ndarray]) -> _Offset | _Pair:
  tensors = [np.asarray(tensor, np.float64) for tensor in tensors]
  if len(tensors) == 1:
    tensor = tensors[0]
    return _Offset(tensor.reshape(-1, tensor.shape[-1] if tensor.ndim else 1))
  a, b = tensors
  return _Pair(a.reshape(-1, a.shape[-1]), b)


def _rounded(row: np.ndarray, step: float) -> tuple[np.ndarray, float]:
  """Integers and their scale; the step grows if they are too large."""
  largest = float(np.abs(row).max())
  step = float(np.float32(max(step, largest / _TOP)))
  if not step:
    return np.zeros(row.shape, np.int8), 0.0
  codes = np.clip(np.rint(row / step), -_TOP, _TOP).astype(np.int8)
  return codes, step if codes.any() else 0.0


def _precision(
  rows: Sequence[tuple[np.ndarray, float]], budget: float
) -> float:
  """The finest step, in units of each row, within the budget.

  Args:
    rows: the rows, with their units.
    budget: average bits per number.
  """
  total = sum(row.size for row, _ in rows)

  def needed(precision: float) -> float:
    found = [_rounded(row, precision * unit)[0] for row, unit in rows]
    return _entropy(found) / total

  low, high = -60.0, 10.0  # powers of 2
  if needed(2.0**low) <= budget:
    return 2.0**low
  for _ in range(_HALVINGS):
    middle = (low + high) / 2
    low, high = (
      (low, middle) if needed(2.0**middle) <= budget else (middle, high)
    )
    if high - low < 0.005:
      break
  return 2.0**high


def _entropy(rows: Sequence[np.ndarray]) -> float:
  """Bits needed with a separate code for all rows of about the same bits."""
  counts = np.zeros((8, 2 * _TOP + 1))
  for row in rows:
    counts[_bit_length(row)] += np.bincount(
      row.astype(np.int64) + _TOP, minlength=2 * _TOP + 1
    )
  bits = 0.0
  for one in counts:
    some = one[one > 0]
    # A code has at least one whole bit.
    bits += max(
      float(some.sum()), float(-(some * np.log2(some / some.sum())).sum())
    )
  return bits


def _bit_length(row: np.ndarray) -> int:
  return int(np.abs(row.astype(np.int64)).max()).bit_length()


def _compressed(rows: Sequence[np.ndarray], lengths: np.ndarray) -> bytes:
  """A zlib stream of the rows, in the order of their bits."""
  coder = zlib.compressobj(
    9, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_HUFFMAN_ONLY
  )
  parts = []
  for length in np.unique(lengths):
    parts += [
      coder.compress(rows[i].tobytes())
      for i in np.flatnonzero(lengths == length)
    ]
    parts.append(coder.flush(zlib.Z_SYNC_FLUSH))  # starts a new code
  return b"".join([*parts, coder.flush()])


def _expanded(data: np.ndarray, numbers: int) -> bytes:
  """The inverse of `_compressed`; raises ValueError."""
  stream = zlib.decompressobj()
  try:
    found = stream.decompress(data.tobytes(), numbers + 1)
  except zlib.error as error:
    raise ValueError(f"its codes are damaged: {error}") from None
  if len(found) != numbers or not stream.eof or stream.unused_data:
    raise ValueError(f"its codes are damaged: expected {numbers} numbers")
  return found


def _check(packed: Packed, numbers: int, rows: int):
  """Refuses mismatched sizes before memory is allocated for them."""
  for name, array, kind in (
    ("codes", packed.codes, np.uint8),
    ("scales", packed.scales, np.float32),
    ("bits", packed.bits, np.uint8),
  ):
    if array.dtype != kind or array.ndim != 1:
      raise ValueError(f"{name} is not a row of {np.dtype(kind)}")
  if numbers > _MOST_NUMBERS_A_BYTE * packed.codes.size:
    raise ValueError(
      f"its shapes have {numbers} numbers, more than {packed.codes.size} bytes "
      "can hold"
    )
  if not len(packed.scales) == len(packed.bits) == rows:
    raise ValueError(
      f"it has {len(packed.scales)} scales and {len(packed.bits)} bit lengths, "
      f"but its shapes have {rows} rows"
    )
  if not (np.isfinite(packed.scales).all() and (packed.scales >= 0).all()):
    raise ValueError("its scales are not all finite and positive")


def _row_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, int]:
  """How many rows a tensor has, and how many numbers per row."""
  count = math.prod(shape)
  last = shape[-1] if shape else 1
  if path[-1] == PAIR[0]:
    return last, count // last
  return count // last, last


def _of_rows(
  path: Path, rows: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
  rows = rows.astype(np.float32)
  return (rows.T if path[-1] == PAIR[0] else rows).reshape(shape)
