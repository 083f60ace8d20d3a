"""A basis that many people share, so that each file holds coefficients only.

    basis = fit([lora.load(path).lora for path in paths], rank=32)
    write("people.basis.safetensors", basis)
    lora.save("ann.safetensors", ann, config, dtype="int4", basis=basis)

For a pair's product B A, the basis holds directions of A (those that the people
it was fitted to use most, layer by layer) and optionally of B. A person's pair
is then stored as coefficients of these directions, whatever the rank of either.
The part of a change outside their span is lost: `captured` measures what is
kept.

Source: Brüel-Gabrielsson et al. 2024, "Compress then serve"; eigenfaces, Turk
and Pentland 1991.
"""

import dataclasses
import functools
import hashlib
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.models.adapter import PAIR
from my3dgen_jax.storage import tensor_files
from my3dgen_jax.storage.files import replacing

DIGEST = "basis_sha256"  # metadata entry of files that need a basis
PATTERN = "*.basis.safetensors"  # file names searched for a basis
KIND = "my3dgen shared basis"  # the metadata's "kind"
_FORMAT = "1"
_MOST_NUMBERS = 2**28  # largest tensor accepted from a file of coefficients

Path = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Basis:
  """Directions that people's pairs are made of.

  Attributes:
    directions: arrays by path: for a lora_a, [..., I, K], orthonormal over
      all other axes; for a lora_b, [K, O], orthonormal rows. float16 values,
      stored as float32.
    people: how many people it was fitted to.
    base: SHA-256 of the weights that they are for, or "".
  """

  directions: Mapping[Path, np.ndarray]
  people: int
  base: str = ""

  @functools.cached_property
  def data(self) -> bytes:
    """The basis as the bytes of its file."""
    return tensor_files.encode(
      {
        "/".join(path): leaf.astype(np.float16)
        for path, leaf in self.directions.items()
      },
      {
        "kind": KIND,
        "format": _FORMAT,
        "people": str(self.people),
        "base_sha256": self.base,
      },
    )

  @functools.cached_property
  def metadata(self) -> dict[str, str]:
    """Metadata for a file of a person's coefficients."""
    return {DIGEST: hashlib.sha256(self.data).hexdigest()}

  def coefficients(
    self, leaves: Mapping[Path, np.ndarray]
  ) -> dict[Path, np.ndarray]:
    """A person's adapter in the basis; offsets stay as they are.

    Args:
      leaves: an adapter's tensors by path.

    Raises: UserError: it does not fit the basis; it names the first tensor.
    """
    found = dict(leaves)
    for path, axes in self.directions.items():
      leaf = leaves.get(path)
      if leaf is None or _outer(path, leaf.shape) != _outer(path, axes.shape):
        raise UserError(
          f"basis: {'/'.join(path)} has shape "
          f"{list(_outer(path, axes.shape))}, but the adapter has "
          f"{'none' if leaf is None else list(_outer(path, leaf.shape))}; "
          "fit a basis to adapters of this generator"
        )
      found[path] = (
        _matrix(axes).T @ _matrix(leaf)
        if path[-1] == PAIR[0]
        else leaf @ axes.T
      )
    return found

  def expanded(
    self, path: object, leaves: Mapping[Path, np.ndarray]
  ) -> dict[Path, np.ndarray]:
    """The inverse of `coefficients`.

    Args:
      path: path of the file, for messages.
      leaves: coefficients and offsets.

    Raises: CheckpointError: they do not fit the basis.
    """
    found = dict(leaves)
    for name, axes in self.directions.items():
      leaf, count = leaves.get(name), _count(name, axes.shape)
      if (
        leaf is None
        or leaf.ndim != 2
        or leaf.size * (axes.size // count) > _MOST_NUMBERS * count
        or leaf.shape[0 if name[-1] == PAIR[0] else 1] != count
      ):
        raise CheckpointError(
          f"{path}: is damaged: {'/'.join(name)} is "
          f"{'missing' if leaf is None else list(leaf.shape)}, expected "
          f"coefficients of {count} directions"
        )
      if name[-1] == PAIR[0]:
        found[name] = (_matrix(axes) @ leaf).reshape(
          (*axes.shape[:-1], leaf.shape[1])
        )
      else:
        found[name] = leaf @ axes
    return found


def fit(
  people: Sequence[Any], *, rank: int, rank_b: int = 0, base: str = ""
) -> Basis:
  """Finds the directions that hold most of what people change.

  Args:
    people: the adapters' collections, of one layout and any ranks. Each
      counts the same, however large its change.
    rank: largest number of directions of A per layer; layers where A is no
      longer than that stay as they are.
    rank_b: the same for B; 0: each person keeps their own B.
    base: see `Basis`.

  Raises: UserError: there are no people, or they have different layouts.
  """
  if not people or rank < 1 or rank_b < 0:
    raise UserError(
      f"rank: expected one or more people and directions, got {len(people)} "
      f"people and rank {rank}, {rank_b}"
    )
  trees = [
    {path: np.asarray(leaf) for path, leaf in flatten_dict(one).items()}
    for one in people
  ]
  names = sorted(path for path in trees[0] if path[-1] == PAIR[0])
  directions = {}
  for name in names:
    partner = (*name[:-1], PAIR[1])
    lefts, rights = [], []
    for tree in trees:
      if name not in tree or _outer(name, tree[name].shape) != _outer(
        name, trees[0][name].shape
      ):
        raise UserError(
          f"adapters: {'/'.join(name)} has several shapes; a basis is for one "
          "generator and layout"
        )
      left, right = _vectors(_matrix(tree[name]), tree[partner])
      size = max(float(np.linalg.norm(left)), np.finfo(np.float32).tiny)
      lefts.append(left / size)
      rights.append(right / size)
    outer = _outer(name, trees[0][name].shape)
    joined = np.concatenate(lefts, axis=1)
    if rank < joined.shape[0]:
      axes = np.linalg.svd(joined, full_matrices=False)[0][:, :rank]
      directions[name] = _float16(axes.reshape((*outer, -1)))
    joined = np.concatenate(rights, axis=0)
    if rank_b and rank_b < joined.shape[1]:
      directions[partner] = _float16(
        np.linalg.svd(joined, full_matrices=False)[2][:rank_b]
      )
  if not directions:
    raise UserError(
      f"rank: no layer is larger than {rank} directions; choose fewer"
    )
  return Basis(directions, len(people), base)


def captured(basis: Basis, lora: Any) -> float:
  """The share of a person's change that the basis holds, in [0, 1].

  The mean over layers of the share of the squared change.

  Args:
    basis: a basis for the same generator.
    lora: the collection.
  """
  leaves = {path: np.asarray(x) for path, x in flatten_dict(lora).items()}
  kept = basis.coefficients(leaves)
  shares = []
  for path in leaves:
    if path[-1] == PAIR[0]:
      partner = (*path[:-1], PAIR[1])
      whole, part = (
        np.linalg.norm(_vectors(_matrix(tree[path]), tree[partner])[0])
        for tree in (leaves, kept)
      )
      if whole:
        shares.append(float(part / whole) ** 2)
  return sum(shares) / max(1, len(shares))


def write(path: str | os.PathLike, basis: Basis):
  """Writes a basis's file, atomically; raises OSError."""
  with replacing(path) as file:
    file.write(basis.data)


def read(path: str | os.PathLike) -> Basis:
  """Reads a basis; raises CheckpointError, naming the file."""
  path = pathlib.Path(path)
  with tensor_files.opened(path, "a shared basis") as file:
    metadata = dict(file.metadata() or {})
    leaves = {
      tuple(name.split("/")): file.get_tensor(name) for name in file.keys()
    }
  if metadata.get("kind") != KIND or metadata.get("format") != _FORMAT:
    raise CheckpointError(f"{path}: is not a shared basis of adapters")
  for name, leaf in leaves.items():
    if (
      name[-1] not in PAIR
      or leaf.ndim < 2
      or not leaf.size
      or leaf.dtype != np.float16
      or not np.isfinite(leaf).all()
    ):
      raise CheckpointError(
        f"{path}: {'/'.join(name)} does not hold directions of finite numbers"
      )
  people = metadata.get("people", "")
  basis = Basis(
    {name: leaf.astype(np.float32) for name, leaf in leaves.items()},
    int(people) if people.isdecimal() and len(people) < 10 else 0,
    metadata.get("base_sha256", ""),
  )
  # Another version might write the same directions as different bytes.
  vars(basis)["data"] = path.read_bytes()
  return basis


def needed(
  path: str | os.PathLike,
  metadata: Mapping[str, str],
  places: Sequence[str | os.PathLike] = (),
) -> Basis | None:
  """The basis that an adapter's file needs.

  Args:
    path: path of the adapter's file; its folder is searched first.
    metadata: the file's metadata.
    places: more files, or folders to search.

  Returns: the basis, or None if the file needs none.
  Raises: CheckpointError: the basis is missing; it says where to put it.
  """
  digest = metadata.get(DIGEST)
  if digest is None:
    return None
  folders = [pathlib.Path(path).absolute().parent]
  folders += [pathlib.Path(place).expanduser().absolute() for place in places]
  for folder in folders:
    files = sorted(folder.glob(PATTERN)) if folder.is_dir() else [folder]
    for file in files:
      if file.is_file():
        about = file.stat()
        found, basis = _known(file, about.st_mtime_ns, about.st_size)
        if found == digest and basis is not None:
          return basis
  raise CheckpointError(
    f"{path}: needs the shared basis with SHA-256 "
    f"{digest[:12]}…; put its file, named {PATTERN}, next to the adapter"
    + " or the generator"
    * bool(places)
  )


@functools.lru_cache(maxsize=4)
def _known(
  path: pathlib.Path, modified: int, size: int
) -> tuple[str, Basis | None]:
  """A file's SHA-256, and the basis in it, if any."""
  del modified, size  # cache keys: a file that has changed is read again
  with path.open("rb") as file:
    digest = hashlib.file_digest(file, "sha256").hexdigest()
  try:
    return digest, read(path)
  except CheckpointError:
    return digest, None


def _vectors(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Singular vectors of a b, times its singular values."""
  q_a, r_a = np.linalg.qr(a.astype(np.float64))
  q_b, r_b = np.linalg.qr(b.T.astype(np.float64))
  u, sizes, v = np.linalg.svd(r_a @ r_b.T, full_matrices=False)
  return (q_a @ u) * sizes, sizes[:, None] * (v @ q_b.T)


def _matrix(leaf: np.ndarray) -> np.ndarray:
  """A lora_a as a matrix of columns."""
  return leaf.reshape(-1, leaf.shape[-1])


def _outer(path: Path, shape: tuple[int, ...]) -> tuple[int, ...]:
  """A tensor's shape without the axis of its rank."""
  return shape[:-1] if path[-1] == PAIR[0] else shape[1:]


def _count(path: Path, shape: tuple[int, ...]) -> int:
  return shape[-1] if path[-1] == PAIR[0] else shape[0]


def _float16(leaf: np.ndarray) -> np.ndarray:
  return leaf.astype(np.float16).astype(np.float32)
