"""A run's networks and photos, and its steps from anchors to scores."""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from my3dgen_jax import lora as lora_lib
from my3dgen_jax._version import __version__
from my3dgen_jax.apps import strangers
from my3dgen_jax.apps.personalization.settings import (
  ALL,
  CIRCUMSTANCES,
  PersonalizeConfig,
  with_lists,
)
from my3dgen_jax.apps.personalization.shared import Shared
from my3dgen_jax.apps.reports import before_after
from my3dgen_jax.config import ConfigError, LoraConfig
from my3dgen_jax.data.album import Album, Split
from my3dgen_jax.data.albums import open_album
from my3dgen_jax.data.iterator import shard
from my3dgen_jax.data.provenance import Origin
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.jobs import processes
from my3dgen_jax.jobs.interrupts import StopRequest
from my3dgen_jax.models.checkpoint import (
  generator_digest,
  save_generator,
  weights_digest,
)
from my3dgen_jax.storage.files import make_writable
from my3dgen_jax.training import checkpoint, loop, run_folder
from my3dgen_jax.training import state as state_lib
from my3dgen_jax.training.anchors import AnchorFinder, Anchors
from my3dgen_jax.training.run_folder import ID_LENGTH
from my3dgen_jax.training.seats import Member
from my3dgen_jax.types import Network

# Where unfinished anchors are kept if there is no cache.
UNFINISHED = "unfinished"


class Result(NamedTuple):
  """The result of tuning.

  Attributes:
    generator: the person's generator, merged, so that it and the base share one
      compiled program.
    digest: text that differs for different weights.
    id: id of the adapter or tuned weights, as written into pictures.
    numbers: count of the person's own numbers.
    bytes: size of their files.
  """

  generator: Network
  digest: str
  id: str
  numbers: int
  bytes: int


@dataclasses.dataclass
class Job:
  """A run's networks and photos."""

  config: PersonalizeConfig
  shared: Shared
  album: Album
  split: Split
  warnings: list[str]

  @classmethod
  def open(
    cls,
    config: PersonalizeConfig,
    shared: Shared,
    log: Callable[[str], None] = print,
  ) -> "Job":
    """Opens a run's photos.

    Raises: UserError: they do not fit the generator or the settings.
    """
    model = shared.model
    album = open_album(
      config.album,
      img_resolution=model.img_resolution,
      num_ws=model.num_ws,
      w_dim=model.w_dim,
      convention=config.camera_convention,
      rendering=model.rendering,
    )
    album.verify()
    config = with_lists(config, album.place)
    for part in ("test", "reference"):
      if (
        isinstance(getattr(config, part), str) and getattr(config, part) != ALL
      ):
        log(f"{part} photos: {getattr(config, part)}")
    split = album.split(
      test=0 if config.test is None else config.test,
      reference=None if config.reference == ALL else config.reference,
      train=config.train,
      seed=config.split_seed,
    )
    if config.identity and not split.reference:
      raise ConfigError(
        "reference: selects no photo to compare identity with; give a number, "
        "a share, or all"
      )
    _to_validate(config, split.train)
    tuning = config.tuning
    if tuning.mode != "none":  # fails early if it does not divide
      shard(
        np.zeros(tuning.batch_size),
        num_devices=len(shared.devices),
        accumulation=tuning.accumulation,
      )
    if config.lpips is None:
      for photo in (*split.train.photos, *split.test.photos):
        if photo.ws is None:
          raise UserError(
            f"{config.album}: {photo.name} has no _latent.npy, so its anchor "
            "must be found, which needs LPIPS; give --lpips"
          )
    if config.cache:
      make_writable(
        config.cache, "give another folder with --cache, or none with --cache="
      )
    return cls(config, shared, album, split, [])

  def warn(self, log: Callable[[str], None]):
    """Warns of what the result will lack; the networks are loaded."""
    self.warnings = strangers.warnings(
      self.album,
      is_demo_prior=strangers.is_demo(self.config.checkpoint),
      networks=self.shared.networks.values(),
    )
    for line in self.warnings:
      log(f"warning: {line}")

  @property
  def lora_config(self) -> LoraConfig | None:
    return self.config.lora if self.config.tuning.mode == "lora" else None

  def check_same_everywhere(self):
    """Checks that all processes were given the same work.

    Raises: UserError: names what differs.
    """
    mine = self.description()
    first = json.loads(
      str(
        processes.from_first(lambda: {"text": np.array(json.dumps(mine))})[
          "text"
        ]
      )
    )
    free = [f"settings.{name}" for name in CIRCUMSTANCES if name != "devices"]
    name = run_folder.first_difference(first, mine, free)
    if name is not None:
      raise UserError(
        f"process {processes.index()}: {name} differs from that of "
        "process 0; give all processes the same flags, photos "
        "and networks"
      )
    processes.barrier()

  def description(self) -> dict[str, Any]:
    """What config.json holds."""
    return {
      "kind": run_folder.KIND,
      "format": run_folder.FORMAT,
      "version": __version__,
      run_folder.BASE_DIGEST: self.shared.digest,
      "weights": self.shared.digests,
      "generator": self.shared.model.to_dict(),
      "photos": {
        part: {name: album.digest(i) for i, name in enumerate(album.names)}
        for part, album in self.split._asdict().items()
      },
      "settings": run_folder.settings_of(self.config),
    }

  def finder(
    self, out: pathlib.Path, generator: Network, digest: str
  ) -> AnchorFinder:
    """The projector of photos for a generator's weights."""
    cache = self.config.cache
    return AnchorFinder(
      config=self.config.projection,
      generator=generator,
      fingerprint=digest,
      lpips=self.shared.networks.get("lpips"),
      lpips_fingerprint=self.shared.digests.get("lpips", ""),
      encoder=self.shared.networks.get("encoder"),
      encoder_fingerprint=self.shared.digests.get("encoder", ""),
      devices=devices_lib.own(self.shared.devices),
      cache=pathlib.Path(cache).expanduser() if cache else out / UNFINISHED,
    )

  def anchors(self, out: pathlib.Path, stop: StopRequest) -> Anchors:
    """Anchors of the training photos and the held-out ones."""
    path = out / run_folder.ANCHORS_FILE
    # This run's anchors: the photos have not changed.
    known = processes.from_first(
      lambda: vars(Anchors.load(path)) if path.exists() else {}
    )
    if known:
      return Anchors(tuple(map(str, known["names"])), known["ws"], known["c"])
    chosen = set(self.split.train.names) | set(self.split.test.names)
    anchors = self.finder(out, self.shared.base, self.shared.digest).find(
      self.album.subset(
        [i for i, name in enumerate(self.album.names) if name in chosen]
      ),
      stop,
    )
    if processes.is_first():
      anchors.save(path)
    return anchors

  def tuning(self) -> loop.Tuning | None:
    """The tuning for everyone with these settings; None: nothing is tuned."""
    if self.config.tuning.mode == "none":
      return None
    needed = [
      name
      for name, needs in (
        ("lpips", self.config.loss.needs_lpips),
        ("identity", self.config.loss.needs_identity),
      )
      if needs
    ]
    return loop.Tuning(
      config=self.shared.model,
      base=self.shared.base.variables,
      lora_config=self.lora_config,
      tuning=self.config.tuning,
      loss=self.config.loss,
      networks={name: self.shared.networks[name] for name in needed},
      start=self.shared.start or None,
      devices=self.shared.devices,
      save_every=self.config.save_every,
      log_every=self.config.log_every,
    )

  def member(self, out: pathlib.Path, anchors: Anchors) -> Member:
    """This person, as a member of the tuning."""
    album, held = _to_validate(self.config, self.split.train)
    return Member(
      out,
      album,
      anchors.of(album.names),
      None if held is None else (held, anchors.of(held.names)),
    )

  def write_result(
    self, out: pathlib.Path, saved: checkpoint.Saved | None
  ) -> Result:
    """Writes the adapter or the generator, and reads it back."""
    if saved is None:
      return Result(self.shared.base, self.shared.digest, "none", 0, 0)
    trainable, steps = saved.state.result, int(saved.state.step)
    numbers = state_lib.numbers(trainable)
    if self.lora_config is None:
      _, frozen = state_lib.split(
        jax.random.key(0), self.shared.model, self.shared.base.variables, None
      )
      generator = state_lib.join(self.shared.model, trainable, frozen, None)
      folder = out / run_folder.GENERATOR_FOLDER

      def write() -> dict[str, Any]:
        save_generator(
          folder,
          self.shared.model,
          generator.variables,
          overwrite=True,
          source={"tuned_from": self.shared.digest, "steps": steps},
        )
        return {"digest": np.array(generator_digest(folder))}

      digest = str(processes.from_first(write)["digest"])
      return Result(
        generator,
        digest,
        digest,
        numbers,
        sum(
          path.stat().st_size for path in folder.rglob("*") if path.is_file()
        ),
      )
    path = out / run_folder.ADAPTER_FILE

    def write_adapter() -> dict[str, Any]:
      lora_lib.save(
        path,
        trainable,
        self.lora_config,
        dtype=self.config.adapter_dtype,
        metadata={
          run_folder.BASE_DIGEST: self.shared.digest,
          "version": __version__,
          "steps": str(steps),
          "settings": json.dumps(self.description()["settings"]),
        },
      )
      # With the file's rounding, if any.
      return {
        "bytes": np.array(path.stat().st_size),
        **flatten_dict(lora_lib.load(path, self.shared.model).lora, sep="/"),
      }

    written = processes.from_first(write_adapter)
    size = int(written.pop("bytes"))
    trainable = unflatten_dict(written, sep="/")
    variables = lora_lib.merge_into_params(
      self.shared.base.variables, trainable, self.lora_config
    )
    return Result(
      Network(variables, self.shared.base.module),
      weights_digest(variables),
      lora_lib.fingerprint(trainable),
      numbers,
      size,
    )

  def evaluate(
    self, out: pathlib.Path, result: Result, anchors: Anchors, stop: StopRequest
  ) -> dict[str, Any] | None:
    """Measures both generators on the held-out photos, and shows them.

    Process 0 does this; the others help find anchors, and get None.
    """
    album, which = self.split.test, "held-out"
    if not album:
      album, which = self.split.train, "training"
    before = after = anchors.of(album.names)
    if result.digest != self.shared.digest and which == "held-out":
      # A personal generator projects held-out photos itself.
      after = self.finder(out, result.generator, result.digest).find(
        album, stop, title="held-out photos"
      )
    if not processes.is_first():
      return None
    candidates = {
      "pretrained": (self.shared.base, before),
      "personalized": (result.generator, after),
    }
    # Scores must be comparable whatever dtype tuning used.
    networks = {
      name: network.replace(
        module=dataclasses.replace(
          network.module, dtype="float32", precision="highest"
        )
      )
      for name, network in self.shared.networks.items()
      if name in ("lpips", "identity")
    }
    comparison, each = before_after.compare(
      album,
      candidates,
      reference=self.split.reference,
      lpips=networks.get("lpips"),
      identity=networks.get("identity"),
      stop=stop,
    )
    before_after.draw(
      out / run_folder.PICTURE_FILE,
      album,
      candidates,
      count=self.config.pictures,
      origin=Origin(
        adapter=result.id[:ID_LENGTH],
        base=self.shared.digest[:ID_LENGTH],
        task="personalize",
      ),
      headline=strangers.TITLE if self.warnings else "",
    )
    return {**comparison, "photos": which, "count": len(album), "each": each}


def _to_validate(
  config: PersonalizeConfig, album: Album
) -> tuple[Album, Album | None]:
  """Photos to tune on, and those to validate on, if there is patience."""
  if not config.tuning.patience:
    return album, None
  parts = album.split(
    test=config.validation, reference=None, seed=config.split_seed
  )
  if not parts.test:
    raise ConfigError(
      "validation: selects no photo, and patience needs some; give a number or "
      "a share"
    )
  return parts.train, parts.test
