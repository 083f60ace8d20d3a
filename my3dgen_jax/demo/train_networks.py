"""Trains the demo's judges: identity, perceptual similarity, age and smile.

First comes an identity network with ArcFace's margin: each person is a class,
and so is their twin, who has other marks. Here a person's traits are known, so
a class center is a learned linear map of them: what is learned from one person
applies to all, and a fraction of the steps is enough. Next comes a small
feature stack that predicts everything about a photo: identity, light, mood,
age, marks. LPIPS compares its features, and the part of its head for smile and
age is kept. Finally, all are measured on held-out people.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.demo import attributes, gallery
from my3dgen_jax.demo.judges.augmentation import augmented
from my3dgen_jax.demo.judges.feature_task import feature_task
from my3dgen_jax.demo.judges.identity_task import IDENTITY, identity_task
from my3dgen_jax.demo.judges.quality import measure
from my3dgen_jax.demo.judges.settings import NetworksConfig
from my3dgen_jax.demo.judges.task import Task
from my3dgen_jax.jobs import devices
from my3dgen_jax.jobs.interrupts import stopping_gently, StopRequest
from my3dgen_jax.jobs.logs import MetricsLog
from my3dgen_jax.jobs.progress import Progress
from my3dgen_jax.losses import backbones, identity, lpips
from my3dgen_jax.training import checkpoint, run_folder
from my3dgen_jax.training.state import TrainState

FOLDERS = ("identity", "lpips", "attributes")
QUALITY_FILE = "quality.json"


def optimizer(rate: float, steps: int) -> Any:
  """Adam with a cosine schedule, after a short warmup."""
  # Imported here: only training needs it.
  import optax  # pylint: disable=import-outside-toplevel

  steps = max(steps, 10)
  return optax.chain(
    optax.clip_by_global_norm(5.0),
    optax.adam(
      optax.warmup_cosine_decay_schedule(
        0.0, rate, steps // 20, steps, rate / 100
      )
    ),
  )


def _make_step(
  config: NetworksConfig, task: Task
) -> Callable[..., tuple[TrainState, dict[str, Any]]]:
  """A compiled step: (state, images, targets) -> (state, terms).

  Returns: a function of arrays with a leading axis of devices.
  """
  import optax  # pylint: disable=import-outside-toplevel

  transform = optimizer(task.rate, task.steps)

  def step(state, images, targets):
    variables = state.trainable
    key = jax.random.fold_in(
      jax.random.fold_in(jax.random.key(config.seed), state.step),
      jax.lax.axis_index(devices.AXIS),
    )
    images = augmented(key, images)
    share = state.step / task.steps
    slope = jax.grad(
      lambda params: task.loss(
        {**variables, "params": params}, images, targets, share
      ),
      has_aux=True,
    )
    grads, (stats, terms) = jax.lax.pmean(
      slope(variables["params"]), devices.AXIS
    )
    updates, opt_state = transform.update(
      grads, state.opt_state, variables["params"]
    )
    params = optax.apply_updates(variables["params"], updates)
    return TrainState(
      state.step + 1, {"params": params, "batch_stats": stats}, opt_state
    ), terms

  return devices.spread(step, donate=(0,))


def train(folder: str | os.PathLike, config: NetworksConfig) -> dict[str, Any]:
  """Draws, trains and measures; resumes from the folder's contents.

  Args:
    folder: the training's folder: `people*/`, `state_*/`, `metrics.jsonl`, and
      finally `identity/`, `lpips/`, `attributes/` and `quality.json`.
    config: the training's settings.

  Returns: the contents of `quality.json`.
  Raises:
    Interrupted: SIGTERM or SIGINT; the work done is saved.
    UserError: the folder contains a training with other settings.
    CheckpointError: a state or the weights cannot be read or written.
  """
  config.validate()
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  source = {"demo": dataclasses.asdict(config)}
  with stopping_gently() as stop:
    photos = gallery.open_gallery(folder / "people", config.plan, stop)
    tasks = (identity_task(config, photos), feature_task(config, photos))
    starts = [_start(folder, config, task) for task in tasks]
    with MetricsLog(folder, step=sum(int(s.step) for s in starts)) as log:
      before, ends = 0, []
      for task, state in zip(tasks, starts):
        ends.append(
          _train(folder, config, task, state, photos.images, stop, log, before)
        )
        before += task.steps
    variables = _kept(*ends)
    identity.save_identity(
      folder / "identity",
      IDENTITY,
      variables["identity"],
      source=source,
      overwrite=True,
    )
    lpips.save_lpips(
      folder / "lpips",
      attributes.BACKBONE,
      variables["lpips"],
      source=source,
      overwrite=True,
    )
    attributes.save_attributes(
      folder / "attributes",
      variables["attributes"],
      source=source,
      overwrite=True,
    )
    quality = measure(
      folder,
      [
        gallery.open_gallery(folder / name, plan, stop, title=name)
        for name, plan in zip(
          ("people_test", "people_kinds"), config.test_plans
        )
      ],
    )
  run_folder.write_json(folder / QUALITY_FILE, quality)
  return quality


def _start(
  folder: pathlib.Path, config: NetworksConfig, task: Task
) -> TrainState:
  """The state to start or resume a task's training from, on the host."""
  variables = jax.jit(task.init)(jax.random.key(config.seed))
  start = TrainState(
    jnp.zeros((), jnp.int32),
    variables,
    optimizer(task.rate, task.steps).init(variables["params"]),
  )
  saved = checkpoint.load_state(folder / f"state_{task.name}", start)
  return saved.state if saved else start


def _train(
  folder: pathlib.Path,
  config: NetworksConfig,
  task: Task,
  state: TrainState,
  images: np.ndarray,
  stop: StopRequest,
  log: MetricsLog,
  before: int,
) -> Any:
  """Trains one network.

  Args:
    folder: the training's folder.
    config: the training's settings.
    task: the task to train.
    state: the state to resume from.
    images: [N, S, S, 3] uint8, the training photos.
    stop: request to stop, checked after every step.
    log: the log to write to.
    before: number of the log's steps that earlier tasks took.

  Returns: the network's variables, on the host.
  """
  done = int(state.step)
  progress = Progress(f"training {task.name}", task.steps, "steps", start=done)
  state = devices.replicate(state, devices.local_devices())
  step = _make_step(config, task)
  split = lambda x: x.reshape(jax.local_device_count(), -1, *x.shape[1:])
  while done < task.steps:
    chosen = _chosen(config, done, images.shape[0])
    state, terms = step(
      state, split(images[chosen]), split(task.targets[chosen])
    )
    done += 1
    if done % config.log_every == 0 or done == task.steps:
      terms = {name: float(term) for name, term in devices.first(terms).items()}
      log.write(before + done, terms)
      progress.update(
        done, ", ".join(f"{name} {term:.4f}" for name, term in terms.items())
      )
    if (
      done % config.save_every == 0
      or done == task.steps
      or stop.signal is not None
    ):
      checkpoint.save_state(folder / f"state_{task.name}", devices.first(state))
    stop.raise_if_wanted(
      f"stopped at step {done} of {task.steps} of "
      f"{task.name}; the same command resumes"
    )
  return devices.first(state).trainable


def _chosen(config: NetworksConfig, step: int, count: int) -> np.ndarray:
  """The photos of a step; every photo is used once before any is repeated."""
  turn, place = divmod(step, count // config.batch)
  order = np.random.default_rng((config.seed, turn)).permutation(count)
  return order[place * config.batch : (place + 1) * config.batch]


def _kept(judge: Any, features: Any) -> dict[str, Any]:
  """Variables of the networks in `FOLDERS`, from those of the tasks."""
  channels = backbones.NETWORKS[attributes.BACKBONE].tap_channels()
  # There are no human judgments of procedural photos: layers count equally.
  linear = {
    f"lin{i}": np.full(size, 1 / len(channels), np.float32)
    for i, size in enumerate(channels)
  }
  return {
    "identity": {
      "params": judge["params"]["network"],
      "batch_stats": judge["batch_stats"],
    },
    "lpips": {"params": {"network": features["params"]["backbone"], **linear}},
    "attributes": attributes.of_training(features["params"]),
  }
