"""Trains the demo's prior: first on points of space, then on pictures.

Pictures alone teach a volume fog; points of known density and colour teach it
surfaces, and pictures then sharpen what is seen. People are drawn as they are
needed, so no two steps see the same ones.
"""

import dataclasses
import functools
import os
import pathlib
from typing import Any, Callable, Dict, Tuple, Union

import chex
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.config import MAX_SIZE, ConfigError, setting
from my3dgen_jax.demo import people, points, prior, render
from my3dgen_jax.losses.reconstruction import block_means
from my3dgen_jax.models.checkpoint import save_generator
from my3dgen_jax.models.generator import Generator, init_variables
from my3dgen_jax.ops.resize import resize_bilinear
from my3dgen_jax.training import checkpoint, projection
from my3dgen_jax.training.interrupts import StopRequest, stopping_gently
from my3dgen_jax.training.logs import MetricsLog
from my3dgen_jax.training.progress import Progress
from my3dgen_jax.training.state import TrainState
from my3dgen_jax.types import Network, RenderOutput

STATE_FOLDER = "state"
GENERATOR_FOLDER = "generator"
_MAPPING_RATE = 50.0  # the mapping's weights carry a multiplier of 0.01
_DENSITY_SCALE = 10.0  # of errors of raw density that are large


@dataclasses.dataclass(frozen=True)
class PretrainConfig:
  """How the prior is trained."""

  point_steps: int = setting(4000, "Steps on points of space.")
  image_steps: int = setting(30_000, "Steps on pictures and points.")
  point_people: int = setting(8, "People a step on points.")
  image_people: int = setting(8, "People a step on pictures.")
  points: int = setting(2560, "Points a person, a multiple of 5.")
  point_rate: float = setting(0.02, "Peak learning rate on points.")
  image_rate: float = setting(0.004, "Peak learning rate on pictures.")
  point_weight: float = setting(0.1, "Of points beside pictures.")
  average: float = setting(0.999, "Decay of the average of the weights.")
  w_samples: int = setting(20_000, "Samples for the mean of W.")
  save_every: int = setting(500, "Steps between saved states and sheets.")
  log_every: int = setting(50, "Steps between logged ones.")
  seed: int = setting(0, "Of weights and people.")

  def validate(self) -> "PretrainConfig":
    """Checks every field; raises ConfigError that names it."""
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      low = 0 if field.name in ("point_steps", "image_steps", "seed",
                                "point_weight", "average") else 1e-9
      if not low <= value < MAX_SIZE * 100:
        raise ConfigError(f"{field.name}: expected a number "
                          f"{'>= 0' if low == 0 else '> 0'}, got {value}")
    if self.points % 5:
      raise ConfigError(f"points: expected a multiple of 5, got {self.points}")
    return self

  @property
  def steps(self) -> int:
    return self.point_steps + self.image_steps


@flax.struct.dataclass
class Batch:
  """People and what is known of them.

  Attributes:
    z: [N, z_dim].
    field: points of each, [N, M, ...].
    c: [N, 25], cameras; None: no pictures.
    rendering: from them, or None.
  """

  z: chex.Array
  field: points.FieldPoints
  c: Any = None
  rendering: Any = None


@functools.partial(jax.jit, static_argnames=("count", "num_points", "side"))
def draw_batch(key: chex.PRNGKey, *, count: int, num_points: int,
               side: int = 0) -> Batch:
  """Draws people without marks.

  Args:
    key: of all of it.
    count: N people.
    num_points: of each.
    side: of the pictures, pixels; 0: none.
  """
  keys = jax.random.split(key, 4)
  split = lambda key: jax.random.split(key, count)
  person = jax.vmap(lambda key: people.sample_person(key, kinds=()))(
      split(keys[0]))
  field = jax.lax.map(
      lambda one: points.field_points(one[0], one[1], num_points),
      (split(keys[1]), person))
  batch = Batch(z=prior.latents(keys[2], person), field=field)
  if not side:
    return batch
  c = jax.vmap(people.sample_camera)(split(keys[3]))
  return batch.replace(c=c, rendering=render.render(person, c,
                                                    resolution=side))


def point_loss(generator: Network, planes: chex.Array,
               field: points.FieldPoints) -> jax.Array:
  """How far density and colour are off at points, a mean."""
  found = generator(planes, field.points, method="query")
  error = jnp.abs(found.sigma[..., 0] - field.density) / _DENSITY_SCALE
  # Far inside and far outside it does not matter by how much.
  density = jnp.mean(jnp.where(error < 1, jnp.square(error), 2 * error - 1))
  colour = found.rgb[..., :3] * 2 - 1 - field.colour
  visible = field.weight[..., None]
  return density + 4 * jnp.sum(jnp.abs(colour) * visible) / (
      3 * jnp.maximum(jnp.sum(visible), 1))


def image_loss(output: RenderOutput,
               rendering: render.Rendering) -> jax.Array:
  """How far pictures are off: pixels, edges, and coarser versions."""
  photo = rendering.image
  small = resize_bilinear(photo, *output.image_raw.shape[1:3])
  total = _picture_distance(output.image, photo) + _picture_distance(
      output.image_raw, small)
  depth = resize_bilinear(rendering.depth, *output.image_depth.shape[1:3])
  return total + jnp.mean(jnp.abs(output.image_depth - depth))


def _picture_distance(x: chex.Array, y: chex.Array) -> jax.Array:
  """Charbonnier's distance, of edges too, at three scales."""
  smooth = lambda difference: jnp.mean(jnp.sqrt(jnp.square(difference) + 1e-4))
  total = 0.5 * jnp.mean(jnp.square(x - y))
  for _ in range(3):
    difference = x - y
    total += smooth(difference)
    total += smooth(jnp.diff(difference, axis=1))
    total += smooth(jnp.diff(difference, axis=2))
    x, y = (block_means(image, image.shape[1] // 2) for image in (x, y))
  return total


def optimizer(config: PretrainConfig) -> Any:
  """Adam, a cosine for each stage, the mapping network faster."""
  # Only whoever trains needs it.
  import optax  # pylint: disable=import-outside-toplevel

  def cosine(peak, steps):
    steps = max(steps, 10)
    return optax.warmup_cosine_decay_schedule(
        0.0, peak, steps // 20, steps, peak / 100)

  rate = optax.join_schedules(
      [cosine(config.point_rate, config.point_steps),
       cosine(config.image_rate, config.image_steps)], [config.point_steps])
  faster = lambda updates: {**updates, "backbone": {
      **updates["backbone"], "mapping": jax.tree.map(
          lambda leaf: _MAPPING_RATE * leaf,
          updates["backbone"]["mapping"])}}
  return optax.chain(
      optax.clip_by_global_norm(10.0),
      optax.scale_by_adam(b1=0.9, b2=0.99, eps=1e-8),
      optax.stateless(lambda updates, _: faster(updates)),
      optax.scale_by_learning_rate(rate))


def make_step(config: PretrainConfig) -> Callable[..., Tuple[TrainState,
                                                             Dict[str, Any]]]:
  """A compiled step: (state, buffers, batch) -> (state, losses)."""
  import optax  # pylint: disable=import-outside-toplevel
  transform = optimizer(config)

  def losses(params, buffers, batch):
    generator = Network({"params": params, "buffers": buffers},
                        Generator(prior.MODEL))
    front = people.face_camera(0.0, 0.0)[None]
    ws = generator(batch.z, front, method="mapping")
    planes = generator(ws, method="planes")
    terms = {"points": point_loss(generator, planes, batch.field)}
    if batch.rendering is None:
      return terms["points"], terms
    terms["images"] = image_loss(
        generator(planes, ws, batch.c, method="render_planes"),
        batch.rendering)
    return terms["images"] + config.point_weight * terms["points"], terms

  @functools.partial(jax.jit, donate_argnums=0)
  def step(state, buffers, batch):
    params, average = state.trainable["params"], state.trainable["average"]
    grads, terms = jax.grad(losses, has_aux=True)(params, buffers, batch)
    updates, opt_state = transform.update(grads, state.opt_state, params)
    params = optax.apply_updates(params, updates)
    # Early on the average is of few steps, not of the start.
    decay = jnp.minimum(config.average, (state.step + 1) / (state.step + 10))
    average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, average,
                           params)
    return TrainState(state.step + 1, {"params": params, "average": average},
                      opt_state), terms

  return step


def pretrain(folder: Union[str, os.PathLike], config: PretrainConfig):
  """Trains, from the state in the folder if there is one.

  Args:
    folder: of the training: `state/`, `metrics.jsonl`, `sheet_*.png`, and at
      the end `generator/`, a checkpoint as a converted one is.
    config: of the training.

  Raises:
    Interrupted: SIGTERM or SIGINT; the state is saved.
    CheckpointError: a state cannot be read or written.
  """
  config.validate()
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  variables = init_variables(jax.random.key(config.seed), prior.MODEL)
  params, buffers = variables["params"], variables["buffers"]
  start = TrainState(jnp.zeros((), jnp.int32),
                     {"params": params, "average": params},
                     optimizer(config).init(params))
  saved = checkpoint.load_state(folder / STATE_FOLDER, start)
  state = jax.tree.map(jnp.array, saved.state if saved else start)
  with stopping_gently() as stop:
    state = _train(folder, config, state, buffers, stop)
  variables = {"params": state.trainable["average"], "buffers": buffers}
  save_generator(
      folder / GENERATOR_FOLDER, prior.MODEL,
      with_w_average(jax.random.key(config.seed), variables,
                     count=config.w_samples),
      source={"demo": dataclasses.asdict(config)}, overwrite=True)


def _train(folder: pathlib.Path, config: PretrainConfig, state: TrainState,
           buffers: Any, stop: StopRequest) -> TrainState:
  """The loop of `pretrain`."""
  step = make_step(config)
  first = int(state.step)
  progress = Progress("pretraining", config.steps, "steps", start=first)

  def batch_of(number):
    key = jax.random.fold_in(jax.random.key(config.seed + 1), number)
    if number < config.point_steps:
      return draw_batch(key, count=config.point_people,
                        num_points=config.points)
    return draw_batch(key, count=config.image_people,
                      num_points=config.points,
                      side=prior.MODEL.img_resolution)

  with MetricsLog(folder, step=first) as log:
    for done in range(first + 1, config.steps + 1):
      state, terms = step(state, buffers, batch_of(done - 1))
      if done % config.log_every == 0 or done == config.steps:
        terms = {name: float(term) for name, term in terms.items()}
        log.write(done, terms)
        progress.update(done, ", ".join(
            f"{name} {term:.4f}" for name, term in terms.items()))
      last = done == config.steps or stop.signal is not None
      if done % config.save_every == 0 or last:
        checkpoint.save_state(folder / STATE_FOLDER,
                              jax.tree.map(np.asarray, state))
        # As many people and points as a step has: no program is new.
        write_sheet(folder / f"sheet_{done:06d}.png", Network(
            {"params": state.trainable["average"], "buffers": buffers},
            Generator(prior.MODEL)), count=config.image_people,
                    num_points=config.points)
      stop.raise_if_wanted(f"stopped at step {done} of {config.steps}; the "
                           "same command goes on")
  return state


def with_w_average(key: chex.PRNGKey, variables: Any, *, count: int) -> Any:
  """The variables with the mean of W, which truncation moves towards."""
  mean = projection.w_statistics(
      key, Network(variables, Generator(prior.MODEL)), count=count).mean
  buffers = variables["buffers"]
  backbone = {**buffers["backbone"], "mapping": {
      **buffers["backbone"]["mapping"], "w_avg": mean}}
  return {**variables, "buffers": {**buffers, "backbone": backbone}}


@jax.jit
def _show(generator: Network, z: chex.Array, c: chex.Array) -> jax.Array:
  ws = generator(z, people.face_camera(0.0, 0.0)[None], method="mapping")
  return generator(ws, c, method="synthesis").image


def write_sheet(path: Union[str, os.PathLike], generator: Network, *,
                count: int, num_points: int, seed: int = 10_000):
  """Writes a picture: people no step has seen, as they are and as learnt.

  Args:
    path: of the PNG: a row of photos, one of the generator's, one turned.
    generator: of the prior.
    count: people.
    num_points: drawn beside the pictures, and not used.
    seed: of the people.
  """
  # Needs Pillow, which training does not.
  from my3dgen_jax.data import images  # pylint: disable=import-outside-toplevel
  batch = draw_batch(jax.random.key(seed), count=count,
                     num_points=num_points, side=prior.MODEL.img_resolution)
  turned = jnp.repeat(people.face_camera(0.35, 0.0)[None], count, axis=0)
  rows = [batch.rendering.image, _show(generator, batch.z, batch.c),
          _show(generator, batch.z, turned)]
  images.write_png(path, images.make_grid(
      [[images.to_uint8(image) for image in row] for row in rows]))
