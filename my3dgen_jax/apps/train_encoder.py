"""Trains an encoder for a generator, on the generator's own pictures."""

import contextlib
import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax._version import __version__
from my3dgen_jax.apps.encoder import quality as quality_lib
from my3dgen_jax.config import part, REQUIRED, setting
from my3dgen_jax.config.encoder import EncoderConfig, EncoderTrainingConfig
from my3dgen_jax.data.iterator import shard, ShuffledBatches
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.jobs.interrupts import stopping_gently, StopRequest
from my3dgen_jax.jobs.logs import MetricsLog
from my3dgen_jax.jobs.progress import compiling, Progress
from my3dgen_jax.losses import identity as identity_lib
from my3dgen_jax.losses import lpips as lpips_lib
from my3dgen_jax.models.checkpoint import generator_digest, load_generator
from my3dgen_jax.models.encoder import Encoder
from my3dgen_jax.models.encoder_files import (
  abstract_variables,
  place_beside,
  save_encoder,
)
from my3dgen_jax.storage import locks
from my3dgen_jax.storage.array_files import read_npz
from my3dgen_jax.storage.files import holds_nothing, replacing
from my3dgen_jax.training import checkpoint as states
from my3dgen_jax.training import run_folder
from my3dgen_jax.training.encoding import metric as metric_lib
from my3dgen_jax.training.encoding.objective import (
  compares_pictures,
  EncoderBatch,
)
from my3dgen_jax.training.encoding.samples import key_of, Latents, Samples
from my3dgen_jax.training.encoding.step import (
  make_first_look,
  make_step,
  optimizer,
)
from my3dgen_jax.training.state import TrainState
from my3dgen_jax.types import Network

KIND, FORMAT = "encoder_training", 1
CONFIG_FILE = "config.json"
METRIC_FILE = "metric.npz"
STATE_FOLDER = "state"
SAMPLES_FOLDER = "samples"
QUALITY_FILE = "quality.json"
PICTURE_FILE = "held_out.png"
_STREAM = 2  # for the changes of pictures
# What may change when a training resumes.
_FREE = (
  "version",
  "settings.checkpoint",
  "settings.out",
  "settings.lpips",
  "settings.identity",
  "settings.devices",
  "settings.keep_samples",
  "settings.training.save_every",
  "settings.training.log_every",
  "settings.training.held_out",
)


@dataclasses.dataclass(frozen=True)
class TrainEncoderConfig:
  """All settings of a training."""

  checkpoint: str = setting(REQUIRED, "Folder of the generator.")
  out: str | None = setting(
    None,
    "Folder of the training and its encoder; default: CHECKPOINT_encoder, "
    "where commands look for the encoder of a generator.",
  )
  lpips: str | None = setting(
    None, "Folder of LPIPS's weights; default: none, and LPIPS is not used."
  )
  identity: str | None = setting(
    None, "Folder of a face recognition network, for --identity_weight."
  )
  devices: int | None = setting(
    None, "Devices of this machine to use; default: all.", low=1
  )
  keep_samples: bool = setting(
    False, "Keep the rendered pictures in --out at the end."
  )
  training: EncoderTrainingConfig = part(EncoderTrainingConfig())

  def validate(self) -> "TrainEncoderConfig":
    """Checks the parts; raises ConfigError that names the field."""
    self.training.validate()
    return self


def train_encoder(
  config: TrainEncoderConfig,
  *,
  resume: bool = False,
  log: Callable[[str], None] = print,
) -> dict[str, Any]:
  """Trains, measures on held-out latents, and writes the encoder.

  Args:
    config: the training's settings.
    resume: whether to resume the training in `config.out`.
    log: called with lines of progress.

  Returns: the contents of `quality.json`, see `apps.encoder.quality`.
  Raises:
    UserError: invalid input, in one line; nothing was written.
    Interrupted: SIGTERM or SIGINT; `resume` continues.
  """
  config.validate()
  out = pathlib.Path(config.out or place_beside(config.checkpoint)).expanduser()
  locks.check_free(out)
  if out.exists() and not holds_nothing(out):
    if not resume:
      raise UserError(
        f"{out}: is not empty; --resume continues the training there, or "
        "choose another --out"
      )
    _read_config(out)
  devices = devices_lib.local_devices(config.devices)
  digest = generator_digest(config.checkpoint)
  module, variables = load_generator(config.checkpoint)
  generator = Network(variables, module)
  networks = _networks(config)
  encoder_config = EncoderConfig.for_generator(
    module.config, config.training.space
  )
  for name in ("batch_size", "look_batch_size"):
    shard(np.zeros(getattr(config.training, name)), num_devices=len(devices))
  description = {
    "kind": KIND,
    "format": FORMAT,
    "version": __version__,
    run_folder.BASE_DIGEST: digest,
    "encoder": encoder_config.to_dict(),
    "settings": json.loads(json.dumps(dataclasses.asdict(config))),
  }
  with stopping_gently() as stop, contextlib.ExitStack() as held:
    held.enter_context(locks.hold(out))
    path = out / CONFIG_FILE
    if path.exists():
      run_folder.check_same(path, _read_config(out), description, _FREE)
    out.mkdir(parents=True, exist_ok=True)
    run_folder.write_json(path, description)
    log(
      f"training an encoder of {_numbers(encoder_config):,} numbers in {out}; "
      f"{devices_lib.described(devices)}"
    )
    training = Training(
      out, config.training, encoder_config, generator, networks, devices
    )
    variables = training.run(stop)
    quality = quality_lib.measure(
      Network(variables, training.encoder),
      generator,
      training.metric,
      config.training,
      lpips=networks.get("lpips"),
      stop=stop,
    )
    quality_lib.draw(
      out / PICTURE_FILE,
      Network(variables, training.encoder),
      generator,
      config.training,
      base=digest,
    )
    save_encoder(
      out,
      encoder_config,
      variables,
      base_digest=digest,
      source={
        "training": dataclasses.asdict(config.training),
        "version": __version__,
      },
      quality=quality,
    )
    run_folder.write_json(out / QUALITY_FILE, quality)
    if not config.keep_samples:
      training.forget_samples()
  return quality


def describe(quality: dict[str, Any], out: str | os.PathLike) -> str:
  """The results of a training as text, and the encoder's folder."""
  lines = [
    f"{quality['latents']} latents that no step saw".ljust(36)
    + "".join(f"{title:>10}" for title in ("explained", "LPIPS", "PSNR"))
  ]
  for name, row in quality["rows"].items():
    lines.append(
      f"{name:<36}"
      + f"{row['explained']:>10.3f}"
      + ("         -" if row.get("lpips") is None else f"{row['lpips']:>10.4f}")
      + f"{row['psnr']:>10.2f}"
    )
  lines.append(str(pathlib.Path(out)))
  return "\n".join(lines)


def _numbers(config: EncoderConfig) -> int:
  return sum(
    leaf.size for leaf in jax.tree.leaves(abstract_variables(config)["params"])
  )


def _networks(config: TrainEncoderConfig) -> dict[str, Network]:
  found = {}
  training = config.training
  if config.lpips:
    found["lpips"] = lpips_lib.load_lpips(config.lpips)
  if config.identity and training.identity_weight:
    found["identity"] = identity_lib.load_identity(config.identity)
  return found


def _read_config(out: pathlib.Path) -> dict[str, Any]:
  data = (
    run_folder.read_json(out / CONFIG_FILE)
    if (out / CONFIG_FILE).exists()
    else {}
  )
  if data.get("kind") != KIND or data.get("format") != FORMAT:
    raise UserError(
      f"{out}: is not the folder of an encoder's training; choose another --out"
    )
  return data


class Training:
  """The steps of a training, starting from the last saved state.

  Attributes:
    encoder: the encoder's module.
    metric: the metric of W, available once `run` has started.
  """

  def __init__(
    self,
    out: pathlib.Path,
    config: EncoderTrainingConfig,
    encoder: EncoderConfig,
    generator: Network,
    networks: dict[str, Network],
    devices: tuple[jax.Device, ...],
  ):
    """Prepares the training.

    Args:
      out: the training's folder.
      config: the training's settings.
      encoder: sizes of the encoder.
      generator: the generator, which makes the training pictures.
      networks: "lpips" and "identity", if the loss uses them.
      devices: the devices to use.
    """
    self.encoder = Encoder(encoder)
    self.metric: Any = None
    self._out, self._config, self._sizes = out, config, encoder
    self._generator, self._networks = generator, networks
    self._devices = devices
    seen = config.steps * config.batch_size
    seen += config.look_steps * config.look_batch_size
    self._samples = Samples(
      generator,
      encoder,
      config,
      devices,
      out / SAMPLES_FOLDER if seen > config.samples else None,
    )

  def run(self, stop: StopRequest) -> dict[str, Any]:
    """Trains to the end; returns the averaged variables, on the host.

    Raises: Interrupted: `stop` was requested; the state is saved.
    """
    self.metric = self._measured(stop)
    start = self._start()
    saved = states.load_state(self._out / STATE_FOLDER, start)
    state = saved.state if saved else start
    seconds = saved.seconds if saved else 0.0
    state = self._train(state, seconds, stop)
    return {
      "params": state.trainable["average"],
      "buffers": {
        "mean": np.asarray(self.metric.mean),
        "scale": np.asarray(self.metric.scale),
      },
    }

  def forget_samples(self):
    """Removes the pictures, which may be many."""
    for path in (self._out / SAMPLES_FOLDER).glob("*.npy"):
      path.unlink()

  def _measured(self, stop: StopRequest) -> metric_lib.WMetric:
    """The metric of W, measured once."""
    path = self._out / METRIC_FILE
    if path.exists():
      arrays = read_npz(path, most_bytes=2**32)
      return metric_lib.WMetric(
        **{name: jnp.asarray(arrays[name]) for name in arrays}
      )
    found = metric_lib.estimate(
      self._generator, self._config, self._sizes.rows, self._devices, stop
    )
    arrays: Any = jax.tree.map(np.asarray, vars(found))
    with replacing(path) as file:
      np.savez(file, **arrays)
    return found

  def _start(self) -> TrainState:
    side = self._sizes.resolution

    @jax.jit  # one program; by themselves, its operations are a hundred
    def start(key: jax.Array) -> TrainState:
      params = self.encoder.init(
        key, jnp.zeros((1, side, side, 4)), jnp.zeros((1, 25)), method="look"
      )["params"]
      return TrainState(
        jnp.zeros((), jnp.int32),
        {"params": params, "average": params},
        optimizer(self._config).init(params),
      )

    return start(jax.random.key(self._config.seed))

  def _train(
    self, state: TrainState, seconds: float, stop: StopRequest
  ) -> TrainState:
    config, done = self._config, int(state.step)
    progress = Progress("encoder", config.all_steps, "steps", start=done)
    everywhere = lambda tree: devices_lib.replicate(tree, self._devices)
    state, metric = everywhere(state), everywhere(self.metric)
    compares = compares_pictures(
      config, self._networks.get("lpips"), self._networks.get("identity")
    )
    constant = everywhere(
      (self._generator, self._networks) if compares else (None, {})
    )
    step = make_step(self.encoder, config, self._devices)
    first_look = make_first_look(self.encoder, config, self._devices)
    began = time.monotonic() - seconds
    with MetricsLog(self._out, step=done) as metrics:
      for again, end in ((False, config.steps), (True, config.all_steps)):
        if done >= end:
          continue
        first = True
        while done < end:
          batch = self._batch(done)
          with compiling(progress.title) if first else contextlib.nullcontext():
            if again:
              batch = self._looked_at(batch, *first_look(state, metric, batch))
            state, terms = jax.block_until_ready(
              step(state, metric, *constant, batch)
            )
          first = False
          done += 1
          if done % config.log_every == 0 or done == config.all_steps:
            terms = {
              name: float(term)
              for name, term in devices_lib.first(terms).items()
            }
            if not np.isfinite(list(terms.values())).all():
              raise UserError(
                f"{self._out}: step {done} is not finite; try a lower "
                "--learning_rate"
              )
            metrics.write(done, terms)
            progress.update(
              done,
              ", ".join(f"{name} {term:.3f}" for name, term in terms.items()),
            )
          if (
            done % config.save_every == 0
            or done == config.all_steps
            or stop.signal is not None
          ):
            states.save_state(
              self._out / STATE_FOLDER,
              devices_lib.first(state),
              seconds=time.monotonic() - began,
            )
          stop.raise_if_wanted(
            f"stopped at step {done} of {config.all_steps}; the same command "
            "with --resume continues"
          )
    return devices_lib.first(state)

  def _batch(self, step: int) -> Any:
    """The batch of a step, on the devices."""
    config = self._config
    again = step >= config.steps
    size = config.look_batch_size if again else config.batch_size
    numbers = ShuffledBatches(
      size=config.samples, batch_size=size, seed=config.seed + again
    ).at(step - again * config.steps)
    pictures, latents = self._samples.fetch(numbers)
    keys = jax.random.split(key_of(config, _STREAM, step), size)
    return self._spread(
      EncoderBatch(
        pictures, latents.ws, latents.c, np.asarray(jax.random.key_data(keys))
      )
    )

  def _looked_at(self, batch: Any, ws: Any, c: Any) -> Any:
    """The batch with the first look's result and its picture."""
    gather = lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[2:])
    before = gather(ws)
    render = self._samples.draw(Latents(before, gather(c)))
    return batch.replace(before=ws, render=self._spread(render))

  def _spread(self, tree: Any) -> Any:
    return devices_lib.scatter(
      shard(tree, num_devices=len(self._devices)), self._devices
    )
