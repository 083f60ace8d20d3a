"""Encoder files: `FOLDER/encoder.safetensors`, next to a generator's folder.

The metadata holds the format, the config, the digest of the generator that it
was trained for, its measured quality, and a SHA-256 of the numbers.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from my3dgen_jax.config import ConfigError
from my3dgen_jax.config.encoder import EncoderConfig
from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.models.encoder import Encoder
from my3dgen_jax.ops import cameras
from my3dgen_jax.storage import tensor_files
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.tracing.parameters import traced_once
from my3dgen_jax.types import Network

ENCODER_FILE = "encoder.safetensors"

_KIND, _FORMAT = "encoder", "1"
_SUFFIX = "_encoder"  # appended to the generator's folder name
_TRAINER = "my3dgen train-encoder"


class EncoderFile(NamedTuple):
  """An encoder read from a folder.

  Attributes:
    network: the encoder with its weights, float32.
    base_digest: digest of the generator that it was trained for.
    digest: SHA-256 of its numbers.
    quality: its quality as measured by `train_encoder`.
  """

  network: Network
  base_digest: str
  digest: str
  quality: Mapping[str, Any]


def place_beside(checkpoint: str | os.PathLike) -> pathlib.Path:
  """The default folder of a generator's encoder: CHECKPOINT_encoder."""
  path = pathlib.Path(checkpoint).expanduser().absolute()
  return path.with_name(path.name + _SUFFIX)


@traced_once
def abstract_variables(config: EncoderConfig) -> Any:
  """Shapes and dtypes of an encoder's variables, without values."""
  side = config.resolution
  return jax.eval_shape(
    lambda: Encoder(config).init(
      jax.random.key(0),
      jnp.zeros((1, side, side, 4)),
      jnp.zeros((1, cameras.LABEL_SIZE)),
      method="look",
    )
  )


def save_encoder(
  folder: str | os.PathLike,
  config: EncoderConfig,
  variables: Any,
  *,
  base_digest: str,
  source: Mapping[str, Any] | None = None,
  quality: Mapping[str, Any] | None = None,
):
  """Writes an encoder atomically, replacing an existing one.

  Args:
    folder: the folder, created if missing.
    config: its sizes.
    variables: {"params": …, "buffers": …}; parameters are kept as float16.
    base_digest: see `EncoderFile`.
    source: origin of the weights (plain data).
    quality: see `EncoderFile`.

  Raises: CheckpointError: the folder cannot be written, or the variables do
    not match the config.
  """
  folder = pathlib.Path(folder).expanduser()
  path = folder / ENCODER_FILE
  arrays = {
    name: np.asarray(
      leaf, np.float16 if name.startswith("params/") else np.float32
    )
    for name, leaf in flatten_dict(dict(variables), sep="/").items()
  }
  _check(path, config, arrays)
  metadata = {
    "kind": _KIND,
    "format": _FORMAT,
    "encoder": json.dumps(config.to_dict()),
    "base_digest": base_digest,
    "source": json.dumps(dict(source or {})),
    "quality": json.dumps(dict(quality or {})),
    "sha256": _digest(arrays),
  }
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
      file.write(tensor_files.encode(arrays, metadata))
  except OSError as error:
    raise CheckpointError(
      f"{path}: {error.strerror or type(error).__name__}"
    ) from error


class EncoderFacts(NamedTuple):
  """Facts about a folder's encoder, without its numbers.

  Attributes:
    config: its sizes.
    base_digest: see `EncoderFile`.
  """

  config: EncoderConfig
  base_digest: str


def read_facts(folder: str | os.PathLike) -> EncoderFacts:
  """Reads an encoder's facts; raises CheckpointError as `load_encoder`."""
  path, metadata, _ = _read(folder, numbers=False)
  config, base_digest, _ = _facts(path, metadata)
  return EncoderFacts(config, base_digest)


def load_encoder(
  folder: str | os.PathLike, *, precision: Any = None
) -> EncoderFile:
  """Reads an encoder.

  Args:
    folder: a folder written by `save_encoder`.
    precision: the encoder's matrix-product precision.

  Raises: CheckpointError: names the file and the problem.
  """
  path, metadata, arrays = _read(folder, numbers=True)
  config, base_digest, quality = _facts(path, metadata)
  _check(path, config, arrays)
  digest = _digest(arrays)
  if metadata.get("sha256") != digest:
    raise CheckpointError(
      f"{path}: damaged: not what was saved; copy the original file again"
    )
  variables = jax.device_put(
    unflatten_dict(
      {name: leaf.astype(np.float32) for name, leaf in arrays.items()}, sep="/"
    )
  )
  return EncoderFile(
    Network(variables, Encoder(config, precision=precision)),
    base_digest,
    digest,
    quality,
  )


def _read(
  folder: str | os.PathLike, *, numbers: bool
) -> tuple[pathlib.Path, dict[str, str], dict[str, np.ndarray]]:
  """A folder's file, its metadata, and its arrays if `numbers`."""
  path = pathlib.Path(folder).expanduser() / ENCODER_FILE
  if not path.is_file():
    raise CheckpointError(
      f"{path}: no such file; expected a folder that {_TRAINER} wrote"
    )
  with tensor_files.opened(path, "an encoder") as file:
    metadata = file.metadata() or {}
    if (metadata.get("kind"), metadata.get("format")) != (_KIND, _FORMAT):
      raise CheckpointError(
        f"{path}: is not an encoder; expected a file that {_TRAINER} wrote"
      )
    names = file.keys() if numbers else ()
    return path, metadata, {name: file.get_tensor(name) for name in names}


def _facts(
  path: pathlib.Path, metadata: Mapping[str, str]
) -> tuple[EncoderConfig, str, Any]:
  """Config, base digest and quality from a file's metadata."""
  try:
    return (
      EncoderConfig.from_dict(json.loads(metadata["encoder"])),
      metadata["base_digest"],
      json.loads(metadata.get("quality", "{}")),
    )
  except ConfigError as error:
    raise CheckpointError(f"{path}: {error}") from error
  except (KeyError, ValueError, TypeError) as error:
    raise CheckpointError(f"{path}: its metadata is damaged") from error


def _check(
  path: pathlib.Path, config: EncoderConfig, arrays: Mapping[str, np.ndarray]
):
  """Names the first array that does not match the config, or is not finite."""
  expected = flatten_dict(dict(abstract_variables(config)), sep="/")
  for name in sorted(set(arrays) | set(expected)):
    if name not in arrays:
      raise CheckpointError(f"{path}: {name} is missing")
    if name not in expected:
      raise CheckpointError(f"{path}: {name} is not part of it")
    found, shape = arrays[name], expected[name].shape
    if found.shape != shape or found.dtype.kind != "f":
      raise CheckpointError(
        f"{path}: {name} is {found.dtype} {list(found.shape)}, expected "
        f"{list(shape)}"
      )
    if not np.isfinite(found).all():
      raise CheckpointError(f"{path}: {name} holds NaN or infinity")


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
  digest = hashlib.sha256()
  for name in sorted(arrays):
    digest.update(f"{name} {arrays[name].dtype}\n".encode())
    digest.update(arrays[name].tobytes())
  return digest.hexdigest()
