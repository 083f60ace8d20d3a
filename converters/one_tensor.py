"""Code shared by converters of a single tensor: PyTorch file in, `.npy` out."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import flags

from converters import cli, torch_reader
from converters.errors import (
  bare,
  describe,
  describe_shape,
  naming,
  read_file,
  some_of,
)
from converters.torch_reader import TensorRecord
from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.storage.files import replacing

SUFFIX = ".npy"


def convert(
  input_path: str,
  output: str,
  checked: Callable[[np.ndarray], np.ndarray],
  *,
  title: str,
  key: str | None,
  overwrite: bool,
  log: Callable[[str], None],
):
  """Converts a file, all of it or nothing.

  Args:
    input_path: the PyTorch file.
    output: the file to create, `.npy`.
    checked: function that returns the array to write, or raises an error.
    title: description of the tensor, e.g. "a direction".
    key: name of the tensor in a table; None: the only one.
    overwrite: whether to replace an existing file.
    log: called with each line of progress.

  Raises:
    CheckpointError: one line that names the file, the reason and, if there is
      one, the remedy.
  """
  cli.check_new_file(output, [input_path], SUFFIX, overwrite)
  data = read_file(input_path)
  with naming(input_path):
    tensor = find_tensor(torch_reader.loads(data), key)
    # Also converts dtypes that NumPy cannot compute with, e.g. bfloat16.
    array = checked(tensor.numpy().astype(np.float64))
  with naming(output):
    os.makedirs(os.path.dirname(os.path.abspath(output)), exist_ok=True)
    with replacing(output) as file:
      np.save(file, array.astype(np.float32), allow_pickle=False)
  log(f"wrote {output}: {title} of shape {describe_shape(array.shape)}")


def find_tensor(value: Any, key: str | None = None) -> TensorRecord:
  """The tensor to convert.

  Args:
    value: the file's contents: a tensor, or a table with tensors in it.
    key: name of the tensor in a table; None: the only one.

  Raises: CheckpointError: there is no tensor, or there are several.
  """
  if isinstance(value, TensorRecord):
    if key is not None:
      raise CheckpointError("has a single tensor without a name (drop --key)")
    return value
  if not isinstance(value, dict):
    raise CheckpointError(f"contains {describe(value)}, not a tensor")
  tensors = {
    name: item
    for name, item in value.items()
    if isinstance(name, str) and isinstance(item, TensorRecord)
  }
  if not tensors:
    raise CheckpointError("has no tensors")
  names = some_of(map(bare, tensors))
  if key is None and len(tensors) > 1:
    raise CheckpointError(
      f"has several tensors: {names} (choose one with --key)"
    )
  if key is not None and key not in tensors:
    raise CheckpointError(
      f"has no tensor {bare(key)}; it has {names} (choose one with --key)"
    )
  return next(iter(tensors.values())) if key is None else tensors[key]


def run(argv: list[str], about: str, convert_file: Callable[..., None]) -> int:
  """The command line of a converter of one tensor; returns the exit code."""
  values = cli.new_flags()
  flags.DEFINE_string(
    "input", None, "File to read (.pt, .pth, .pkl).", flag_values=values
  )
  flags.DEFINE_string(
    "output", None, "File to create (.npy).", flag_values=values
  )
  flags.DEFINE_string(
    "key",
    None,
    "Name of the tensor, if the file holds several.",
    flag_values=values,
  )
  flags.DEFINE_bool(
    "overwrite", False, "Replace an existing file.", flag_values=values
  )
  return cli.run(
    argv,
    values,
    about=about,
    required=("input", "output"),
    work=lambda: convert_file(
      values.input, values.output, key=values.key, overwrite=values.overwrite
    ),
  )
