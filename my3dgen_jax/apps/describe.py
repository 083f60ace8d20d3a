"""Describes a preset, checkpoint, adapter or run, without its weights."""

import json
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict

from my3dgen_jax import lora as lora_lib
from my3dgen_jax.apps import strangers
from my3dgen_jax.config import GeneratorConfig, LoraConfig, preset
from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.lora import files as lora_files
from my3dgen_jax.lora import packed_files
from my3dgen_jax.models.adapter import PAIR
from my3dgen_jax.models.checkpoint import DEMO, generator_digest, load_config
from my3dgen_jax.models.generator import abstract_variables
from my3dgen_jax.storage import json_files, tensor_files
from my3dgen_jax.training import run_folder
from my3dgen_jax.training.anchors import Anchors

_PathLike = str | os.PathLike


def describe_preset(name: str, lora_config: LoraConfig) -> list[str]:
  """Lines about a published architecture.

  Args:
    name: see `config.PRESETS`.
    lora_config: settings of the adapter whose sizes are listed beside it.

  Raises: ConfigError: unknown preset, or invalid adapter settings.
  """
  return [f"preset {name}", *_describe_generator(preset(name), lora_config)]


def describe_checkpoint(
  folder: _PathLike, lora_config: LoraConfig
) -> list[str]:
  """Lines about a generator checkpoint; see `describe_preset`.

  Raises: CheckpointError: it cannot be read.
  """
  config, source = load_config(folder)
  return [
    f"checkpoint {folder}",
    f"SHA-256 {generator_digest(folder)}",
    *(f"source {name}: {_short(value)}" for name, value in source.items()),
    *[f"knows {strangers.KNOWS}"] * (DEMO in source),
    *_describe_generator(config, lora_config),
  ]


def describe_adapter(path: _PathLike) -> list[str]:
  """Lines about an adapter's file.

  Raises: CheckpointError: it cannot be read.
  """
  shapes, lora_config, metadata = _read_header(path)
  lines = [
    f"adapter {path} ({pathlib.Path(path).stat().st_size} bytes, "
    f"{', '.join(sorted({leaf.dtype for leaf in shapes.values()}))})",
    _describe_lora(lora_config),
  ]
  settings = metadata.pop("settings", None)
  lines += [
    f"{name}: {_short(value)}" for name, value in sorted(metadata.items())
  ]
  if settings is not None:
    try:
      lines += _describe_settings(json_files.parse(settings))
    except (ValueError, AttributeError):
      lines.append(f"settings: {_short(settings)}")
  lines += _table({"lora": _sizes(shapes)})
  return [*lines, _adapter_total(shapes)]


def describe_run(folder: _PathLike) -> list[str]:
  """Lines about a run, finished or not.

  Raises: CheckpointError: it cannot be read.
  """
  folder = pathlib.Path(folder)
  config = run_folder.read_config(folder)
  photos = config["photos"]
  lines = [
    f"run {folder} (my3dgen_jax {config['version']})",
    f"base SHA-256 {config[run_folder.BASE_DIGEST]}",
    ", ".join(f"{len(names)} {part}" for part, names in photos.items())
    + " photos",
  ]
  lines += _describe_settings(config["settings"])
  if (folder / run_folder.ANCHORS_FILE).exists():
    anchors = Anchors.load(folder / run_folder.ANCHORS_FILE)
    lines.append(
      f"anchors: {len(anchors.names)}, {anchors.ws.shape[1]} x "
      f"{anchors.ws.shape[2]}"
    )
  if (folder / run_folder.SUMMARY_FILE).exists():
    path = folder / run_folder.SUMMARY_FILE
    summary = run_folder.read_json(path)
    try:
      lines += [
        f"{name}: "
        + ", ".join(
          f"{key} {value:.4g}"
          for key, value in summary[name].items()
          if value is not None
        )
        for name in ("pretrained", "personalized")
      ]
      lines.append(f"seconds: {summary['seconds']}")
      lines += [
        f"warning: {_short(line)}"
        for line in summary.get(strangers.WARNINGS, ())
      ]
    except (KeyError, TypeError, ValueError, AttributeError):
      raise CheckpointError(
        f"{path}: damaged, not the summary of a run; personalize again"
      ) from None
  else:
    lines.append("unfinished; continue it with my3dgen personalize --resume")
  model = GeneratorConfig.from_dict(config["generator"])
  adapter = folder / run_folder.ADAPTER_FILE
  if not adapter.exists():
    return lines + [f"base: {_total(_base_shapes(model))}"]
  shapes, _, _ = _read_header(adapter)
  lines += _table({"base": _sizes(_base_shapes(model)), "lora": _sizes(shapes)})
  return [
    *lines,
    f"{_adapter_total(shapes)}, base: {_total(_base_shapes(model))}",
  ]


def _describe_generator(
  config: GeneratorConfig, lora_config: LoraConfig
) -> list[str]:
  config.validate()
  lora_config.validate("lora_")
  backbone, rendering = config.backbone, config.rendering
  lora = flatten_dict(lora_lib.abstract(config, lora_config))
  base = _base_shapes(config)
  return [
    f"image {config.img_resolution} x {config.img_resolution}, image_raw "
    f"{config.neural_rendering_resolution} x "
    f"{config.neural_rendering_resolution}, {config.superresolution.module}",
    f"z {config.z_dim}, w {config.w_dim}, ws of {config.num_ws} rows, planes "
    f"3 x {backbone.plane_channels} x {backbone.resolution} x "
    f"{backbone.resolution}",
    f"{rendering.depth_resolution} + "
    f"{rendering.depth_resolution_importance} samples per ray from "
    f"{rendering.ray_start} to {rendering.ray_end}, box "
    f"{rendering.box_warp}",
    _describe_lora(lora_config),
    *_table({"base": _sizes(base), "lora": _sizes(lora)}),
    f"{_adapter_total(lora)}, base: {_total(base)}",
  ]


def _describe_lora(config: LoraConfig) -> str:
  return (
    f"lora rank {config.rank}, alpha {config.alpha:g}, conv_rank "
    f"{config.conv_rank}, targets {' '.join(config.targets)}"
  )


def _describe_settings(settings: Mapping[str, Any]) -> list[str]:
  lines = []
  for name, value in settings.items():
    if isinstance(value, dict):
      value = ", ".join(f"{key} {_short(one)}" for key, one in value.items())
    lines.append(f"{name}: {_short(value)}")
  return lines


def _adapter_total(shapes: Mapping[tuple[str, ...], Any]) -> str:
  total = _total(shapes)
  pairs = _total(
    {path: leaf for path, leaf in shapes.items() if path[-1] in PAIR}
  )
  return f"lora: {total} numbers ({pairs} in A and B)"


def _base_shapes(config: GeneratorConfig) -> dict[tuple[str, ...], Any]:
  return flatten_dict(abstract_variables(config)["params"])


def _total(shapes: Mapping[tuple[str, ...], Any]) -> int:
  return sum(int(np.prod(leaf.shape)) for leaf in shapes.values())


def _sizes(shapes: Mapping[tuple[str, ...], Any]) -> dict[str, int]:
  """The count of numbers in each block."""
  sizes: dict[str, int] = {}
  for path, leaf in shapes.items():
    block = lora_lib.block_of(path)
    sizes[block] = sizes.get(block, 0) + int(np.prod(leaf.shape))
  return sizes


def _table(columns: Mapping[str, Mapping[str, int]]) -> list[str]:
  """One row per block, one column of counts per entry."""
  blocks = sorted(
    {block for column in columns.values() for block in column}, key=_natural
  )
  lines = [f"{'block':<24}" + "".join(f"{name:>12}" for name in columns)]
  for block in blocks:
    lines.append(
      f"{block:<24}"
      + "".join(f"{column.get(block, 0):>12}" for column in columns.values())
    )
  return lines


def _natural(name: str) -> list[Any]:
  """Sorts b8 before b16."""
  return [
    int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)
  ]


class _Header(NamedTuple):
  """Shape and dtype of a tensor, without its data."""

  shape: tuple[int, ...]
  dtype: str


def _read_header(
  path: _PathLike,
) -> tuple[dict[tuple[str, ...], _Header], LoraConfig, dict[str, str]]:
  """The header of an adapter file."""
  with tensor_files.opened(path, "an adapter") as file:
    metadata = dict(file.metadata() or {})
    shapes = {
      tuple(name.split("/")): _Header(
        tuple(piece.get_shape()), piece.get_dtype()
      )
      for name in file.keys()
      for piece in [file.get_slice(name)]
    }
  lora_config = lora_files.settings_of(path, metadata, map("/".join, shapes))
  metadata.setdefault("format", "1")  # written before there were two formats
  if metadata["format"] == packed_files.FORMAT:
    found = packed_files.shapes_of(path, metadata)
    shapes = {
      name: _Header(shape, metadata[packed_files.DTYPE])
      for name, shape in found.items()
    }
    metadata.pop(packed_files.SHAPES)
  return shapes, lora_config, metadata


def _short(value: Any) -> str:
  """Plain data on one line."""
  text = value if isinstance(value, str) else json.dumps(value)
  text = " ".join(text.split())
  return text if len(text) <= 200 else text[:197] + "..."
