"""Converts people to rows of numbers, which a bank's store keeps, and back."""

import functools
import json
import math
import unicodedata
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from my3dgen_jax.config import ConfigError, LoraConfig
from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.storage import json_files
from my3dgen_jax.storage.bank import index as index_lib
from my3dgen_jax.storage.bank import store as store_lib

DTYPES = ("float32", "float16")
MOST_LETTERS = 300  # longest id, in characters
ADAPTER, PHOTOS = 0, 1  # parts of a person
_SHOWN = 12  # characters shown of an id that is refused


class Photos(NamedTuple):
  """Where a person's photos lie in the latent space: the personal hull.

  Attributes:
    names: names of the photos.
    ws: [N, num_ws, w_dim] float32.
    c: [N, 25] float32, their camera labels.
  """

  names: tuple[str, ...]
  ws: np.ndarray
  c: np.ndarray


class Entry(NamedTuple):
  """A person to add.

  Attributes:
    id: any text, see `clean_id`.
    lora: the collection.
    config: rank, layout, targets.
    base: SHA-256 of the weights that it is for; None is refused.
    photos: the person's photos, or None.
    dtype: dtype of the numbers in the bank, one of `DTYPES`.
  """

  id: str
  lora: Any
  config: LoraConfig
  base: str | None
  photos: Photos | None = None
  dtype: str = "float32"


class Tensor(NamedTuple):
  """Position of one of an adapter's tensors in its row.

  Attributes:
    path: path in the collection.
    shape: the tensor's shape.
    begin: index of its first number in the row.
    end: index after its last number.
  """

  path: tuple[str, ...]
  shape: tuple[int, ...]
  begin: int
  end: int


class Adapter(NamedTuple):
  """How a row of numbers maps to an adapter.

  Attributes:
    config: rank, layout, targets.
    tensors: the tensors, in the order of their numbers.
  """

  config: LoraConfig
  tensors: tuple[Tensor, ...]


def as_id(text: str) -> str:
  """The id in a bank for a name, however it was typed."""
  return unicodedata.normalize("NFC", " ".join(str(text).split()))


def clean_id(text: str) -> str:
  """Normalizes an id as a bank keeps it.

  Args:
    text: 1 to 300 characters of any script; runs of spaces become one.

  Raises: UserError: it is empty, too long, or has unprintable characters.
  """
  found = as_id(text)
  if not found or len(found) > MOST_LETTERS or not found.isprintable():
    raise UserError(
      f"person: expected 1 to {MOST_LETTERS} printable characters, got "
      f"{found[:_SHOWN]!r}"
      + ("…" if len(found) > _SHOWN else "")
      + f" of {len(found)}"
    )
  return found


def rows_of(folder: object, entry: Entry) -> Iterator[store_lib.Row]:
  """Converts an entry to the store's rows.

  Args:
    folder: the bank's folder, for messages.
    entry: a person.

  Raises: UserError: names the person and what cannot be kept.
  """
  person = clean_id(entry.id)
  if entry.dtype not in DTYPES:
    raise UserError(f"dtype: expected one of {DTYPES}, got {entry.dtype!r}")
  leaves, treedef = jax.tree.flatten(entry.lora)
  if not leaves:
    raise UserError(f"{folder}: {person!r} has an adapter without numbers")
  leaves = [np.asarray(leaf) for leaf in leaves]
  description = _described(
    entry.config, treedef, tuple(leaf.shape for leaf in leaves)
  )
  numbers = np.concatenate([leaf.ravel() for leaf in leaves], dtype=np.float32)
  if entry.dtype != "float32":
    with np.errstate(over="ignore"):  # overflow is refused below
      numbers = numbers.astype(entry.dtype)
  if not _is_finite(numbers):
    raise UserError(
      f"{folder}: {person!r} holds NaN, or numbers too large for {entry.dtype}"
    )
  yield store_lib.Row(
    person, index_lib.Layout(entry.dtype, numbers.size, description), numbers
  )
  if entry.photos is not None:
    names, ws, c = entry.photos
    ws, c = np.asarray(ws, np.float32), np.asarray(c, np.float32)
    if ws.ndim != 3 or not len(names) == len(ws) == len(c) > 0:
      raise UserError(
        f"{folder}: the photos of {person!r} do not match: "
        f"{len(names)} names, ws {list(ws.shape)}, c {list(c.shape)}"
      )
    numbers = np.concatenate([ws.ravel(), c.ravel()])
    if not _is_finite(numbers):
      raise UserError(f"{folder}: the photos of {person!r} hold NaN")
    yield store_lib.Row(
      person,
      index_lib.Layout(
        "float32",
        numbers.size,
        json.dumps({"kind": "photos", "ws": list(ws.shape)}),
      ),
      numbers,
      part=PHOTOS,
      note=json.dumps(list(names), ensure_ascii=False),
    )


def _is_finite(numbers: np.ndarray) -> bool:
  """Whether all numbers are finite; the sum decides nearly all cases fast."""
  with np.errstate(over="ignore", invalid="ignore"):
    total = numbers.sum(dtype=np.float32)
  return bool(np.isfinite(total) or np.isfinite(numbers).all())


@functools.lru_cache(maxsize=256)
def _described(
  config: LoraConfig, treedef: Any, shapes: tuple[tuple[int, ...], ...]
) -> str:
  """A layout's description, from a tree of leaves with these shapes."""
  tree = jax.tree.unflatten(treedef, range(len(shapes)))
  names = {i: "/".join(path) for path, i in flatten_dict(tree).items()}
  return json.dumps(
    {
      "kind": "adapter",
      "lora": config.to_dict(),
      "tensors": [[names[i], list(shape)] for i, shape in enumerate(shapes)],
    }
  )


@functools.lru_cache(maxsize=256)
def adapter_of(description: str) -> Adapter:
  """Parses a layout's description; raises CheckpointError."""
  try:
    data = json_files.parse(description)
    tensors, end = [], 0
    for name, sides in data["tensors"]:
      shape = tuple(map(int, sides))
      begin, end = end, end + math.prod(shape)
      tensors.append(Tensor(tuple(name.split("/")), shape, begin, end))
    return Adapter(LoraConfig.from_dict(data["lora"]), tuple(tensors))
  except (AttributeError, ConfigError, KeyError, TypeError, ValueError):
    raise CheckpointError(
      "the bank's index is damaged: it does not describe an adapter's numbers"
    ) from None


def photo_shape(description: str) -> tuple[int, int, int]:
  """[N, num_ws, w_dim] of a row of photos; raises CheckpointError."""
  try:
    count, num_ws, w_dim = map(int, json_files.parse(description)["ws"])
    return count, num_ws, w_dim
  except (KeyError, TypeError, ValueError):
    raise CheckpointError(
      "the bank's index is damaged: it does not describe the photos' numbers"
    ) from None


def photo_names(note: str | None) -> tuple[str, ...]:
  """The names stored with a row of photos; empty if they are damaged."""
  try:
    return tuple(map(str, json_files.parse(note or "[]")))
  except (TypeError, UserError):
    return ()


def tree_of(adapter: Adapter, numbers: np.ndarray) -> Any:
  """Views rows of numbers as a collection.

  Args:
    adapter: what the rows hold.
    numbers: [..., size].

  Returns: the collection; leaves [..., *shape].
  Raises: CheckpointError: the rows have another size.
  """
  size = adapter.tensors[-1].end if adapter.tensors else 0
  if size != numbers.shape[-1]:
    raise CheckpointError(
      f"the bank's index is damaged: it says {size} numbers per adapter, but "
      f"there are {numbers.shape[-1]}"
    )
  many = numbers.shape[:-1]
  return unflatten_dict(
    {
      path: numbers[..., begin:end].reshape((*many, *shape))
      for path, shape, begin, end in adapter.tensors
    }
  )
