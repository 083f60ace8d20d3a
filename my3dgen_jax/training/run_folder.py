"""A personalization run on disk: one folder per run.

RUN/
  config.json           every setting as resolved, and the base's SHA-256
  run.flags             the flags: --flagfile=RUN/run.flags repeats it
  anchors.npz           a latent for every photo
  adapter.safetensors   the person (mode lora) …
  generator/            … or all weights (mode full)
  state/                training checkpoints to resume from, Orbax
  metrics.jsonl         a line every few steps; events.* for TensorBoard
  summary.json          scores of held-out photos, before and after
  before_after.png      the held-out photos, before and after
  report/index.html     everything on one page
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Container, Iterator, Mapping
from typing import Any, NamedTuple

from my3dgen_jax import lora as lora_lib
from my3dgen_jax.config import ConfigError, GeneratorConfig, LoraConfig
from my3dgen_jax.config.checks import plain
from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.models.checkpoint import generator_digest, load_generator
from my3dgen_jax.models.generator import Generator
from my3dgen_jax.storage import json_files
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.training.anchors import Anchors
from my3dgen_jax.types import Network

CONFIG_FILE = "config.json"
FLAGS_FILE = "run.flags"
ANCHORS_FILE = "anchors.npz"
ADAPTER_FILE = "adapter.safetensors"
GENERATOR_FOLDER = "generator"
SUMMARY_FILE = "summary.json"
PICTURE_FILE = "before_after.png"

FORMAT = 1
KIND = "personalize"
_TEXTS: dict[str, Any] = {"": str}  # a table of strings with any names
_KINDS = {dict: "table", str: "text", (str, type(None)): "text or null"}
# The parts of a run's config.json that code relies on.
_SHAPE = {
  "version": str,
  "base_sha256": str,
  "generator": dict,
  "photos": {"train": _TEXTS, "test": _TEXTS, "reference": _TEXTS},
  "settings": {
    "checkpoint": str,
    "album": str,
    "lpips": (str, type(None)),
    "identity": (str, type(None)),
    "tuning": {"mode": str},
  },
}
ID_LENGTH = 16  # hex digits of a digest that is used as a name in images
_MOST_LETTERS = 80  # longest setting shown in a message, characters
BASE_DIGEST = lora_lib.BASE_DIGEST  # also its name in config.json


class Run(NamedTuple):
  """A finished run, ready for use.

  Attributes:
    generator: the person's own generator, with its weights.
    base: the base generator; the same weights if nothing was tuned.
    lora_config: the adapter's config, or None.
    anchors: the anchors of all photos.
    config: the content of config.json.
  """

  generator: Network
  base: Network
  lora_config: LoraConfig | None
  anchors: Anchors
  config: dict[str, Any]


def write_json(path: str | os.PathLike, data: Mapping[str, Any]):
  """Writes plain data for people to read, atomically."""
  with replacing(path) as file:
    file.write((json.dumps(data, indent=2) + "\n").encode())


def read_json(path: str | os.PathLike) -> dict[str, Any]:
  """Reads a JSON object; raises CheckpointError naming the file."""
  try:
    data = json_files.read(path)
  except UserError as error:
    raise CheckpointError(str(error)) from None
  if not isinstance(data, dict):
    raise CheckpointError(f"{path}: is not a JSON object")
  return data


def is_run(folder: str | os.PathLike) -> bool:
  """Whether the folder holds a run, finished or not.

  Generators also have a config.json; a run's may be damaged.
  """
  folder = pathlib.Path(folder)
  if (folder / ANCHORS_FILE).is_file():
    return True
  try:
    return read_json(folder / CONFIG_FILE).get("kind") == KIND
  except CheckpointError:
    return False


def read_config(folder: str | os.PathLike) -> dict[str, Any]:
  """The content of a run's config.json.

  Raises: CheckpointError: it is missing, or is not a run's.
  """
  path = pathlib.Path(folder) / CONFIG_FILE
  remedy = "expected a folder that my3dgen personalize wrote"
  if not path.exists():
    raise CheckpointError(f"{path}: missing; {remedy}")
  data = read_json(path)
  if data.get("kind") != KIND or data.get("format") != FORMAT:
    raise CheckpointError(f"{path}: is not the config.json of a run; {remedy}")
  _check_shape(path, data, _SHAPE)
  try:
    GeneratorConfig.from_dict(data["generator"])
  except ConfigError as error:
    raise CheckpointError(f"{path}: generator.{error}") from None
  return data


def _check_shape(path: pathlib.Path, data: Any, shape: Any, where: str = ""):
  """Names the first entry of a file that code cannot rely on."""
  kind = dict if isinstance(shape, dict) else shape
  if not isinstance(data, kind):
    raise CheckpointError(
      f"{path}: is damaged: {where or 'all'} is not a {_KINDS[kind]}"
    )
  if shape is _TEXTS and not all(isinstance(x, str) for x in data.values()):
    raise CheckpointError(
      f"{path}: is damaged: {where} does not map to strings"
    )
  for name, inner in shape.items() if isinstance(shape, dict) else ():
    if name != "":
      inside = f"{where}.{name}" if where else name
      _check_shape(path, data.get(name), inner, inside)


def check_same(
  path: str | os.PathLike,
  old: Mapping[str, Any],
  new: Mapping[str, Any],
  free: Container[str],
):
  """Compares settings with those that a run began with.

  Args:
    path: path of the file with the old settings, for the message.
    old: the settings as read.
    new: the new settings; nested dicts of plain data.
    free: dotted names that may differ.

  Raises: UserError: names the first that differs and may not.
  """
  name = first_difference(old, new, free)
  if name is not None:
    before, now = (
      " ".join(repr(_by_name(data).get(name)).split())[:_MOST_LETTERS]
      for data in (old, new)
    )
    raise UserError(
      f"{path}: the run began with {name} = {before}, now it is {now}; "
      "continue with the same, or start over in another --out"
    )


def first_difference(
  old: Mapping[str, Any], new: Mapping[str, Any], free: Container[str]
) -> str | None:
  """The first dotted name, not in `free`, in which two dicts differ."""
  old, new = _by_name(old), _by_name(new)
  for name in sorted(set(old) | set(new)):
    if name not in free and old.get(name) != new.get(name):
      return name
  return None


def _by_name(data: Mapping[str, Any]) -> dict[str, Any]:
  return dict(_flat(json.loads(json.dumps(data))))


def _flat(data: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
  """Flattens plain data to dotted names."""
  if not isinstance(data, dict):
    yield prefix, data
    return
  for name, value in data.items():
    yield from _flat(value, f"{prefix}.{name}" if prefix else name)


def file_digest(path: str | os.PathLike) -> str:
  """The SHA-256 of a file, in hex."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def load_base(
  checkpoint: str | os.PathLike, config: Mapping[str, Any]
) -> Network:
  """The generator that a run began with.

  Args:
    checkpoint: the generator's folder.
    config: the run's config, as `read_config` returns it.

  Raises: CheckpointError: it is not the run's base.
  """
  if generator_digest(checkpoint) != config[BASE_DIGEST]:
    raise CheckpointError(
      f"{checkpoint}: is not the generator that the run "
      "was made from; pass that one with --checkpoint"
    )
  _, variables = load_generator(checkpoint)
  # As the run computed: its dtype and side of image_raw may differ.
  model = GeneratorConfig.from_dict(config["generator"])
  return Network(variables, Generator(model))


def load_run(
  folder: str | os.PathLike, *, checkpoint: str | os.PathLike | None = None
) -> Run:
  """Reads a run.

  Args:
    folder: a folder written by `apps.personalize`.
    checkpoint: the base generator's current folder; None: as recorded.

  Returns: Run.
  Raises: CheckpointError: a part is missing or does not fit; it names it.
  """
  folder = pathlib.Path(folder)
  config = read_config(folder)
  anchors = Anchors.load(folder / ANCHORS_FILE)
  base = load_base(checkpoint or config["settings"]["checkpoint"], config)
  mode = config["settings"]["tuning"]["mode"]
  if mode == "full":
    generator, variables = load_generator(folder / GENERATOR_FOLDER)
    return Run(Network(variables, generator), base, None, anchors, config)
  if mode == "none":
    return Run(base, base, None, anchors, config)
  adapter = lora_lib.load(
    folder / ADAPTER_FILE,
    base.module.config,
    places=[checkpoint or config["settings"]["checkpoint"]],
  )
  return Run(
    Network(
      lora_lib.merge_collections(base.variables, adapter.lora),
      Generator(base.module.config, adapter.config),
    ),
    base,
    adapter.config,
    anchors,
    config,
  )


def settings_of(config: Any) -> dict[str, Any]:
  """Converts a frozen dataclass to plain data for config.json."""
  return json.loads(json.dumps(plain(config)))
