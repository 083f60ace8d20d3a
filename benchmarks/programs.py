"""The programs that take long to compile, as functions with abstract arguments.

Each is the program of one device. Nothing is computed to make them: arguments
are `jax.ShapeDtypeStruct`s, so a program of full size can be lowered and
compiled for a device that does not exist.
"""

import dataclasses
import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from my3dgen_jax import latents, lora
from my3dgen_jax.config import (
  GeneratorConfig,
  HullFitConfig,
  LoraConfig,
  LossConfig,
  PivotConfig,
  ProjectionConfig,
  TuningConfig,
)
from my3dgen_jax.jobs.devices import AXIS
from my3dgen_jax.losses.lpips import abstract_variables as abstract_lpips
from my3dgen_jax.losses.lpips import Lpips
from my3dgen_jax.models.generator import abstract_variables, Generator
from my3dgen_jax.ops.rendering import renderer
from my3dgen_jax.training import hull_fit, pivotal, projection
from my3dgen_jax.training import state as state_lib
from my3dgen_jax.training.objective import TuningBatch
from my3dgen_jax.training.photo_fits import Targets
from my3dgen_jax.training.step import tuning_step
from my3dgen_jax.types import Network

_ANCHORS = 50


class Program(NamedTuple):
  """A program of one device.

  Attributes:
    function: a function of arrays.
    arguments: the arguments' shapes and dtypes.
  """

  function: Callable[..., Any]
  arguments: tuple[Any, ...]


def program(
  name: str, config: GeneratorConfig, *, batch: int, backbone: str = "alex"
) -> Program:
  """A program by its name, a key of `PROGRAMS`.

  Args:
    name: the program's name.
    config: the generator's config, with dtype and precision.
    batch: photos or images at a time.
    backbone: LPIPS's backbone, which computes in the generator's precision.
  """
  return PROGRAMS[name](config, batch, backbone)


def f32(*shape: int) -> jax.ShapeDtypeStruct:
  """Shape and dtype of a float32 array."""
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def _lpips(config: GeneratorConfig, backbone: str) -> Network:
  return Network(
    abstract_lpips(backbone),
    Lpips(backbone, dtype=config.dtype, precision=config.precision),
  )


def _generator(config: GeneratorConfig) -> Network:
  return Network(abstract_variables(config), Generator(config))


def _forward(config, batch, backbone):
  del backbone
  return Program(
    functools.partial(Generator(config).apply, method="synthesis"),
    (
      abstract_variables(config),
      f32(batch, config.num_ws, config.w_dim),
      f32(batch, 25),
    ),
  )


def _render(config, batch, backbone):
  del backbone
  side = config.backbone.resolution
  return Program(
    functools.partial(Generator(config).apply, method="render_planes"),
    (
      abstract_variables(config),
      f32(1, 3, side, side, config.backbone.plane_channels),
      f32(1, config.num_ws, config.w_dim),
      f32(batch, 25),
    ),
  )


def _on_one_device(step: Callable[..., Any]) -> Callable[..., Any]:
  """A step that averages over devices, with a single device."""
  add, drop = (
    functools.partial(jax.tree.map, function)
    for function in (lambda x: x[None], lambda x: x[0])
  )
  return lambda *arguments: drop(
    jax.vmap(step, axis_name=AXIS)(*add(arguments))
  )


def _tuning(config, batch, backbone, *, lora_config, people=1):
  tuning = TuningConfig(batch_size=batch)
  trainable, frozen = jax.eval_shape(
    lambda base: state_lib.split(jax.random.key(0), config, base, lora_config),
    abstract_variables(config),
  )
  state = jax.eval_shape(
    lambda trainable: state_lib.init_state(trainable, tuning), trainable
  )
  side = config.img_resolution
  photos = TuningBatch(
    image=f32(1, batch, side, side, 3),
    c=f32(1, batch, 25),
    ws=f32(1, batch, config.num_ws, config.w_dim),
    key=jax.ShapeDtypeStruct((1, batch, 2), jnp.uint32),
  )
  step = functools.partial(
    tuning_step,
    config=config,
    tuning=tuning,
    loss=LossConfig(),
    lora_config=lora_config,
  )
  if people > 1:
    step = jax.vmap(step, in_axes=(0, None, None, 0))
    state, photos = _of_people((state, photos), people)
  return Program(
    _on_one_device(step),
    (state, frozen, {"lpips": _lpips(config, backbone)}, photos),
  )


def _of_people(tree, people):
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct((people, *leaf.shape), leaf.dtype), tree
  )


def _stack(config, batch, backbone):
  """Another person in each image of a batch."""
  del backbone
  lora_config = LoraConfig()
  own = _of_people(
    (
      lora.abstract(config, lora_config),
      f32(1, config.num_ws, config.w_dim),
      f32(1, 25),
    ),
    batch,
  )

  def of_one(base, adapter, ws, c):
    return Generator(config, lora_config).apply(
      lora.merge_collections(base, adapter), ws, c, method="synthesis"
    )

  return Program(
    jax.vmap(of_one, in_axes=(None, 0, 0, 0)),
    (abstract_variables(config), *own),
  )


def _targets(config, batch):
  side = config.img_resolution
  return Targets(
    image=f32(batch, side, side, 3),
    c=f32(batch, 25),
    key=jax.ShapeDtypeStruct((batch, 2), jnp.uint32),
    ws=f32(batch, config.num_ws, config.w_dim),
  )


def _projection(config, batch, backbone):
  generator = _generator(config)
  projector = projection.Projector(ProjectionConfig(), jax.devices()[:1])
  statistics = projection.WStatistics(f32(config.w_dim), f32())
  state = jax.eval_shape(
    lambda generator, statistics: projector.init(
      generator, statistics, photos=batch
    ),
    generator,
    statistics,
  )
  return Program(
    projector.step_on_device,
    (
      generator,
      _lpips(config, backbone),
      _targets(config, batch).replace(ws=None),
      state,
      statistics,
    ),
  )


def _hull_fit(config, batch, backbone):
  settings = HullFitConfig()
  hull = jax.eval_shape(
    lambda ws: latents.Hull.of(ws, beta=settings.beta),
    f32(_ANCHORS, config.num_ws, config.w_dim),
  )
  generator, lpips = _generator(config), _lpips(config, backbone)
  fit = hull_fit.HullFit(
    config=settings,
    hull=hull,
    generator=generator,
    fingerprint="",
    lpips=lpips,
    devices=jax.devices()[:1],
  )
  targets = _targets(config, batch).replace(ws=None)
  return Program(
    functools.partial(
      hull_fit.step_on_device, config=settings, degradation=None
    ),
    (generator, lpips, hull, targets, jax.eval_shape(fit.init, targets)),
  )


def _pivotal(config, batch, backbone):
  settings = PivotConfig()
  lora_config = LoraConfig(rank=settings.rank, alpha=float(settings.rank))
  trainable, frozen = jax.eval_shape(
    lambda base: state_lib.split(jax.random.key(0), config, base, lora_config),
    abstract_variables(config),
  )
  return Program(
    functools.partial(
      pivotal.step_on_device,
      config=settings,
      model=config,
      lora_config=lora_config,
    ),
    (
      frozen,
      _lpips(config, backbone),
      _targets(config, batch),
      jax.eval_shape(
        functools.partial(pivotal.init_state, config=settings, count=batch),
        trainable,
      ),
    ),
  )


PROGRAMS: dict[str, Callable[..., Program]] = {
  "forward": _forward,
  "render": _render,
  "tuning": functools.partial(_tuning, lora_config=LoraConfig()),
  "tuning_4_people": functools.partial(
    _tuning, lora_config=LoraConfig(), people=4
  ),
  "stack": _stack,
  "full": functools.partial(_tuning, lora_config=None),
  "projection": _projection,
  "pivotal": _pivotal,
  "hull_fit": _hull_fit,
}


def counted(text: str) -> int:
  """Number of operations in a lowered program, given as StableHLO text."""
  return text.count("stablehlo.")


def grouped_convolutions(text: str) -> int:
  """Number of convolutions with a kernel per sample in a lowered program."""
  return len(re.findall(r"(?:feature|batch)_group_count = (?!1\b)", text))


def lowered(one: Program, platform: str = "cuda") -> Any:
  """The program lowered for a platform, which need not be available."""
  return (
    jax.jit(one.function)
    .trace(*one.arguments)
    .lower(lowering_platforms=(platform,))
  )


def with_numbers(
  config: GeneratorConfig, dtype: str, precision: str
) -> GeneratorConfig:
  """The config with another dtype and precision."""
  return dataclasses.replace(config, dtype=dtype, precision=precision)


def for_accelerator(config: GeneratorConfig) -> GeneratorConfig:
  """The config as used on an accelerator, which need not be available."""
  rendering = config.rendering
  return dataclasses.replace(
    config,
    rendering=dataclasses.replace(
      rendering, ray_chunk=rendering.ray_chunk or renderer.ACCELERATOR_CHUNK
    ),
  )
