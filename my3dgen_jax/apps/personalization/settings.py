"""All settings of a run, and which may change when it resumes."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

from my3dgen_jax.config import (
  ConfigError,
  LoraConfig,
  LossConfig,
  part,
  ProjectionConfig,
  REQUIRED,
  setting,
  TuningConfig,
)
from my3dgen_jax.data.album_files import REFERENCE_FILE, TEST_FILE
from my3dgen_jax.data.cameras import conventions
from my3dgen_jax.data.cameras.conventions import HELP as CONVENTION_HELP
from my3dgen_jax.data.photo_selection import Selection
from my3dgen_jax.errors import UserError
from my3dgen_jax.models.checkpoint import generator_digest
from my3dgen_jax.models.encoder_files import (
  ENCODER_FILE,
  place_beside,
  read_facts,
)

# Settings of where, how fast, and which extra files, not of the result; photos
# are compared by content.
CIRCUMSTANCES = (
  "out",
  "checkpoint",
  "album",
  "camera_convention",
  "lpips",
  "identity",
  "encoder",
  "adapter_init",
  "cache",
  "devices",
  "save_every",
  "log_every",
  "adapter_dtype",
  "pictures",
  "report",
  "test",
  "reference",
  "train",
  "validation",
  "split_seed",
  "precision",
)
ALL = "all"  # value of `reference`: every photo of the album
# What may change when a run resumes: those, and its length.
FREE = (
  "version",
  "generator.precision",
  "settings.projection.batch_size",
  *(
    f"settings.{name}"
    for name in (*CIRCUMSTANCES, "tuning.steps", "tuning.accumulation")
  ),
)


@dataclasses.dataclass(frozen=True)
class PersonalizeConfig:
  """All settings of a run."""

  checkpoint: str = setting(REQUIRED, "Folder of the pretrained generator.")
  album: str = setting(REQUIRED, "Album: a folder or zip of photos.")
  out: str = setting(REQUIRED, "Folder for the run.")
  camera_convention: str = setting("", CONVENTION_HELP)
  lpips: str | None = setting(None, "Folder of LPIPS's weights.")
  identity: str | None = setting(None, "Folder of a face recognition network.")
  encoder: str | None = setting(
    None,
    "Folder of an encoder for the generator, written by my3dgen train-encoder; "
    "default: CHECKPOINT_encoder, if any; empty: none.",
    later=True,
  )
  adapter_init: str | None = setting(
    None,
    "Adapter file to start tuning from, with the same base, rank and layers; "
    "default: an adapter that changes nothing.",
    later=True,
  )
  test: Selection | None = setting(
    None,
    "Photos to hold out: a number, a share, or a file with one name per line; "
    "default: the album's test.txt, if it has one.",
  )
  reference: Selection | None = setting(
    None,
    "Photos to compare identity with: a number, a share, a file with one name "
    "per line, or all; default: the album's reference.txt, if it has one, else "
    "all.",
  )
  train: Selection | None = setting(
    None, "Number of training photos, of those not held out; default: all."
  )
  validation: Selection = setting(
    0.1,
    "Training photos to use for validation instead, with --patience: a number, "
    "a share, or a file with one name per line.",
    later=True,
  )
  split_seed: int = setting(
    0, "Seed for selecting photos by a number or a share, >= 0.", low=0
  )
  lora: LoraConfig = part(LoraConfig(), "lora_")
  projection: ProjectionConfig = part(ProjectionConfig(), "anchor_")
  loss: LossConfig = part(LossConfig())
  tuning: TuningConfig = part(TuningConfig())
  neural_rendering_resolution: int | None = setting(
    None, "Side of image_raw, pixels; default: the checkpoint's.", low=1
  )
  dtype: Literal["float32", "bfloat16"] | None = setting(
    None, "Dtype of activations; default: the checkpoint's."
  )
  # Precision of products on accelerators, see `GeneratorConfig`; None: the
  # generator's.
  precision: Literal["default", "high", "highest"] | None = None
  adapter_dtype: Literal["float32", "float16", "int8", "int4"] = setting(
    "float32",
    "Dtype of the numbers in the adapter file, from 32 down to 4 bits each.",
  )
  cache: str | None = setting(
    None, "Cache folder of anchors, shared by runs; empty: none."
  )
  devices: int | None = setting(
    None,
    "Devices of this machine (of each process) to use; default: all.",
    low=1,
  )
  save_every: int = setting(500, "Steps between saved states, >= 1.", low=1)
  log_every: int = setting(10, "Steps between log lines, >= 1.", low=1)
  pictures: int = setting(
    4, "Maximum number of held-out photos in before_after.png, >= 1.", low=1
  )
  report: bool = setting(False, "Write report/index.html at the end.")

  def validate(self) -> "PersonalizeConfig":
    """Checks every field; raises ConfigError naming a bad one."""
    conventions.parse(self.camera_convention)
    self.lora.validate("lora_")
    self.projection.validate()
    self.loss.validate()
    self.tuning.validate()
    for name in ("save_every", "log_every"):
      if getattr(self, name) < 1:
        raise ConfigError(
          f"{name}: expected a whole number >= 1, got {getattr(self, name)}"
        )
    tunes = self.tuning.mode != "none"
    if tunes and self.loss.needs_lpips and self.lpips is None:
      raise ConfigError(
        "lpips: the loss needs the folder of its weights, which "
        "converters/lpips_to_flax.py writes; or set lpips_weight to 0"
      )
    if tunes and self.loss.needs_identity and self.identity is None:
      raise ConfigError(
        "identity: the loss needs the folder of a network, which "
        "converters/arcface_to_flax.py writes; or set identity_weight and "
        "symmetry_weight to 0"
      )
    return self


def with_lists(config: PersonalizeConfig, place: str) -> PersonalizeConfig:
  """The config, with the album's own lists where it names none.

  Args:
    config: the run's settings.
    place: the opened album's place.
  """
  found = {}
  for name, file, otherwise in (
    ("test", TEST_FILE, 0),
    ("reference", REFERENCE_FILE, ALL),
  ):
    path = pathlib.Path(place) / file
    if getattr(config, name) is None:
      found[name] = str(path.absolute()) if path.is_file() else otherwise
  return dataclasses.replace(config, **found)


def with_encoder(
  config: PersonalizeConfig,
  begun: Mapping[str, Any] | None,
  log: Callable[[str], None] = print,
) -> PersonalizeConfig:
  """The config, with the requested or the default encoder.

  Args:
    config: the run's settings.
    begun: settings in the run's config.json; None: there is no run.
    log: called with a line if an encoder is skipped.

  Raises: UserError: the requested encoder is missing, or belongs to another
    generator.
  """
  projection = config.projection
  without = lambda: dataclasses.replace(
    config, encoder=None, projection=projection.without_encoder()
  )
  if projection.init == "mean":
    return without()
  given = config.encoder or projection.init == "encoder"
  if begun is not None and not given:
    if begun.get("projection", {}).get("init") != "encoder":
      return without()  # a run resumes as it began
    given = True
  if config.encoder == "" and not given:
    return without()
  place = pathlib.Path(config.encoder or place_beside(config.checkpoint))
  place = place.expanduser().absolute()
  if not given and not (place / ENCODER_FILE).is_file():
    return without()
  found = read_facts(place)
  problem = None
  if found.base_digest != generator_digest(config.checkpoint):
    problem = "was trained for another generator"
  elif found.config.space != projection.space:
    problem = (
      f"finds latents of {found.config.space}, not of {projection.space}"
    )
  if problem and given:
    raise UserError(
      f"{place}: {problem}; train one with my3dgen train-encoder, or use "
      "anchor_init=mean"
    )
  if problem:
    log(f"{place}: {problem}; anchors start from the mean of W")
    return without()
  return dataclasses.replace(
    config,
    encoder=str(place),
    projection=dataclasses.replace(projection, init="encoder"),
  )


def with_begun_lists(
  config: PersonalizeConfig, begun: Mapping[str, Any] | None
) -> PersonalizeConfig:
  """The config, with a resumed run's settings where it gives none.

  Args:
    config: the run's settings.
    begun: settings in the run's config.json; None: there is no run.
  """
  if begun is None:
    return config
  found = {"test": begun.get("test"), "reference": begun.get("reference")}
  if found["reference"] is None:  # written by versions before lists
    found["reference"] = ALL
  return dataclasses.replace(
    config,
    **{
      name: value
      for name, value in found.items()
      if getattr(config, name) is None
    },
  )
