"""Trains the demo's prior: on points in space, on crops, on whole pictures.

From pictures alone, a volume learns fog; points of known density and color
teach it surfaces first. Pictures then sharpen the visible parts, mostly as
crops, which cost a quarter: a crop is a picture from its own camera. People are
drawn when needed, so no two steps see the same people.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from my3dgen_jax.demo import people, prior, quality
from my3dgen_jax.demo.pretraining.batches import Batch, draw_batch
from my3dgen_jax.demo.pretraining.losses import image_loss, point_loss
from my3dgen_jax.demo.pretraining.settings import PretrainConfig, stages_of
from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.jobs import devices
from my3dgen_jax.jobs.interrupts import stopping_gently, StopRequest
from my3dgen_jax.jobs.logs import MetricsLog
from my3dgen_jax.jobs.progress import Progress
from my3dgen_jax.models.checkpoint import load_generator, save_generator
from my3dgen_jax.models.generator import Generator, init_variables
from my3dgen_jax.training import checkpoint, projection, run_folder
from my3dgen_jax.training.state import running_average, TrainState
from my3dgen_jax.types import Network

STATE_FOLDER = "state"
GENERATOR_FOLDER = "generator"
_MAPPING_RATE = 50.0  # the mapping's weights have a multiplier of 0.01
_PEOPLE = 64  # people to measure the result on
_MUON_RMS = 0.6  # RMS of a step at rate 1, about that of Adam
_SMALLEST_MATRIX = 5  # rows and columns; Adam optimizes narrower ones
# Share of a crop's side that is ignored: near its border, convolutions see
# zeros instead of the rest of the picture.
_MARGIN = 1 / 8


def model_of(part: float) -> Any:
  """The prior's architecture for pictures of a part of the frame."""
  size = int(prior.MODEL.neural_rendering_resolution * part)
  return dataclasses.replace(
    prior.MODEL,
    neural_rendering_resolution=size,
    superresolution=dataclasses.replace(
      prior.MODEL.superresolution, input_resolution=size
    ),
  )


def optimizer(config: PretrainConfig) -> Any:
  """Muon, with Adam for parameters that are not matrices; the mapping faster.

  In a trial of 300 steps on points, Muon needed 190 steps for Adam's result.
  """
  # Imported here: only training needs them.
  # pylint: disable=import-outside-toplevel
  import optax
  from optax import contrib

  def cosine(stage):
    steps = max(stage.steps, 10)
    return optax.warmup_cosine_decay_schedule(
      0.0, stage.rate, steps // 20, steps, stage.rate / 100
    )

  stages = stages_of(config)
  ends = [sum(stage.steps for stage in stages[:n]) for n in (1, 2)]
  rate = optax.join_schedules([cosine(stage) for stage in stages], ends)

  def matrix(leaf):
    if (
      leaf.ndim < 2
      or min(leaf.shape[-1], leaf.size // leaf.shape[-1]) < _SMALLEST_MATRIX
    ):
      return None
    return contrib.MuonDimensionNumbers(
      tuple(range(leaf.ndim - 1)), (leaf.ndim - 1,)
    )

  faster = lambda updates: {
    **updates,
    "backbone": {
      **updates["backbone"],
      "mapping": jax.tree.map(
        lambda leaf: _MAPPING_RATE * leaf, updates["backbone"]["mapping"]
      ),
    },
  }
  return optax.chain(
    optax.clip_by_global_norm(10.0),
    contrib.muon(
      rate,
      beta=0.95,
      adam_b1=0.9,
      adam_b2=0.99,
      consistent_rms=_MUON_RMS,
      muon_weight_dimension_numbers=lambda params: jax.tree.map(matrix, params),
    ),
    optax.stateless(lambda updates, _: faster(updates)),
  )


def make_step(
  config: PretrainConfig, part: float
) -> Callable[..., tuple[TrainState, dict[str, Any]]]:
  """A compiled step: (state, buffers, batch) -> (state, losses).

  Args:
    config: the training's settings.
    part: side of the crops, see `Stage`.

  Returns: a function of arrays with a leading axis of devices; the mean losses
    are the same on all devices.
  """
  import optax  # pylint: disable=import-outside-toplevel

  transform = optimizer(config)
  model = model_of(part) if part else prior.MODEL

  def losses(params, buffers, batch):
    generator = Network(
      {"params": params, "buffers": buffers}, Generator(model)
    )
    front = people.face_camera(0.0, 0.0)[None]
    ws = generator(batch.z, front, method="mapping")
    planes = generator(ws, method="planes")
    terms = {"points": point_loss(generator, planes, batch.field)}
    if not part:
      return terms["points"], terms
    terms["images"] = image_loss(
      generator(planes, ws, batch.c, method="render_planes"),
      batch.rendering,
      margin=_MARGIN if part < 1 else 0,
    )
    return terms["images"] + config.point_weight * terms["points"], terms

  def step(state, buffers, batch):
    params, average = state.trainable["params"], state.trainable["average"]
    grads, terms = jax.lax.pmean(
      jax.grad(losses, has_aux=True)(params, buffers, batch), devices.AXIS
    )
    updates, opt_state = transform.update(grads, state.opt_state, params)
    params = optax.apply_updates(params, updates)
    average = running_average(average, params, state.step, config.average)
    return TrainState(
      state.step + 1, {"params": params, "average": average}, opt_state
    ), terms

  return devices.spread(step, donate=(0,))


def pretrain(
  folder: str | os.PathLike,
  config: PretrainConfig,
  *,
  start_from: str | os.PathLike | None = None,
) -> dict[str, float]:
  """Trains, from the state in the folder if there is one.

  Args:
    folder: the training's folder: `state/`, `metrics.jsonl`, `sheet_*.png`, and
      finally `generator/`, in the format of converted checkpoints,
      `samples.png`, `held_out.png` and `quality.json`.
    config: the training's settings.
    start_from: folder of a generator with the initial weights; None: random
      weights. Ignored if there is a state.

  Returns: the result of `quality.measure`, as in `quality.json`.
  Raises:
    Interrupted: SIGTERM or SIGINT; the state is saved.
    CheckpointError: a state or `start_from` cannot be read or written, or
      `start_from` has another architecture.
  """
  config.validate()
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  params, buffers = _start(config, start_from)
  start = TrainState(
    jnp.zeros((), jnp.int32),
    {"params": params, "average": params},
    optimizer(config).init(params),
  )
  saved = checkpoint.load_state(folder / STATE_FOLDER, start)
  state = saved.state if saved else start
  with stopping_gently() as stop:
    state = _train(folder, config, state, buffers, stop)
  variables = with_w_average(
    jax.random.key(config.seed),
    {"params": state.trainable["average"], "buffers": buffers},
    count=config.w_samples,
  )
  save_generator(
    folder / GENERATOR_FOLDER,
    prior.MODEL,
    variables,
    source={"demo": dataclasses.asdict(config)},
    overwrite=True,
  )
  generator = Network(variables, Generator(prior.MODEL))
  quality.write_samples(folder / "samples.png", generator)
  quality.write_sheet(folder / "held_out.png", generator)
  found = quality.measure(generator, count=_PEOPLE)
  run_folder.write_json(folder / "quality.json", found)
  return found


def _start(
  config: PretrainConfig, start_from: str | os.PathLike | None
) -> tuple[Any, Any]:
  """The initial parameters, and the buffers."""
  if start_from is None:
    variables = init_variables(jax.random.key(config.seed), prior.MODEL)
  else:
    generator, variables = load_generator(start_from)
    if generator.config != prior.MODEL:
      raise CheckpointError(
        f"{start_from}: does not have the architecture of the demo's prior; "
        "give another --start_from"
      )
  return variables["params"], variables["buffers"]


def _train(
  folder: pathlib.Path,
  config: PretrainConfig,
  state: TrainState,
  buffers: Any,
  stop: StopRequest,
) -> TrainState:
  """The loop of `pretrain`."""
  done = int(state.step)
  machines = devices.local_devices()
  progress = Progress("pretraining", config.steps, "steps", start=done)
  state = devices.replicate(state, machines)
  constant = devices.replicate(buffers, machines)
  end = 0
  with MetricsLog(folder, step=done) as log:
    for stage in stages_of(config):
      end += stage.steps
      if done >= end:
        continue
      step, draw = make_step(config, stage.part), _drawing(config, stage.part)
      while done < end:
        # One program at a time: several programs on devices that share a
        # processor's threads can wait for each other forever.
        batch = jax.block_until_ready(draw(_keys(config, done)))
        state, terms = jax.block_until_ready(step(state, constant, batch))
        done += 1
        if done % config.log_every == 0 or done == config.steps:
          terms = {
            name: float(term) for name, term in devices.first(terms).items()
          }
          log.write(done, terms)
          progress.update(
            done,
            ", ".join(f"{name} {term:.4f}" for name, term in terms.items()),
          )
        if (
          done % config.save_every == 0
          or done == config.steps
          or stop.signal is not None
        ):
          kept = devices.first(state)
          checkpoint.save_state(folder / STATE_FOLDER, kept)
          quality.write_sheet(
            folder / f"sheet_{done:06d}.png",
            Network(
              {"params": kept.trainable["average"], "buffers": buffers},
              Generator(prior.MODEL),
            ),
          )
        stop.raise_if_wanted(
          f"stopped at step {done} of {config.steps}; the same command resumes"
        )
  return devices.first(state)


def _keys(config: PretrainConfig, number: int) -> chex.PRNGKey:
  """Keys of a step's people, [D, N], which do not depend on the devices."""
  key = jax.random.fold_in(jax.random.key(config.seed + 1), number)
  return jax.random.split(key, config.people).reshape(
    jax.local_device_count(), -1
  )


def _drawing(
  config: PretrainConfig, part: float
) -> Callable[[chex.PRNGKey], Batch]:
  """`draw_batch` for a stage, on all devices."""
  return devices.spread(
    functools.partial(
      draw_batch,
      num_points=config.points,
      part=part,
      side=prior.MODEL.img_resolution if part else 0,
    )
  )


def with_w_average(key: chex.PRNGKey, variables: Any, *, count: int) -> Any:
  """The variables with the mean of W, for truncation."""
  mean = projection.w_statistics(
    key, Network(variables, Generator(prior.MODEL)), count=count
  ).mean
  buffers = variables["buffers"]
  backbone = {
    **buffers["backbone"],
    "mapping": {**buffers["backbone"]["mapping"], "w_avg": mean},
  }
  return {**variables, "buffers": {**buffers, "backbone": backbone}}
