"""Folders for converted networks: one file, replaced atomically.

    FOLDER/
      weights.safetensors   arrays by path; its metadata has the format, the
                            kind, which network, its source and a SHA-256

Replacing that file replaces everything.
"""

import dataclasses
import errno
import functools
import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn

import jax
import numpy as np
from flax import traverse_util

from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.storage import tensor_files
from my3dgen_jax.storage.files import is_system_file
from my3dgen_jax.types import Network

WEIGHTS_FILE = "weights.safetensors"

_FORMAT = "1"


@dataclasses.dataclass(frozen=True, eq=False)
class Kind:
  """A kind of network: how its folders are saved and loaded.

  Attributes:
    name: name in the metadata.
    title: name in messages.
    field: metadata entry that names the network.
    networks: the networks of this kind.
    converter: the command that writes such folders.
    abstract: a network's variables, without values.
    module: makes the Flax module from a network's name and options.
    files: the files that it is converted from, with sizes, for messages.
    params_only: name arrays by their paths in "params", the only collection;
      otherwise the collection comes first.
  """

  name: str
  title: str
  field: str
  networks: Collection[str]
  converter: str
  abstract: Callable[[str], Any]
  module: Callable[..., Any]
  files: str = ""
  params_only: bool = True

  @property
  def remedy(self) -> str:
    """What to do about a folder that does not hold such weights."""
    return f"expected a folder that {self.converter} has written"

  @property
  def source(self) -> str:
    """Where to get what is missing."""
    return f"convert {self.files}, see docs/weights_and_converters.md"

  def save(
    self,
    directory: str | os.PathLike,
    network: str,
    variables: Any,
    *,
    source: Mapping[str, Any] | None = None,
    overwrite: bool = False,
  ):
    """Writes the weights atomically.

    Args:
      directory: the folder to create.
      network: one of `networks`.
      variables: variables of the structure that `abstract` returns.
      source: origin of the weights (plain data), kept in the file.
      overwrite: whether to replace the weights in an existing folder.

    Raises:
      FileExistsError: the folder exists, and may not be replaced.
      CheckpointError: the variables are not the network's; or the folder
        cannot be written, or holds other things.
    """
    directory = _absolute(directory)
    self.check_writable(directory, overwrite=overwrite)
    arrays = {
      name: np.ascontiguousarray(leaf)
      for name, leaf in self._flatten(variables).items()
    }
    self._check_arrays(directory, network, arrays)
    for name, array in arrays.items():
      if not np.isfinite(array).all():
        raise CheckpointError(f"{directory}: {name} holds NaN or infinity")
    data = tensor_files.encode(
      arrays,
      {
        "format": _FORMAT,
        "kind": self.name,
        self.field: network,
        "source": json.dumps(dict(source or {})),
        "sha256": _digest(arrays),
      },
    )
    try:
      directory.parent.mkdir(parents=True, exist_ok=True)
      # In the target's folder, so that the last step is a rename on one disk.
      with tempfile.TemporaryDirectory(
        prefix=f".{directory.name[:64]}.", dir=directory.parent
      ) as temporary:
        new = pathlib.Path(temporary) / "new"
        new.mkdir()
        (new / WEIGHTS_FILE).write_bytes(data)
        if directory.exists():
          (new / WEIGHTS_FILE).replace(directory / WEIGHTS_FILE)
        else:
          new.rename(directory)
    except OSError as error:
      raise CheckpointError(
        f"{directory}: {error.strerror or type(error).__name__}"
      ) from error

  def save_only(
    self,
    directory: str | os.PathLike,
    variables: Any,
    *,
    source: Mapping[str, Any] | None = None,
    overwrite: bool = False,
  ):
    """`save` for a kind that has only one network."""
    (network,) = self.networks
    self.save(directory, network, variables, source=source, overwrite=overwrite)

  def check_writable(self, directory: str | os.PathLike, *, overwrite: bool):
    """Raises in advance what `save` would raise after the work.

    Args:
      directory: the folder to create.
      overwrite: it may exist, if it holds the weights and nothing else.

    Raises:
      FileExistsError: the folder exists, and may not be replaced.
      CheckpointError: it holds other things.
    """
    directory = _absolute(directory)
    if not (directory.exists() or directory.is_symlink()):
      return
    if not overwrite:
      raise FileExistsError(errno.EEXIST, "exists already", str(directory))
    if not (directory / WEIGHTS_FILE).is_file():
      raise CheckpointError(
        f"{directory}: is not a folder with {self.title} weights, so it is not "
        "replaced; choose another folder"
      )
    others = sorted(
      name
      for name in set(os.listdir(directory)) - {WEIGHTS_FILE}
      if not is_system_file(name)
    )
    if others:
      raise CheckpointError(
        f"{directory}: contains {others[0]} besides the weights, so it is not "
        "replaced; choose another folder"
      )

  def load(self, directory: str | os.PathLike, **options: Any) -> Network:
    """Reads a network from disk.

    Args:
      directory: a folder written by `save` or by `converter`.
      **options: the module's options, such as `dtype` ("float32" or
        "bfloat16") and `precision` ("highest", "high" or "default").

    Returns: the module with its variables, float32 on the default device.
    Raises:
      CheckpointError: names the file and the problem.
    """
    network, variables = self._read(directory)
    return Network(variables, self.module(network, **options))

  def _read(self, directory: str | os.PathLike) -> tuple[str, Any]:
    """The name of a folder's network, and its variables."""
    import safetensors  # pylint: disable=import-outside-toplevel

    directory = _absolute(directory)
    path = directory / WEIGHTS_FILE

    def refuse(reason: str) -> NoReturn:
      raise CheckpointError(f"{path}: {reason}") from None

    if not directory.is_dir():
      raise CheckpointError(
        f"{directory}: no such folder; {self.remedy}; {self.source}"
      )
    if not path.is_file():
      refuse(f"missing; {self.remedy}")
    try:
      with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
        if (metadata.get("kind"), metadata.get("format")) != (
          self.name,
          _FORMAT,
        ):
          refuse(f"does not hold {self.title} weights; {self.remedy}")
        arrays = {name: file.get_tensor(name) for name in file.keys()}
    except OSError as error:
      refuse(error.strerror or "cannot be read")
    # Contents unknown to the reader, such as other dtypes, raise KeyError.
    except (safetensors.SafetensorError, KeyError, TypeError, UnicodeError):
      refuse(f"damaged, or not a safetensors file; {self.remedy}")
    network = metadata.get(self.field)
    if network not in self.networks:
      refuse(f"field '{self.field}' must be one of {', '.join(self.networks)}")
    self._check_arrays(path, network, arrays)
    if metadata.get("sha256") != _digest(arrays):
      refuse("damaged: not what was saved; convert the weights again")
    tree = jax.device_put(traverse_util.unflatten_dict(arrays, sep="/"))
    return network, {"params": tree} if self.params_only else tree

  def _flatten(self, variables: Any) -> dict[str, Any]:
    """Flattens variables to arrays by name."""
    tree = (
      variables["params"]
      if self.params_only
      else {name: dict(collection) for name, collection in variables.items()}
    )
    return traverse_util.flatten_dict(dict(tree), sep="/")

  def _check_arrays(
    self, where: Any, network: str, arrays: Mapping[str, np.ndarray]
  ):
    """Names the first array that is missing, different or unexpected."""
    expected = _expected(self, network)
    problem = f"{where}: not the weights of {network}"
    for name, leaf in expected.items():
      if name not in arrays:
        raise CheckpointError(f"{problem}: {name} is missing")
      found = arrays[name]
      if (found.shape, found.dtype) != (leaf.shape, leaf.dtype):
        raise CheckpointError(
          f"{problem}: {name} is {found.dtype} {list(found.shape)}, "
          f"expected {leaf.dtype} {list(leaf.shape)}"
        )
    extra = sorted(set(arrays) - set(expected))
    if extra:
      raise CheckpointError(f"{problem}: {extra[0]} is not part of it")


def _expected(kind: Kind, network: str) -> dict[str, Any]:
  """Shapes of a network's arrays, by name."""
  entry = kind.networks[network] if isinstance(kind.networks, Mapping) else None
  return _traced(kind, network, entry)


@functools.lru_cache(maxsize=16)
def _traced(kind: Kind, network: str, entry: Any) -> dict[str, Any]:
  """Cached, because tracing a module for its shapes takes seconds.

  Args:
    kind: the network's kind.
    network: its name.
    entry: the network's current entry, for the cache.
  """
  del entry
  return kind._flatten(kind.abstract(network))  # pylint: disable=protected-access


def _absolute(directory: str | os.PathLike) -> pathlib.Path:
  return pathlib.Path(directory).expanduser().absolute()


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
  """SHA-256 of the numbers; the format has no checksum of its own."""
  digest = hashlib.sha256()
  for name in sorted(arrays):
    digest.update(f"{name}\n".encode())
    digest.update(np.ascontiguousarray(arrays[name]))
  return digest.hexdigest()
