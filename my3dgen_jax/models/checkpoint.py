"""Generator folders: a `config.json` and an Orbax checkpoint.

FOLDER/
  config.json   {"format": 1, "generator": {...}, "source": {...},
                 "sha256": of the weights,
                 "files": SHA-256 of each file below}
  variables/    {"params": ..., "buffers": ...}, Orbax
"""

import contextlib
import errno
import glob
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from my3dgen_jax.config import ConfigError, GeneratorConfig
from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.models.generator import abstract_variables, Generator
from my3dgen_jax.storage import json_files
from my3dgen_jax.storage.files import is_system_file
from my3dgen_jax.storage.orbax_files import check_space, checkpointer

FORMAT = 1
CONFIG_FILE = "config.json"
VARIABLES_FOLDER = "variables"
DEMO = "demo"  # the source of weights that the demo trained

_SOURCE = (
  "convert e.g. NVIDIA's ffhqrebalanced512-128.pkl (some 0.4 GB), see "
  "docs/weights_and_converters.md"
)


def save_generator(
  directory: str | os.PathLike,
  config: GeneratorConfig,
  variables: Any,
  *,
  source: Mapping[str, Any] | None = None,
  overwrite: bool = False,
):
  """Writes a generator, all of it or nothing.

  Args:
    directory: the folder to create.
    config: the generator's config.
    variables: {"params": …, "buffers": …}, of the structure that
      `abstract_variables` returns.
    source: origin of the weights (plain data), kept in config.json.
    overwrite: whether to replace an existing folder, once the new one is
      complete.

  Raises:
    FileExistsError: the folder exists, and may not be replaced.
    CheckpointError: the variables do not match the config; the disk is full;
      the folder to replace is not a checkpoint.
  """
  directory = _absolute(directory)
  if directory.exists() or directory.is_symlink():
    if not overwrite:
      raise FileExistsError(errno.EEXIST, "exists already", str(directory))
    check_replaceable(directory)
  config = config.validate()
  variables = jax.tree.map(np.asarray, variables)
  _check_tree(directory, abstract_variables(config), variables)
  _check_finite(directory, variables)
  description = {
    "format": FORMAT,
    "generator": config.to_dict(),
    "source": json.loads(json.dumps(dict(source or {}))),
  }
  try:
    _write(directory, description, variables)
  except OSError as error:
    raise CheckpointError(
      f"{directory}: {error.strerror or type(error).__name__}"
    ) from error


def _absolute(directory: str | os.PathLike) -> pathlib.Path:
  return pathlib.Path(directory).expanduser().absolute()


def check_replaceable(directory: str | os.PathLike):
  """Refuses to replace a folder that holds anything but a checkpoint.

  Raises:
    CheckpointError: names the first entry that does not belong to one.
  """
  directory = pathlib.Path(directory)
  if not (directory / CONFIG_FILE).is_file():
    raise CheckpointError(
      f"{directory}: is not a checkpoint folder, so it is not replaced; choose "
      "another folder"
    )
  others = sorted(
    name
    for name in set(os.listdir(directory)) - {CONFIG_FILE, VARIABLES_FOLDER}
    if not is_system_file(name)
  )
  if others:
    raise CheckpointError(
      f"{directory}: contains {others[0]} besides the checkpoint, so it is not "
      "replaced; choose another folder"
    )


def _write(
  directory: pathlib.Path, description: Mapping[str, Any], variables: Any
):
  directory.parent.mkdir(parents=True, exist_ok=True)
  check_space(directory, variables)
  prefix, old = f".{directory.name[:64]}.unfinished-", _replaced(directory)
  for left in directory.parent.glob(f"{glob.escape(prefix)}*"):  # after a kill
    shutil.rmtree(left, ignore_errors=True)
  # In the target's folder, so that the last step is a rename on one disk.
  with tempfile.TemporaryDirectory(
    prefix=prefix, dir=directory.parent
  ) as temporary:
    new = pathlib.Path(temporary) / "new"
    new.mkdir()
    with checkpointer(f"{directory}: cannot be written") as orbax:
      orbax.save(new / VARIABLES_FOLDER, variables)
    description = {
      **description,
      "sha256": weights_digest(variables),
      "files": _digests(new / VARIABLES_FOLDER),
    }
    (new / CONFIG_FILE).write_text(json.dumps(description, indent=2) + "\n")
    if not directory.exists():
      new.rename(directory)
      return
    shutil.rmtree(old, ignore_errors=True)
    directory.rename(old)
    try:
      new.rename(directory)
    except OSError:
      old.rename(directory)
      raise
    shutil.rmtree(old, ignore_errors=True)


def _replaced(directory: pathlib.Path) -> pathlib.Path:
  """Path of a checkpoint while it is being replaced."""
  return directory.with_name(f".{directory.name[:64]}.replaced")


def _recover(directory: pathlib.Path):
  """Restores a checkpoint whose replacement was killed halfway."""
  old = _replaced(directory)
  if not directory.exists() and (old / CONFIG_FILE).is_file():
    with contextlib.suppress(OSError):  # another process did, or it stays
      old.rename(directory)


def _check_finite(where: Any, variables: Any):
  """Names the first entry that holds NaN or infinity."""
  for name, leaf in _flatten(variables).items():
    if not np.isfinite(leaf).all():
      raise CheckpointError(f"{where}: {name} holds NaN or infinity")


def _digests(folder: pathlib.Path) -> Mapping[str, str]:
  """The SHA-256 of every file in a folder, by its relative path."""
  digests = {}
  for path in sorted(folder.rglob("*")):
    if path.is_file():
      with path.open("rb") as file:
        digests[path.relative_to(folder).as_posix()] = hashlib.file_digest(
          file, "sha256"
        ).hexdigest()
  return digests


def _check_digests(folder: pathlib.Path, expected: Any):
  """Checks that the files are those that were saved.

  Orbax silently reads flipped bits as other numbers, and its threads report
  the damage that it does notice at great length.
  """
  remedy = "convert the checkpoint again"
  if not folder.is_dir():
    raise CheckpointError(f"{folder}: missing; {remedy}")
  if not isinstance(expected, dict) or not expected:
    raise CheckpointError(
      f"{folder.parent / CONFIG_FILE}: field 'files' is missing; {remedy}"
    )
  actual = _digests(folder)
  for name, digest in expected.items():
    if name not in actual:
      raise CheckpointError(f"{folder / name}: missing; {remedy}")
    if actual[name] != digest:
      raise CheckpointError(
        f"{folder / name}: damaged: not what was saved; {remedy}"
      )


def parse_json(text: bytes) -> Any:
  """Parses plain data from a file that may hold anything.

  Raises:
    CheckpointError: it is not JSON; the message omits the file's name.
  """
  try:
    return json_files.parse(text)
  except UserError as error:
    raise CheckpointError(str(error)) from None


def load_config(
  directory: str | os.PathLike,
) -> tuple[GeneratorConfig, Mapping[str, Any]]:
  """Reads a saved generator's settings and where its weights come from.

  Args:
    directory: a folder written by `save_generator`.

  Returns: the config, and the `source` it was saved with.
  Raises:
    CheckpointError: not a checkpoint folder; it names the file and field.
  """
  config, data = _read_config(_absolute(directory))
  return config, data.get("source") or {}


def _read_config(
  directory: pathlib.Path,
) -> tuple[GeneratorConfig, Mapping[str, Any]]:
  """The settings, and everything in config.json."""
  path = directory / CONFIG_FILE
  remedy = "expected a folder that converters/torch_to_flax.py has written"
  _recover(directory)
  if not directory.is_dir():
    raise CheckpointError(f"{directory}: no such folder; {remedy}; {_SOURCE}")
  try:
    data = parse_json(path.read_bytes())
  except FileNotFoundError:
    raise CheckpointError(f"{path}: missing; {remedy}") from None
  except OSError as error:
    raise CheckpointError(f"{path}: {error.strerror}") from None
  except CheckpointError as error:
    raise CheckpointError(f"{path}: {error}") from None
  if not isinstance(data, dict) or data.get("format") != FORMAT:
    raise CheckpointError(f"{path}: field 'format' must be {FORMAT}")
  try:
    return GeneratorConfig.from_dict(data.get("generator")), data
  except ConfigError as error:
    raise CheckpointError(f"{path}: {error}") from None


def generator_digest(directory: str | os.PathLike) -> str:
  """The digest that adapters use to identify their saved generator.

  It depends only on the weights: a copy of the folder has the same digest, and
  so has another conversion of the same file. The weights themselves are
  compared with config.json when they are loaded.

  Args:
    directory: a folder written by `save_generator`.

  Returns: a SHA-256, in hex.
  Raises:
    CheckpointError: not a checkpoint folder; it names the file and field.
  """
  directory = _absolute(directory)
  digest = _read_config(directory)[1].get("sha256")
  if not isinstance(digest, str):
    raise CheckpointError(
      f"{directory / CONFIG_FILE}: field 'sha256' is "
      "missing; convert the checkpoint again"
    )
  return digest


def weights_digest(variables: Any) -> str:
  """SHA-256 of all arrays in a tree, with names and shapes, in hex."""
  digest = hashlib.sha256()
  for name, leaf in sorted(_flatten(variables).items()):
    leaf = np.asarray(leaf)
    digest.update(f"{name} {leaf.dtype} {leaf.shape}\n".encode())
    digest.update(leaf.tobytes())
  return digest.hexdigest()


def load_generator(directory: str | os.PathLike) -> tuple[Generator, Any]:
  """Reads a generator from disk.

  Args:
    directory: written by `save_generator` or converters/torch_to_flax.py.

  Returns: the module, and its variables {"params": …, "buffers": …}, float32
    on the default device.
  Raises:
    CheckpointError: names the folder and the problem, e.g. the first
      parameter that does not match the config, or weights that differ from
      what was saved.
  """
  directory = _absolute(directory)
  config, description = _read_config(directory)
  folder = directory / VARIABLES_FOLDER
  _check_digests(folder, description.get("files"))
  expected = abstract_variables(config)
  with checkpointer(f"{folder}: cannot be read") as orbax:
    _check_tree(folder, expected, orbax.metadata(folder).item_metadata.tree)
    # Orbax would commit arrays to a device, and committed arrays do not share
    # compiled programs with uncommitted ones, such as a caller's own.
    arrays = orbax.restore(
      folder,
      jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), expected),
    )
  return Generator(config), jax.device_put(arrays)


def _flatten(tree: Any) -> Mapping[str, Any]:
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def _check_tree(where: Any, expected: Any, actual: Any):
  """Names the first entry that is missing, misshapen or unexpected."""
  expected, actual = (
    {name: tuple(leaf.shape) for name, leaf in _flatten(tree).items()}
    for tree in (expected, actual)
  )
  for name, shape in expected.items():
    if name not in actual:
      raise CheckpointError(
        f"{where}: does not match the architecture in config.json: {name} is "
        "missing"
      )
    if actual[name] != shape:
      raise CheckpointError(
        f"{where}: does not match the architecture in config.json: {name} has "
        f"shape {list(actual[name])}, expected {list(shape)}"
      )
  extra = sorted(set(actual) - set(expected))
  if extra:
    raise CheckpointError(
      f"{where}: does not match the architecture in config.json: {extra[0]} is "
      "not part of it"
    )
