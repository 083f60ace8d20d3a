"""The folder that a converted network is kept in: one file, all or nothing.

    FOLDER/
      weights.safetensors   arrays by path; its metadata has the format, the
                            kind, which network, its source and a SHA-256

So replacing that file replaces all.
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
  """What the networks of a folder are for; how they are saved and loaded.

  Attributes:
    name: in the metadata.
    title: in messages.
    field: of the metadata, that names the network.
    networks: which there are.
    converter: the command that writes such folders.
    abstract: a network's variables, without numbers.
    module: what takes the variables, of a network's name and of options.
    files: what it is converted from, with sizes, for a message.
    params_only: arrays are named by their paths in "params", the one
      collection; else the collection comes first.
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
    """What to do about a folder that is none."""
    return f"expected a folder that {self.converter} has written"

  @property
  def source(self) -> str:
    """Where to get what is missing."""
    return (
      f"convert {self.files}, see README, 'Where each weight file comes from'"
    )

  def save(
    self,
    directory: str | os.PathLike,
    network: str,
    variables: Any,
    *,
    source: Mapping[str, Any] | None = None,
    overwrite: bool = False,
  ):
    """Writes the weights, all of them or nothing.

    Args:
      directory: to be created.
      network: one of `networks`.
      variables: as `abstract` says.
      source: where they come from (plain data), kept in the file.
      overwrite: replace the weights of a folder that exists.

    Raises:
      FileExistsError: the folder exists, and may not be replaced.
      CheckpointError: the variables are not those of the network; the folder
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
      # Beside the target, so that the last step is a rename on one disk.
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
    """`save` of a kind that has one network."""
    (network,) = self.networks
    self.save(directory, network, variables, source=source, overwrite=overwrite)

  def check_writable(self, directory: str | os.PathLike, *, overwrite: bool):
    """Refuses before any work what `save` would refuse after it.

    Args:
      directory: to be created.
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
        f"{directory}: is not a folder with {self.title} "
        "weights, so it is not replaced"
      )
    others = sorted(
      name
      for name in set(os.listdir(directory)) - {WEIGHTS_FILE}
      if not is_system_file(name)
    )
    if others:
      raise CheckpointError(
        f"{directory}: holds {others[0]} beside the "
        "weights, so it is not replaced"
      )

  def load(self, directory: str | os.PathLike, **options: Any) -> Network:
    """Reads a network from disk.

    Args:
      directory: written by `save`, or by `converter`.
      **options: of the module, such as `dtype` ("float32" or "bfloat16") and
        `precision` ("highest", "high" or "default") of its products.

    Returns: the module with its variables, float32 on the default device.
    Raises:
      CheckpointError: names the file and what is wrong with it.
    """
    network, variables = self._read(directory)
    return Network(variables, self.module(network, **options))

  def _read(self, directory: str | os.PathLike) -> tuple[str, Any]:
    """Which network a folder holds, and its variables."""
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
    # What the reader does not know, such as dtypes of numpy's, is a KeyError.
    except (safetensors.SafetensorError, KeyError, TypeError, UnicodeError):
      refuse(f"damaged, or no safetensors file; {self.remedy}")
    network = metadata.get(self.field)
    if network not in self.networks:
      refuse(f"field '{self.field}' must be one of {', '.join(self.networks)}")
    self._check_arrays(path, network, arrays)
    if metadata.get("sha256") != _digest(arrays):
      refuse("damaged, it is not what was saved; convert the weights again")
    tree = jax.device_put(traverse_util.unflatten_dict(arrays, sep="/"))
    return network, {"params": tree} if self.params_only else tree

  def _flatten(self, variables: Any) -> dict[str, Any]:
    """Variables to arrays by name."""
    tree = (
      variables["params"]
      if self.params_only
      else {name: dict(collection) for name, collection in variables.items()}
    )
    return traverse_util.flatten_dict(dict(tree), sep="/")

  def _check_arrays(
    self, where: Any, network: str, arrays: Mapping[str, np.ndarray]
  ):
    """Names the first array that is missing, different or too much."""
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
  """Shapes by name of a network's arrays."""
  entry = kind.networks[network] if isinstance(kind.networks, Mapping) else None
  return _traced(kind, network, entry)


@functools.lru_cache(maxsize=16)
def _traced(kind: Kind, network: str, entry: Any) -> dict[str, Any]:
  """To trace a module for its shapes takes seconds.

  Args:
    kind: of the network.
    network: its name.
    entry: what the name stands for now.
  """
  del entry
  return kind._flatten(kind.abstract(network))  # pylint: disable=protected-access


def _absolute(directory: str | os.PathLike) -> pathlib.Path:
  return pathlib.Path(directory).expanduser().absolute()


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
  """SHA-256 of the numbers; the format has no check of its own."""
  digest = hashlib.sha256()
  for name in sorted(arrays):
    digest.update(f"{name}\n".encode())
    digest.update(np.ascontiguousarray(arrays[name]))
  return digest.hexdigest()
