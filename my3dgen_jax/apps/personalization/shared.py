"""What all runs of one generator share: its weights and the networks."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax

from my3dgen_jax import lora as lora_lib
from my3dgen_jax.apps.personalization.settings import PersonalizeConfig
from my3dgen_jax.apps.personalization.shelf import Shelf
from my3dgen_jax.config import ConfigError, GeneratorConfig
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.losses import backbones
from my3dgen_jax.losses import identity as identity_lib
from my3dgen_jax.losses import lpips as lpips_lib
from my3dgen_jax.models.checkpoint import generator_digest, load_generator
from my3dgen_jax.models.encoder_files import load_encoder
from my3dgen_jax.models.generator import Generator
from my3dgen_jax.training import run_folder
from my3dgen_jax.training.projection import check_sizes
from my3dgen_jax.training.run_folder import ID_LENGTH
from my3dgen_jax.types import Network


@dataclasses.dataclass(frozen=True)
class Shared:
  """Weights and networks, read once for any number of people.

  Attributes:
    devices: the devices of all processes.
    base: the pretrained generator.
    digest: digest of the generator's files.
    networks: those of "lpips", "identity" and "encoder" that are needed, once
      `read_networks` has read them.
    digests: digests of the networks' files.
    start: the adapter that tuning starts from; empty: one that changes nothing.
  """

  devices: tuple[jax.Device, ...]
  base: Network
  digest: str
  networks: dict[str, Network]
  digests: dict[str, str]
  start: dict[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def model(self) -> GeneratorConfig:
    return self.base.module.config

  @classmethod
  def load(
    cls,
    config: PersonalizeConfig,
    devices: tuple[jax.Device, ...],
    *,
    people: int = 1,
    shelf: Shelf | None = None,
    log: Callable[[str], None] = print,
  ) -> "Shared":
    """Reads what a run's settings name, unless it is on the shelf.

    Args:
      config: settings of the run, or of the first of many.
      devices: the devices of all processes.
      people: count of people, for the log.
      shelf: networks read by earlier runs of this process.
      log: called with one line of progress.

    Raises: UserError: bad input, as `personalize` does.
    """
    shelf = shelf or Shelf()
    digest = generator_digest(config.checkpoint)
    log(
      f"reading {config.checkpoint} and "
      + (config.album if people == 1 else f"{people} albums")
      + f"; {devices_lib.described(devices)}"
      + (f", precision {config.precision}" if config.precision else "")
    )
    generator, variables = shelf.get(
      (config.checkpoint, digest), lambda: load_generator(config.checkpoint)
    )
    model = dataclasses.replace(
      generator.config,
      dtype=config.dtype or generator.config.dtype,
      precision=config.precision or generator.config.precision,
      neural_rendering_resolution=config.neural_rendering_resolution
      or generator.config.neural_rendering_resolution,
    ).validate()
    if config.tuning.mode == "lora" and not lora_lib.abstract(
      model, config.lora
    ):
      raise ConfigError(
        f"lora_targets: {' '.join(config.lora.targets)} match no module; "
        "expected patterns like backbone/synthesis/.*"
      )
    return cls(devices, Network(variables, Generator(model)), digest, {}, {})

  def read_networks(
    self, config: PersonalizeConfig, shelf: Shelf | None = None
  ):
    """Reads LPIPS, identity network, encoder and initial adapter, if needed.

    Args:
      config: the settings, as for `load`.
      shelf: the shelf, as for `load`.

    Raises: UserError: bad input, as `personalize` does.
    """
    shelf, model = shelf or Shelf(), self.model
    if config.lpips:
      lpips = pathlib.Path(config.lpips).expanduser()
      load_lpips = lambda: lpips_lib.load_lpips(
        lpips, dtype=model.dtype, precision=model.precision
      )
      self.networks["lpips"], self.digests["lpips"] = shelf.with_digest(
        lpips / lpips_lib.WEIGHTS_FILE, load_lpips, model.dtype, model.precision
      )
      _check_sizes(config, model, self.networks["lpips"].module.backbone)
    if config.identity:
      identity = pathlib.Path(config.identity).expanduser()
      load_identity = lambda: identity_lib.load_identity(
        identity, dtype=model.dtype
      )
      self.networks["identity"], self.digests["identity"] = shelf.with_digest(
        identity / identity_lib.WEIGHTS_FILE, load_identity, model.dtype
      )
    if config.encoder:
      encoder = config.encoder
      found = shelf.get((encoder, self.digest), lambda: load_encoder(encoder))
      self.networks["encoder"] = found.network
      self.digests["encoder"] = found.digest
    if config.adapter_init:
      self._read_start(config)

  def _read_start(self, config: PersonalizeConfig):
    """Reads the adapter that tuning starts from."""
    path = pathlib.Path(str(config.adapter_init)).expanduser()
    if config.tuning.mode != "lora":
      raise ConfigError(
        f"adapter_init: needs mode lora, got {config.tuning.mode}"
      )
    found = lora_lib.load(path, self.model)
    base = found.metadata.get(lora_lib.BASE_DIGEST, self.digest)
    if base != self.digest or found.config != config.lora:
      reason = (
        f"for another base, {base[:ID_LENGTH]}"
        if base != self.digest
        else f"for {found.config}, tuning is for {config.lora}"
      )
      raise UserError(f"{path}: is {reason}; give another with --adapter_init")
    self.start.update(found.lora)
    self.digests["adapter_init"] = run_folder.file_digest(path)


def _check_sizes(
  config: PersonalizeConfig, model: GeneratorConfig, backbone: str
):
  """Checks that images are large enough for LPIPS."""
  check_sizes(config.projection, model.img_resolution, backbone, "anchor_")
  network = backbones.NETWORKS[backbone]
  side = model.neural_rendering_resolution
  if (
    config.tuning.mode != "none"
    and config.loss.needs_lpips
    and config.loss.raw_weight > 0
    and side < network.smallest
  ):
    raise ConfigError(
      f"neural_rendering_resolution: LPIPS on {network.title} needs images "
      f"of at least {network.smallest} pixels, these have {side}; raise it, "
      "use another network, or set raw_weight to 0"
    )
