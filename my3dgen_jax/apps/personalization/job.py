"""A run's networks and photos, and its steps: anchors, tuning, results, numbers."""

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
from my3dgen_jax.apps.personalization.shelf import Shelf
from my3dgen_jax.apps.reports import before_after
from my3dgen_jax.config import ConfigError, GeneratorConfig, LoraConfig
from my3dgen_jax.data.album import Album, Split
from my3dgen_jax.data.albums import open_album
from my3dgen_jax.data.iterator import shard
from my3dgen_jax.data.provenance import Origin
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.jobs import processes
from my3dgen_jax.jobs.interrupts import StopRequest
from my3dgen_jax.losses import backbones
from my3dgen_jax.losses import identity as identity_lib
from my3dgen_jax.losses import lpips as lpips_lib
from my3dgen_jax.models.checkpoint import (
  generator_digest,
  load_generator,
  save_generator,
  weights_digest,
)
from my3dgen_jax.models.generator import Generator
from my3dgen_jax.storage.files import make_writable
from my3dgen_jax.training import checkpoint, loop, run_folder
from my3dgen_jax.training import state as state_lib
from my3dgen_jax.training.anchors import AnchorFinder, Anchors
from my3dgen_jax.training.projection import check_sizes
from my3dgen_jax.training.run_folder import ID_LENGTH
from my3dgen_jax.types import Network

# Where anchors that are being found are kept if there is no cache.
UNFINISHED = "unfinished"


class Result(NamedTuple):
  """What tuning made.

  Attributes:
    generator: the person's own, merged, so that it and the base run through
      one compiled program.
    digest: another text for any other weights.
    id: of the adapter or the tuned weights, as pictures name it.
    numbers: how many are the person's own.
    bytes: of their files.
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
  devices: tuple[jax.Device, ...]
  model: GeneratorConfig
  base: Network
  digest: str
  album: Album
  split: Split
  networks: dict[str, Network]
  digests: dict[str, str]
  warnings: list[str]

  @classmethod
  def load(
    cls,
    config: PersonalizeConfig,
    devices: tuple[jax.Device, ...],
    log: Callable[[str], None] = print,
    *,
    shelf: Shelf | None = None,
  ) -> "Job":
    """Reads all that a run needs, but what is on the shelf; cheap checks first."""
    shelf = shelf or Shelf()
    digest = generator_digest(config.checkpoint)
    log(
      f"reading {config.checkpoint} and {config.album}; "
      f"{devices_lib.described(devices)}"
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
    lora_config = config.lora
    if config.tuning.mode == "lora" and not lora_lib.abstract(
      model, lora_config
    ):
      raise ConfigError(
        f"lora_targets: {' '.join(lora_config.targets)} fit no module"
      )
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
      raise ConfigError("reference: selects no photo to compare identity with")
    tuning = config.tuning
    if tuning.mode != "none":  # fails early if it does not divide
      shard(
        np.zeros(tuning.batch_size),
        num_devices=len(devices),
        accumulation=tuning.accumulation,
      )
    if config.lpips is None:
      for photo in (*split.train.photos, *split.test.photos):
        if photo.ws is None:
          raise UserError(
            f"{config.album}: {photo.name} has no _latent.npy, so its anchor "
            "must be found, which compares images by LPIPS; give --lpips"
          )
    if config.cache:
      make_writable(
        config.cache, "name another folder by --cache, or none by --cache="
      )
    networks, digests = {}, {}
    if config.lpips:
      lpips = pathlib.Path(config.lpips).expanduser()
      load_lpips = lambda: lpips_lib.load_lpips(
        lpips, dtype=model.dtype, precision=model.precision
      )
      networks["lpips"], digests["lpips"] = shelf.with_digest(
        lpips / lpips_lib.WEIGHTS_FILE, load_lpips, model.dtype, model.precision
      )
      _check_sizes(config, model, networks["lpips"].module.backbone)
    if config.identity:
      identity = pathlib.Path(config.identity).expanduser()
      load_identity = lambda: identity_lib.load_identity(
        identity, dtype=model.dtype
      )
      networks["identity"], digests["identity"] = shelf.with_digest(
        identity / identity_lib.WEIGHTS_FILE, load_identity, model.dtype
      )
    job = cls(
      config,
      devices,
      model,
      Network(variables, Generator(model)),
      digest,
      album,
      split,
      networks,
      digests,
      strangers.warnings(
        album,
        is_demo_prior=strangers.is_demo(config.checkpoint),
        networks=networks.values(),
      ),
    )
    for line in job.warnings:
      log(f"warning: {line}")
    return job

  @property
  def lora_config(self) -> LoraConfig | None:
    return self.config.lora if self.config.tuning.mode == "lora" else None

  def check_same_everywhere(self):
    """Sees that all processes were given the same work.

    Raises: UserError that names what is not.
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
        f"process {processes.index()}: {name} is not that of "
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
      run_folder.BASE_DIGEST: self.digest,
      "weights": self.digests,
      "generator": self.model.to_dict(),
      "photos": {
        part: {name: album.digest(i) for i, name in enumerate(album.names)}
        for part, album in self.split._asdict().items()
      },
      "settings": run_folder.settings_of(self.config),
    }

  def finder(
    self, out: pathlib.Path, generator: Network, digest: str
  ) -> AnchorFinder:
    """What projects photos with a generator's weights."""
    cache = self.config.cache
    return AnchorFinder(
      config=self.config.projection,
      generator=generator,
      fingerprint=digest,
      lpips=self.networks.get("lpips"),
      lpips_fingerprint=self.digests.get("lpips", ""),
      devices=devices_lib.own(self.devices),
      cache=pathlib.Path(cache).expanduser() if cache else out / UNFINISHED,
    )

  def anchors(self, out: pathlib.Path, stop: StopRequest) -> Anchors:
    """Of the photos to tune on, and of those held out."""
    path = out / run_folder.ANCHORS_FILE
    # Those of this run: the photos are what they were.
    known = processes.from_first(
      lambda: vars(Anchors.load(path)) if path.exists() else {}
    )
    if known:
      return Anchors(tuple(map(str, known["names"])), known["ws"], known["c"])
    chosen = set(self.split.train.names) | set(self.split.test.names)
    anchors = self.finder(out, self.base, self.digest).find(
      self.album.subset(
        [i for i, name in enumerate(self.album.names) if name in chosen]
      ),
      stop,
    )
    if processes.is_first():
      anchors.save(path)
    return anchors

  def tune(
    self, out: pathlib.Path, anchors: Anchors, stop: StopRequest
  ) -> checkpoint.Saved | None:
    """The last state; None where nothing is tuned."""
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
      config=self.model,
      base=self.base.variables,
      lora_config=self.lora_config,
      tuning=self.config.tuning,
      loss=self.config.loss,
      networks={name: self.networks[name] for name in needed},
      devices=self.devices,
      save_every=self.config.save_every,
      log_every=self.config.log_every,
    ).run(out, self.split.train, anchors.of(self.split.train.names), stop)

  def write_result(
    self, out: pathlib.Path, saved: checkpoint.Saved | None
  ) -> Result:
    """Writes the adapter or the generator, and reads back what was written."""
    if saved is None:
      return Result(self.base, self.digest, "none", 0, 0)
    trainable, steps = saved.state.trainable, int(saved.state.step)
    numbers = state_lib.numbers(trainable)
    if self.lora_config is None:
      _, frozen = state_lib.split(
        jax.random.key(0), self.model, self.base.variables, None
      )
      generator = state_lib.join(self.model, trainable, frozen, None)
      folder = out / run_folder.GENERATOR_FOLDER

      def write() -> dict[str, Any]:
        save_generator(
          folder,
          self.model,
          generator.variables,
          overwrite=True,
          source={"tuned_from": self.digest, "steps": steps},
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
          run_folder.BASE_DIGEST: self.digest,
          "version": __version__,
          "steps": str(steps),
          "settings": json.dumps(self.description()["settings"]),
        },
      )
      # As it was rounded, if it was.
      return {
        "bytes": np.array(path.stat().st_size),
        **flatten_dict(lora_lib.load(path, self.model).lora, sep="/"),
      }

    written = processes.from_first(write_adapter)
    size = int(written.pop("bytes"))
    trainable = unflatten_dict(written, sep="/")
    variables = lora_lib.merge_into_params(
      self.base.variables, trainable, self.lora_config
    )
    return Result(
      Network(variables, self.base.module),
      weights_digest(variables),
      lora_lib.fingerprint(trainable),
      numbers,
      size,
    )

  def evaluate(
    self, out: pathlib.Path, result: Result, anchors: Anchors, stop: StopRequest
  ) -> dict[str, Any] | None:
    """Measures both generators on the held-out photos, and shows them.

    Process 0 does; the others help to find anchors, and get None.
    """
    album, which = self.split.test, "held-out"
    if not album:
      album, which = self.split.train, "training"
    before = after = anchors.of(album.names)
    if result.digest != self.digest and which == "held-out":
      # A personal generator finds the photos that it has not seen itself.
      after = self.finder(out, result.generator, result.digest).find(
        album, stop, title="held-out photos"
      )
    if not processes.is_first():
      return None
    candidates = {
      "pretrained": (self.base, before),
      "personalized": (result.generator, after),
    }
    # Numbers are to be comparable whatever tuning computed in.
    networks = {
      name: network.replace(
        module=dataclasses.replace(
          network.module, dtype="float32", precision="highest"
        )
      )
      for name, network in self.networks.items()
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
        base=self.digest[:ID_LENGTH],
        task="personalize",
      ),
      headline=strangers.TITLE if self.warnings else "",
    )
    return {**comparison, "photos": which, "count": len(album), "each": each}


def _check_sizes(
  config: PersonalizeConfig, model: GeneratorConfig, backbone: str
):
  """LPIPS cannot look at images that are too small."""
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
