"""The main job: a generator and an album in, a person's own generator out.

Source: My3DGen, section 3.
"""

import dataclasses
import json
import pathlib
import time
from typing import Any, Callable, Dict, Literal, Optional, Tuple

import jax
import numpy as np

from my3dgen_jax import lora as lora_lib
from my3dgen_jax._version import __version__
from my3dgen_jax.apps import before_after
from my3dgen_jax.config import (ConfigError, GeneratorConfig, LoraConfig,
                                LossConfig, ProjectionConfig, TuningConfig)
from my3dgen_jax.data.album import Album, Selection, Split
from my3dgen_jax.data.files import replacing
from my3dgen_jax.data.iterator import shard
from my3dgen_jax.errors import UserError
from my3dgen_jax.losses import backbones
from my3dgen_jax.losses import identity as identity_lib
from my3dgen_jax.losses import lpips as lpips_lib
from my3dgen_jax.models.checkpoint import (generator_digest, load_generator,
                                           save_generator)
from my3dgen_jax.models.generator import Generator
from my3dgen_jax.training import devices as devices_lib
from my3dgen_jax.training import loop, run_folder
from my3dgen_jax.training import state as state_lib
from my3dgen_jax.training.anchors import AnchorFinder, Anchors
from my3dgen_jax.training.interrupts import StopRequest, stopping_gently
from my3dgen_jax.types import Network

# What may be another when a run goes on: it changes where and how fast, or how
# long, but not what.
_FREE = ("version",) + tuple(f"settings.{name}" for name in (
    "out", "checkpoint", "album", "lpips", "identity", "cache", "devices",
    "save_every", "log_every", "tuning.steps", "tuning.accumulation",
    "adapter_dtype", "pictures", "test", "reference", "split_seed"))


@dataclasses.dataclass(frozen=True)
class PersonalizeConfig:
  """A whole run.

  Attributes:
    checkpoint: folder of the pretrained generator.
    album: folder or zip of photos.
    out: folder of the run.
    lpips: folder of LPIPS's weights, or None.
    identity: folder of a face recognition network, or None.
    test: photos held out, see `Album.split`.
    reference: photos the identity score compares with; None: all.
    split_seed: of a split by number.
    lora: rank, layout, targets; used in mode lora.
    projection: how anchors are found.
    loss: what tuning minimises.
    tuning: mode, steps, optimiser.
    neural_rendering_resolution: side of image_raw; None: the generator's.
    dtype: of activations; None: the generator's.
    adapter_dtype: of the file.
    cache: folder of anchors found before; None: none are kept.
    devices: of this machine that are used; None: all.
    save_every: steps between saved states.
    log_every: steps between logged ones.
    pictures: held-out photos in before_after.png at most.
  """

  checkpoint: str
  album: str
  out: str
  lpips: Optional[str] = None
  identity: Optional[str] = None
  test: Selection = 0
  reference: Optional[Selection] = None
  split_seed: int = 0
  lora: LoraConfig = LoraConfig()
  projection: ProjectionConfig = ProjectionConfig()
  loss: LossConfig = LossConfig()
  tuning: TuningConfig = TuningConfig()
  neural_rendering_resolution: Optional[int] = None
  dtype: Optional[Literal["float32", "bfloat16"]] = None
  adapter_dtype: Literal["float32", "float16"] = "float32"
  cache: Optional[str] = None
  devices: Optional[int] = None
  save_every: int = 500
  log_every: int = 10
  pictures: int = 4

  def validate(self) -> "PersonalizeConfig":
    """Checks the parts; raises ConfigError, naming the field."""
    self.lora.validate()
    self.projection.validate()
    self.loss.validate()
    self.tuning.validate()
    for name in ("save_every", "log_every"):
      if getattr(self, name) < 1:
        raise ConfigError(f"{name}: expected a whole number >= 1, got "
                          f"{getattr(self, name)}")
    tunes = self.tuning.mode != "none"
    if tunes and self.loss.needs_lpips and self.lpips is None:
      raise ConfigError(
          "lpips: the loss needs the folder of its weights, which "
          "converters/lpips_to_flax.py writes; or set lpips_weight to 0")
    if tunes and self.loss.needs_identity and self.identity is None:
      raise ConfigError(
          "identity: the loss needs the folder of a network, which "
          "converters/arcface_to_flax.py writes; or set identity_weight and "
          "symmetry_weight to 0")
    return self


def personalize(config: PersonalizeConfig, *, resume: bool = False,
                flags: Optional[str] = None,
                report: Callable[[str], None] = print) -> Dict[str, Any]:
  """Makes a generator somebody's own.

  Args:
    config: the run.
    resume: go on with the run in `config.out`, if there is one.
    flags: text of a flagfile that repeats the run, kept with it.
    report: called with lines about what happens.

  Returns: what `summary.json` holds.
  Raises:
    UserError: bad input, in one line; nothing has been written then.
    Interrupted: SIGTERM or SIGINT; `resume` goes on.
  """
  began = time.monotonic()
  config = config.validate()
  out = pathlib.Path(config.out).expanduser()
  _check_out(out, resume)
  devices = devices_lib.local_devices(config.devices)
  job = _Job.load(config, devices)
  _begin(out, job.description(), flags)
  report(f"{len(job.split.train)} photos to tune on, {len(job.split.test)} "
         f"held out, {len(devices)} device{'s' * (len(devices) > 1)}")
  with stopping_gently() as stop:
    anchors = job.anchors(job.base, job.digest, stop)
    anchors.save(out / run_folder.ANCHORS_FILE)
    seconds = time.monotonic() - began
    saved, tuned = job.tune(out, anchors, stop)
    seconds += saved.seconds if saved else 0.0  # over all interruptions
    began = time.monotonic()
    numbers, size = job.write_result(out, saved)
    summary = job.evaluate(out, tuned, anchors, stop)
  seconds += time.monotonic() - began
  summary.update(adapter_bytes=size, adapter_numbers=numbers,
                 seconds=round(seconds, 1))
  run_folder.write_json(out / run_folder.SUMMARY_FILE, summary)
  return summary


@dataclasses.dataclass
class _Job:
  """A run's networks and photos."""

  config: PersonalizeConfig
  devices: Tuple[jax.Device, ...]
  model: GeneratorConfig
  base: Network
  digest: str
  album: Album
  split: Split
  networks: Dict[str, Network]
  digests: Dict[str, str]

  @classmethod
  def load(cls, config: PersonalizeConfig,
           devices: Tuple[jax.Device, ...]) -> "_Job":
    """Reads all that a run needs; cheap checks first."""
    digest = generator_digest(config.checkpoint)
    generator, variables = load_generator(config.checkpoint)
    model = dataclasses.replace(
        generator.config, dtype=config.dtype or generator.config.dtype,
        neural_rendering_resolution=config.neural_rendering_resolution
        or generator.config.neural_rendering_resolution).validate()
    album = Album.open(config.album, img_resolution=model.img_resolution,
                       num_ws=model.num_ws, w_dim=model.w_dim)
    album.verify()
    split = album.split(test=config.test, reference=config.reference,
                        seed=config.split_seed)
    tuning = config.tuning
    if tuning.mode != "none":  # fails early if it does not divide
      shard(np.zeros(tuning.batch_size), num_devices=len(devices),
            accumulation=tuning.accumulation)
    if config.lpips is None:
      for photo in album.photos:
        if photo.ws is None:
          raise UserError(
              f"{config.album}: {photo.name} has no _latent.npy, so its anchor "
              "must be found, which compares images by LPIPS; give --lpips")
    networks, digests = {}, {}
    if config.lpips:
      networks["lpips"] = Network(*reversed(lpips_lib.load_lpips(
          config.lpips, dtype=model.dtype)))
      digests["lpips"] = run_folder.file_digest(
          pathlib.Path(config.lpips).expanduser() / lpips_lib.WEIGHTS_FILE)
      _check_size(model, config.loss, networks["lpips"].module.backbone)
    if config.identity:
      networks["identity"] = Network(*reversed(identity_lib.load_identity(
          config.identity, dtype=model.dtype)))
      digests["identity"] = run_folder.file_digest(
          pathlib.Path(config.identity).expanduser()
          / identity_lib.WEIGHTS_FILE)
    return cls(config, devices, model, Network(variables, Generator(model)),
               digest, album, split, networks, digests)

  @property
  def lora_config(self) -> Optional[LoraConfig]:
    return self.config.lora if self.config.tuning.mode == "lora" else None

  def description(self) -> Dict[str, Any]:
    """What config.json holds."""
    return {"kind": "personalize", "format": run_folder.FORMAT,
            "version": __version__, run_folder.BASE_DIGEST: self.digest,
            "weights": self.digests, "generator": self.model.to_dict(),
            "photos": {"train": list(self.split.train.names),
                       "test": list(self.split.test.names),
                       "reference": list(self.split.reference.names)},
            "settings": run_folder.settings_of(self.config)}

  def finder(self, generator: Network, digest: str) -> AnchorFinder:
    """What projects photos with a generator's weights."""
    cache = self.config.cache
    return AnchorFinder(
        self.config.projection, generator, digest, self.networks.get("lpips"),
        self.digests.get("lpips", ""), self.devices,
        pathlib.Path(cache).expanduser() if cache else None)

  def anchors(self, generator: Network, digest: str,
              stop: StopRequest) -> Anchors:
    """Of the photos to tune on, and of those held out."""
    chosen = set(self.split.train.names) | set(self.split.test.names)
    return self.finder(generator, digest).find(self.album.subset(
        [i for i, name in enumerate(self.album.names) if name in chosen]),
                                               stop)

  def tune(self, out: pathlib.Path, anchors: Anchors, stop: StopRequest
           ) -> Tuple[Optional[Any], Network]:
    """Returns the saved state, if any, and the plain generator it makes."""
    if self.config.tuning.mode == "none":
      return None, self.base
    needed = [name for name, needs in (
        ("lpips", self.config.loss.needs_lpips),
        ("identity", self.config.loss.needs_identity)) if needs]
    saved = loop.Tuning(
        config=self.model, base=self.base.variables,
        lora_config=self.lora_config, tuning=self.config.tuning,
        loss=self.config.loss,
        networks={name: self.networks[name] for name in needed},
        devices=self.devices, save_every=self.config.save_every,
        log_every=self.config.log_every,
    ).run(out, self.split.train, anchors.of(self.split.train.names), stop)
    trainable = saved.state.trainable
    if self.lora_config is None:
      return saved, state_lib.join(self.model, trainable, self._frozen(), None)
    # Merged, so that both generators run through one compiled program.
    return saved, Network(lora_lib.merge_into_params(
        self.base.variables, trainable, self.lora_config), self.base.module)

  def _frozen(self) -> Any:
    return state_lib.split(jax.random.key(0), self.model, self.base.variables,
                           None)[1]

  def write_result(self, out: pathlib.Path, saved: Optional[Any]
                   ) -> Tuple[int, int]:
    """Writes the adapter or the generator; how many numbers and bytes."""
    if saved is None:
      return 0, 0
    numbers = state_lib.numbers(saved.state.trainable)
    if self.lora_config is None:
      folder = out / run_folder.GENERATOR_FOLDER
      full = state_lib.join(self.model, saved.state.trainable, self._frozen(),
                            None)
      save_generator(folder, self.model, full.variables, overwrite=True,
                     source={"tuned_from": self.digest,
                             "steps": int(saved.state.step)})
      return numbers, sum(path.stat().st_size for path in folder.rglob("*")
                          if path.is_file())
    path = out / run_folder.ADAPTER_FILE
    lora_lib.save(path, saved.state.trainable, self.lora_config,
                  dtype=self.config.adapter_dtype, metadata={
                      run_folder.BASE_DIGEST: self.digest,
                      "version": __version__,
                      "steps": str(int(saved.state.step)),
                      "settings": json.dumps(self.description()["settings"])})
    return numbers, path.stat().st_size

  def evaluate(self, out: pathlib.Path, tuned: Network, anchors: Anchors,
               stop: StopRequest) -> Dict[str, Any]:
    """Measures both generators on the held-out photos, and shows them."""
    album, which = self.split.test, "held-out"
    if not album:
      album, which = self.split.train, "training"
    before = anchors.of(album.names)
    after = before
    if tuned is not self.base:
      # A personal generator finds the photos that it has not seen itself.
      after = before if which == "training" else self.finder(
          tuned, _tuned_digest(out)).find(album, stop, title="held-out photos")
    comparison = before_after.compare(
        album, {"pretrained": (self.base, before),
                "personalized": (tuned, after)},
        reference=self.split.reference, lpips=self.networks.get("lpips"),
        identity=self.networks.get("identity"), stop=stop)
    before_after.draw(out / run_folder.PICTURE_FILE, album,
                      {"pretrained": (self.base, before),
                       "personalized": (tuned, after)},
                      count=self.config.pictures)
    return {**comparison, "photos": which, "count": len(album)}


def _check_out(out: pathlib.Path, resume: bool):
  """Refuses to write over what is there."""
  if out.exists() and any(out.iterdir()):
    if not resume:
      raise UserError(f"{out}: is not empty; --resume goes on with the run "
                      "there, or choose another --out")
    run_folder.read_config(out)


def _begin(out: pathlib.Path, description: Dict[str, Any],
           flags: Optional[str]):
  """Makes the folder, or sees that it is of the same run."""
  path = out / run_folder.CONFIG_FILE
  if path.exists():
    run_folder.check_same(path, run_folder.read_config(out), description,
                          _FREE)
  out.mkdir(parents=True, exist_ok=True)
  run_folder.write_json(path, description)
  if flags is not None:
    with replacing(out / run_folder.FLAGS_FILE) as file:
      file.write(flags.encode())


def _check_size(model: GeneratorConfig, loss: LossConfig, backbone: str):
  """LPIPS cannot look at images that are too small."""
  network = backbones.NETWORKS[backbone]
  side = model.neural_rendering_resolution
  if loss.needs_lpips and loss.raw_weight and side < network.smallest:
    raise UserError(
        f"neural_rendering_resolution: LPIPS on {network.title} needs images "
        f"of at least {network.smallest} pixels, image_raw has {side}; raise "
        "it, set raw_weight to 0, or use another network")


def _tuned_digest(out: pathlib.Path) -> str:
  """Another text for any other weights of the run's generator."""
  if (out / run_folder.ADAPTER_FILE).exists():
    return run_folder.file_digest(out / run_folder.ADAPTER_FILE)
  return generator_digest(out / run_folder.GENERATOR_FOLDER)


def describe(summary: Dict[str, Any], out: str) -> str:
  """A run's summary as a table, and where to look."""
  lines = [f"{summary['count']} {summary['photos']} photos     LPIPS    PSNR"
           "   ID_sim"]
  show = lambda value, digits: "-" if value is None else f"{value:.{digits}f}"
  for name in ("pretrained", "personalized"):
    row = summary[name]
    lines.append(f"{name:<22} {show(row['lpips'], 4):>7} "
                 f"{show(row['psnr'], 2):>7} {show(row['id_sim'], 3):>8}")
  if summary["adapter_numbers"]:
    lines.append(f"{summary['adapter_numbers']} numbers, "
                 f"{summary['adapter_bytes'] / 1e6:.2f} MB")
  lines += [f"{pathlib.Path(out) / name}"
            for name in (run_folder.PICTURE_FILE, run_folder.ADAPTER_FILE)
            if (pathlib.Path(out).expanduser() / name).exists()]
  return "\n".join(lines)
