"""Generators on disk: a folder with `config.json` and an Orbax checkpoint.

    FOLDER/
      config.json   {"format": 1, "generator": {...}, "source": {...}}
      variables/    {"params": ..., "buffers": ...}, Orbax
"""

import errno
import json
import os
import pathlib
import shutil
import tempfile
from typing import Any, Mapping, Optional, Tuple, Union

import jax
import numpy as np

from my3dgen_jax.config import ConfigError, GeneratorConfig
from my3dgen_jax.errors import UserError
from my3dgen_jax.models.generator import Generator, abstract_variables

FORMAT = 1
CONFIG_FILE = "config.json"
VARIABLES_FOLDER = "variables"
_DISK_ALLOWANCE = 2**20  # bytes, for what is not numbers


class CheckpointError(UserError):
  """A folder that holds no usable generator; one line that names it."""


def save_generator(directory: Union[str, os.PathLike],
                   config: GeneratorConfig, variables: Any, *,
                   source: Optional[Mapping[str, Any]] = None,
                   overwrite: bool = False):
  """Writes a generator, all of it or nothing.

  Args:
    directory: to be created.
    config: of the generator.
    variables: {"params": …, "buffers": …}, as `abstract_variables` says.
    source: where the weights come from (plain data), kept in config.json.
    overwrite: replace a folder that exists, once the new one is complete.

  Raises:
    FileExistsError: the folder exists, and may not be replaced.
    CheckpointError: the variables are not those of the config; the disk is
      full; what is to be replaced is no checkpoint.
  """
  directory = pathlib.Path(directory).absolute()
  if directory.exists():
    if not overwrite:
      raise FileExistsError(errno.EEXIST, "exists already", str(directory))
    if not (directory / CONFIG_FILE).is_file():
      raise CheckpointError(f"{directory}: is not a checkpoint folder, so it "
                            "is not replaced")
  config = config.validate()
  variables = jax.tree.map(np.asarray, variables)
  _check_tree(directory, abstract_variables(config), variables)
  directory.parent.mkdir(parents=True, exist_ok=True)
  _check_space(directory, variables)
  # Beside the target, so that the last step is a rename on one disk.
  with tempfile.TemporaryDirectory(
      prefix=f".{directory.name}.", dir=directory.parent) as temporary:
    new, old = (pathlib.Path(temporary) / name for name in ("new", "old"))
    new.mkdir()
    try:
      with _checkpointer() as checkpointer:
        checkpointer.save(new / VARIABLES_FOLDER, variables)
    # Orbax and TensorStore raise a good dozen types for disks that fail.
    except Exception as error:  # pylint: disable=broad-exception-caught
      raise CheckpointError(f"{directory}: cannot be written: "
                            f"{_first_line(error)}") from error
    (new / CONFIG_FILE).write_text(json.dumps(
        {"format": FORMAT, "generator": config.to_dict(),
         "source": dict(source or {})}, indent=2) + "\n")
    if not directory.exists():
      new.rename(directory)
      return
    directory.rename(old)
    try:
      new.rename(directory)
    except OSError:
      old.rename(directory)
      raise


def _check_space(directory: pathlib.Path, variables: Any):
  """Orbax writes from many threads and fails untidily on a full disk."""
  needed = _DISK_ALLOWANCE + sum(
      leaf.nbytes for leaf in jax.tree.leaves(variables))
  free = shutil.disk_usage(directory.parent).free
  if free < needed:
    raise CheckpointError(
        f"{directory}: no space left: {needed / 1e6:.0f} MB are needed, "
        f"{free / 1e6:.0f} MB are free")


def _first_line(error: Exception) -> str:
  return str(error).split("\n", maxsplit=1)[0] or type(error).__name__


def load_config(directory: Union[str, os.PathLike]
                ) -> Tuple[GeneratorConfig, Mapping[str, Any]]:
  """Reads the settings and the provenance of a saved generator.

  Args:
    directory: written by `save_generator`.

  Returns: the config, and the `source` it was saved with.
  Raises:
    CheckpointError: no such folder or not one of ours; names file and field.
  """
  path = pathlib.Path(directory) / CONFIG_FILE
  if not pathlib.Path(directory).is_dir():
    raise CheckpointError(
        f"{directory}: no such folder; expected one that "
        "converters/torch_to_flax.py has written")
  try:
    data = json.loads(path.read_text())
  except FileNotFoundError:
    raise CheckpointError(
        f"{path}: missing; expected a folder that converters/torch_to_flax.py "
        "has written") from None
  except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
    raise CheckpointError(f"{path}: cannot be read: {error}") from None
  if not isinstance(data, dict) or data.get("format") != FORMAT:
    raise CheckpointError(f"{path}: field 'format' must be {FORMAT}")
  try:
    config = GeneratorConfig.from_dict(data.get("generator"))
  except ConfigError as error:
    raise CheckpointError(f"{path}: {error}") from None
  return config, data.get("source") or {}


def load_generator(directory: Union[str, os.PathLike]
                   ) -> Tuple[Generator, Any]:
  """Reads a generator from disk.

  Args:
    directory: written by `save_generator` or converters/torch_to_flax.py.

  Returns: the module, and its variables {"params": …, "buffers": …}, float32
    on the default device.
  Raises:
    CheckpointError: names the folder and what is wrong with it, e.g. the
      first parameter that another architecture has otherwise.
  """
  config, _ = load_config(directory)
  folder = pathlib.Path(directory).absolute() / VARIABLES_FOLDER
  expected = abstract_variables(config)
  if not folder.is_dir():
    raise CheckpointError(f"{folder}: missing; convert the checkpoint again")
  with _checkpointer() as checkpointer:
    try:
      _check_tree(folder, expected,
                  checkpointer.metadata(folder).item_metadata.tree)
      device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
      variables = checkpointer.restore(folder, jax.tree.map(
          lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype,
                                            sharding=device), expected))
    except CheckpointError:
      raise
    # Orbax and TensorStore raise a good dozen types for damaged files.
    except Exception as error:  # pylint: disable=broad-exception-caught
      raise CheckpointError(
          f"{folder}: damaged: {_first_line(error)}") from error
  return Generator(config), variables


def _checkpointer():
  # Orbax takes a second to import; whoever only builds models needs none.
  import orbax.checkpoint as ocp  # pylint: disable=import-outside-toplevel
  return ocp.StandardCheckpointer()


def _check_tree(where: Any, expected: Any, actual: Any):
  """Names the first entry that is missing, of another shape, or too much."""
  def flatten(tree):
    return {jax.tree_util.keystr(path, simple=True, separator="/"):
            tuple(leaf.shape)
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}

  expected, actual = flatten(expected), flatten(actual)
  for name, shape in expected.items():
    if name not in actual:
      raise CheckpointError(
          f"{where}: another architecture than config.json says: {name} is "
          "missing")
    if actual[name] != shape:
      raise CheckpointError(
          f"{where}: another architecture than config.json says: {name} has "
          f"shape {list(actual[name])}, expected {list(shape)}")
  extra = sorted(set(actual) - set(expected))
  if extra:
    raise CheckpointError(
        f"{where}: another architecture than config.json says: {extra[0]} is "
        "not part of it")
