"""The main job: a generator and an album in, a person's own generator out.

Source: My3DGen, section 3.
"""

import dataclasses
import json
import pathlib
import shutil
import time
from typing import (Any, Callable, Dict, Literal, NamedTuple, Optional,
                    Tuple)

from flax.traverse_util import flatten_dict, unflatten_dict
import jax
import numpy as np

from my3dgen_jax import lora as lora_lib
from my3dgen_jax._version import __version__
from my3dgen_jax.apps.reports import before_after
from my3dgen_jax.apps.reports import report as report_lib
from my3dgen_jax.apps.person import load_person
from my3dgen_jax.config import (ConfigError, GeneratorConfig, LoraConfig,
                                LossConfig, ProjectionConfig, TuningConfig)
from my3dgen_jax.data.album import Album, Split
from my3dgen_jax.data.albums import open_album
from my3dgen_jax.data.photo_selection import Selection
from my3dgen_jax.storage.files import is_leftover, make_writable, replacing
from my3dgen_jax.data.iterator import shard
from my3dgen_jax.data.provenance import Origin
from my3dgen_jax.errors import UserError, one_line
from my3dgen_jax.losses import backbones
from my3dgen_jax.losses import identity as identity_lib
from my3dgen_jax.losses import lpips as lpips_lib
from my3dgen_jax.models.checkpoint import (generator_digest, load_generator,
                                           save_generator, weights_digest)
from my3dgen_jax.models.generator import Generator
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.jobs import processes
from my3dgen_jax.training import checkpoint, loop, run_folder
from my3dgen_jax.training import state as state_lib
from my3dgen_jax.training.anchors import AnchorFinder, Anchors
from my3dgen_jax.jobs.interrupts import StopRequest, stopping_gently
from my3dgen_jax.training.projection import check_sizes
from my3dgen_jax.training.run_folder import ID_LENGTH
from my3dgen_jax.types import Network

# Settings that say where and how fast, and what is written besides, not what a
# run makes; photos are compared themselves.
CIRCUMSTANCES = ("out", "checkpoint", "album", "lpips", "identity", "cache",
                 "devices", "save_every", "log_every", "adapter_dtype",
                 "pictures", "report", "test", "reference", "train",
                 "split_seed", "precision")
# What may be another when a run goes on: those, and how long.
_FREE = ("version", "generator.precision", "settings.projection.batch_size",
         *(f"settings.{name}" for name in (
    *CIRCUMSTANCES, "tuning.steps", "tuning.accumulation")))

# Where anchors that are being found are kept if there is no cache.
_UNFINISHED = "unfinished"
_RESULTS = (run_folder.SUMMARY_FILE, run_folder.PICTURE_FILE,
            run_folder.ADAPTER_FILE, f"{report_lib.FOLDER}/{report_lib.FILE}")


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
    train: photos to learn from, of those that are left; None: all of them.
    split_seed: of a split by number.
    lora: rank, layout, targets; used in mode lora.
    projection: how anchors are found.
    loss: what tuning minimises.
    tuning: mode, steps, optimiser.
    neural_rendering_resolution: side of image_raw; None: the generator's.
    dtype: of activations; None: the generator's.
    precision: of products on accelerators, see `GeneratorConfig`; None: the
      generator's.
    adapter_dtype: of the file.
    cache: folder of anchors found before; None: none are kept.
    devices: of each process's that are used; None: all.
    save_every: steps between saved states.
    log_every: steps between logged ones.
    pictures: held-out photos in before_after.png at most.
    report: write report/index.html at the end.
  """

  checkpoint: str
  album: str
  out: str
  lpips: Optional[str] = None
  identity: Optional[str] = None
  test: Selection = 0
  reference: Optional[Selection] = None
  train: Optional[Selection] = None
  split_seed: int = 0
  lora: LoraConfig = LoraConfig()
  projection: ProjectionConfig = ProjectionConfig()
  loss: LossConfig = LossConfig()
  tuning: TuningConfig = TuningConfig()
  neural_rendering_resolution: Optional[int] = None
  dtype: Optional[Literal["float32", "bfloat16"]] = None
  precision: Optional[Literal["default", "high", "highest"]] = None
  adapter_dtype: Literal["float32", "float16"] = "float32"
  cache: Optional[str] = None
  devices: Optional[int] = None
  save_every: int = 500
  log_every: int = 10
  pictures: int = 4
  report: bool = False

  def validate(self) -> "PersonalizeConfig":
    """Checks the parts; raises ConfigError, naming the field."""
    self.lora.validate("lora_")
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
                report: Callable[[str], None] = print
                ) -> Optional[Dict[str, Any]]:
  """Makes a generator somebody's own.

  Of several processes (`jobs.processes`) all fit and tune; process 0
  alone writes files, and measures.

  Args:
    config: the run.
    resume: go on with the run in `config.out`, if there is one.
    flags: text of a flagfile that repeats the run, kept with it.
    report: called with lines about what happens.

  Returns: what `summary.json` holds; None in processes other than 0.
  Raises:
    UserError: bad input, in one line; nothing has been written then.
    Interrupted: SIGTERM or SIGINT; `resume` goes on.
  """
  began = time.monotonic()
  # The run must find its base, photos and networks again from any folder.
  config = dataclasses.replace(config.validate(), **{
      name: str(pathlib.Path(place).expanduser().absolute())
      for name in ("checkpoint", "album", "lpips", "identity")
      if (place := getattr(config, name)) is not None})
  out = pathlib.Path(config.out).expanduser()
  first = processes.is_first()
  if first:
    _check_out(out, resume)
  devices = devices_lib.all_devices(config.devices)
  job = _Job.load(config, devices, report)
  job.check_same_everywhere()
  with stopping_gently() as stop:  # from the run's first file on
    processes.barrier()  # a signal to any of them finds it here
    if first:
      _begin(out, job.description(), flags)
    report(f"{len(job.split.train)} photos to tune on, {len(job.split.test)} "
           f"held out, {len(devices)} device{'s' * (len(devices) > 1)}"
           + f" of {processes.count()} processes" * (processes.count() > 1))
    anchors = job.anchors(out, stop)
    seconds = time.monotonic() - began
    saved = job.tune(out, anchors, stop)
    seconds += saved.seconds if saved else 0.0
    began = time.monotonic()
    result = job.write_result(out, saved)
    summary = job.evaluate(out, result, anchors, stop)
    if summary is None:
      processes.barrier()  # until process 0 is done
      return None
  seconds += time.monotonic() - began
  summary.update(adapter_bytes=result.bytes, adapter_numbers=result.numbers,
                 seconds=round(seconds, 1),
                 tuning_seconds=round(saved.seconds, 1) if saved else 0.0)
  run_folder.write_json(out / run_folder.SUMMARY_FILE, summary)
  shutil.rmtree(out / _UNFINISHED, ignore_errors=True)
  if config.report:
    _write_report(config, out, devices_lib.own(devices), report)
  processes.barrier()
  return summary


def begun_precision(out: str) -> Optional[str]:
  """The precision of products that the run in a folder began with.

  The same in all processes, which call it at the same time.

  Args:
    out: folder of the run.

  Returns: see `GeneratorConfig`; None: there is no run.
  Raises: CheckpointError: the run's config.json is damaged.
  """
  folder = pathlib.Path(out).expanduser()

  def read() -> Dict[str, Any]:
    known = (folder / run_folder.CONFIG_FILE).exists()
    model = run_folder.read_config(folder)["generator"] if known else {}
    return {"precision": np.array(str(model.get("precision") or ""))}

  return str(processes.from_first(read)["precision"]) or None


def _write_report(config: "PersonalizeConfig", out: pathlib.Path,
                  devices: Tuple[jax.Device, ...],
                  report: Callable[[str], None]):
  """The page of a run, which is finished whether there is a page or not."""
  try:
    report_lib.write_report(load_person(
        run=out, checkpoint=config.checkpoint, devices=devices), out,
                            report=report)
  except Exception as error:  # pylint: disable=broad-exception-caught
    report(f"warning: there is no report: {one_line(error)}; the run is "
           "finished, and python -m my3dgen_jax.launch.report "
           f"--run={config.out} tries again")


class _Result(NamedTuple):
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
  def load(cls, config: PersonalizeConfig, devices: Tuple[jax.Device, ...],
           report: Callable[[str], None] = print) -> "_Job":
    """Reads all that a run needs; cheap checks first."""
    digest = generator_digest(config.checkpoint)
    report(f"reading {config.checkpoint} and {config.album}; "
           f"{devices_lib.described(devices)}"
           + (f", precision {config.precision}" if config.precision else ""))
    generator, variables = load_generator(config.checkpoint)
    model = dataclasses.replace(
        generator.config, dtype=config.dtype or generator.config.dtype,
        precision=config.precision or generator.config.precision,
        neural_rendering_resolution=config.neural_rendering_resolution
        or generator.config.neural_rendering_resolution).validate()
    lora_config = config.lora
    if config.tuning.mode == "lora" and not lora_lib.abstract(model,
                                                             lora_config):
      raise ConfigError(f"lora_targets: {' '.join(lora_config.targets)} fit "
                        "no module")
    album = open_album(config.album, img_resolution=model.img_resolution,
                       num_ws=model.num_ws, w_dim=model.w_dim)
    album.verify()
    split = album.split(test=config.test, reference=config.reference,
                        train=config.train, seed=config.split_seed)
    if config.identity and not split.reference:
      raise ConfigError("reference: selects no photo to compare identity with")
    tuning = config.tuning
    if tuning.mode != "none":  # fails early if it does not divide
      shard(np.zeros(tuning.batch_size), num_devices=len(devices),
            accumulation=tuning.accumulation)
    if config.lpips is None:
      for photo in (*split.train.photos, *split.test.photos):
        if photo.ws is None:
          raise UserError(
              f"{config.album}: {photo.name} has no _latent.npy, so its anchor "
              "must be found, which compares images by LPIPS; give --lpips")
    if config.cache:
      make_writable(config.cache, "name another folder by --cache, or none by "
                    "--cache=")
    networks, digests = {}, {}
    if config.lpips:
      networks["lpips"] = Network(*reversed(lpips_lib.load_lpips(
          config.lpips, dtype=model.dtype, precision=model.precision)))
      digests["lpips"] = run_folder.file_digest(
          pathlib.Path(config.lpips).expanduser() / lpips_lib.WEIGHTS_FILE)
      _check_sizes(config, model, networks["lpips"].module.backbone)
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

  def check_same_everywhere(self):
    """Sees that all processes were given the same work.

    Raises: UserError that names what is not.
    """
    mine = self.description()
    first = json.loads(str(processes.from_first(
        lambda: {"text": np.array(json.dumps(mine))})["text"]))
    free = [f"settings.{name}" for name in CIRCUMSTANCES if name != "devices"]
    name = run_folder.first_difference(first, mine, free)
    if name is not None:
      raise UserError(f"process {processes.index()}: {name} is not that of "
                      "process 0; give all processes the same flags, photos "
                      "and networks")
    processes.barrier()

  def description(self) -> Dict[str, Any]:
    """What config.json holds."""
    return {"kind": run_folder.KIND, "format": run_folder.FORMAT,
            "version": __version__, run_folder.BASE_DIGEST: self.digest,
            "weights": self.digests, "generator": self.model.to_dict(),
            "photos": {
                part: {name: album.digest(i)
                       for i, name in enumerate(album.names)}
                for part, album in self.split._asdict().items()},
            "settings": run_folder.settings_of(self.config)}

  def finder(self, out: pathlib.Path, generator: Network,
             digest: str) -> AnchorFinder:
    """What projects photos with a generator's weights."""
    cache = self.config.cache
    return AnchorFinder(
        config=self.config.projection, generator=generator, identity=digest,
        lpips=self.networks.get("lpips"),
        lpips_identity=self.digests.get("lpips", ""),
        devices=devices_lib.own(self.devices),
        cache=pathlib.Path(cache).expanduser() if cache
        else out / _UNFINISHED)

  def anchors(self, out: pathlib.Path, stop: StopRequest) -> Anchors:
    """Of the photos to tune on, and of those held out."""
    path = out / run_folder.ANCHORS_FILE
    # Those of this run: the photos are what they were.
    known = processes.from_first(lambda: vars(
        Anchors.load(path)) if path.exists() else {})
    if known:
      return Anchors(tuple(map(str, known["names"])), known["ws"], known["c"])
    chosen = set(self.split.train.names) | set(self.split.test.names)
    anchors = self.finder(out, self.base, self.digest).find(
        self.album.subset([i for i, name in enumerate(self.album.names)
                           if name in chosen]), stop)
    if processes.is_first():
      anchors.save(path)
    return anchors

  def tune(self, out: pathlib.Path, anchors: Anchors,
           stop: StopRequest) -> Optional[checkpoint.Saved]:
    """The last state; None where nothing is tuned."""
    if self.config.tuning.mode == "none":
      return None
    needed = [name for name, needs in (
        ("lpips", self.config.loss.needs_lpips),
        ("identity", self.config.loss.needs_identity)) if needs]
    return loop.Tuning(
        config=self.model, base=self.base.variables,
        lora_config=self.lora_config, tuning=self.config.tuning,
        loss=self.config.loss,
        networks={name: self.networks[name] for name in needed},
        devices=self.devices, save_every=self.config.save_every,
        log_every=self.config.log_every,
    ).run(out, self.split.train, anchors.of(self.split.train.names), stop)

  def write_result(self, out: pathlib.Path,
                   saved: Optional[checkpoint.Saved]) -> _Result:
    """Writes the adapter or the generator, and reads back what was written."""
    if saved is None:
      return _Result(self.base, self.digest, "none", 0, 0)
    trainable, steps = saved.state.trainable, int(saved.state.step)
    numbers = state_lib.numbers(trainable)
    if self.lora_config is None:
      _, frozen = state_lib.split(jax.random.key(0), self.model,
                                  self.base.variables, None)
      generator = state_lib.join(self.model, trainable, frozen, None)
      folder = out / run_folder.GENERATOR_FOLDER

      def write() -> Dict[str, Any]:
        save_generator(folder, self.model, generator.variables,
                       overwrite=True,
                       source={"tuned_from": self.digest, "steps": steps})
        return {"digest": np.array(generator_digest(folder))}

      digest = str(processes.from_first(write)["digest"])
      return _Result(generator, digest, digest, numbers, sum(
          path.stat().st_size for path in folder.rglob("*")
          if path.is_file()))
    path = out / run_folder.ADAPTER_FILE

    def write_adapter() -> Dict[str, Any]:
      lora_lib.save(path, trainable, self.lora_config,
                    dtype=self.config.adapter_dtype, metadata={
                        run_folder.BASE_DIGEST: self.digest,
                        "version": __version__, "steps": str(steps),
                        "settings": json.dumps(
                            self.description()["settings"])})
      # As it was rounded, if it was.
      return {"bytes": np.array(path.stat().st_size), **flatten_dict(
          lora_lib.load(path, self.model).lora, sep="/")}

    written = processes.from_first(write_adapter)
    size = int(written.pop("bytes"))
    trainable = unflatten_dict(written, sep="/")
    variables = lora_lib.merge_into_params(self.base.variables, trainable,
                                           self.lora_config)
    return _Result(Network(variables, self.base.module),
                   weights_digest(variables), weights_digest(trainable),
                   numbers, size)

  def evaluate(self, out: pathlib.Path, result: _Result, anchors: Anchors,
               stop: StopRequest) -> Optional[Dict[str, Any]]:
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
          album, stop, title="held-out photos")
    if not processes.is_first():
      return None
    candidates = {"pretrained": (self.base, before),
                  "personalized": (result.generator, after)}
    # Numbers are to be comparable whatever tuning computed in.
    networks = {name: network.replace(module=dataclasses.replace(
        network.module, dtype="float32", precision="highest"))
                for name, network in self.networks.items()}
    comparison, each = before_after.compare(
        album, candidates, reference=self.split.reference,
        lpips=networks.get("lpips"), identity=networks.get("identity"),
        stop=stop)
    before_after.draw(out / run_folder.PICTURE_FILE, album, candidates,
                      count=self.config.pictures, origin=Origin(
                          adapter=result.id[:ID_LENGTH],
                          base=self.digest[:ID_LENGTH], task="personalize"))
    return {**comparison, "photos": which, "count": len(album), "each": each}


def _check_out(out: pathlib.Path, resume: bool):
  """Refuses to write over what is there."""
  if out.exists() and not all(map(is_leftover, out.iterdir())):
    if not resume:
      raise UserError(f"{out}: is not empty; --resume goes on with the run "
                      "there, or choose another --out")
    run_folder.read_config(out)


def _begin(out: pathlib.Path, description: Dict[str, Any],
           flags: Optional[str]):
  """Makes the folder, or sees that it is of the same run."""
  path = out / run_folder.CONFIG_FILE
  if path.exists():
    old = run_folder.read_config(out)
    begun = any((out / name).exists() for name in (
        loop.STATE_FOLDER, run_folder.ANCHORS_FILE))
    if begun:
      run_folder.check_same(path, old, description, _FREE)
    if old != json.loads(json.dumps(description)):
      for name in _RESULTS:  # they are not of these settings
        (out / name).unlink(missing_ok=True)
  out.mkdir(parents=True, exist_ok=True)
  for left in filter(is_leftover, out.iterdir()):
    left.unlink()
  run_folder.write_json(path, description)
  if flags is not None:
    with replacing(out / run_folder.FLAGS_FILE) as file:
      file.write(flags.encode())


def _check_sizes(config: PersonalizeConfig, model: GeneratorConfig,
                 backbone: str):
  """LPIPS cannot look at images that are too small."""
  check_sizes(config.projection, model.img_resolution, backbone, "anchor_")
  network = backbones.NETWORKS[backbone]
  side = model.neural_rendering_resolution
  if (config.tuning.mode != "none" and config.loss.needs_lpips
      and config.loss.raw_weight > 0 and side < network.smallest):
    raise ConfigError(
        f"neural_rendering_resolution: LPIPS on {network.title} needs images "
        f"of at least {network.smallest} pixels, these have {side}; raise it, "
        "use another network, or set raw_weight to 0")




def describe(summary: Dict[str, Any], out: str) -> str:
  """A run's summary as a table, and where to look."""
  show = lambda value, digits: "-" if value is None else f"{value:.{digits}f}"
  names = ("pretrained", "personalized")
  columns = [("lpips", "LPIPS", 4), ("psnr", "PSNR", 2),
             ("psnr_marks", "at marks", 2), ("id_sim", "ID_sim", 3)]
  if all(summary[name].get("psnr_marks") is None for name in names):
    del columns[2]
  lines = [f"{summary['count']} {summary['photos']} photos".ljust(22)
           + "".join(f"{title:>9}" for _, title, _ in columns)]
  for name in names:
    lines.append(f"{name:<22}" + "".join(
        f"{show(summary[name].get(key), digits):>9}"
        for key, _, digits in columns))
  if summary["adapter_numbers"]:
    lines.append(f"{summary['adapter_numbers']} numbers, "
                 f"{summary['adapter_bytes'] / 1e6:.2f} MB")
  lines += [f"{pathlib.Path(out) / name}"
            for name in (run_folder.PICTURE_FILE, run_folder.ADAPTER_FILE,
                         f"{report_lib.FOLDER}/{report_lib.FILE}")
            if (pathlib.Path(out).expanduser() / name).exists()]
  return "\n".join(lines)
