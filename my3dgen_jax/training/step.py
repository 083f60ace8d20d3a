"""One tuning step, on all devices of a machine."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from my3dgen_jax.config import (
  GeneratorConfig,
  LoraConfig,
  LossConfig,
  TuningConfig,
)
from my3dgen_jax.jobs.devices import AXIS, spread
from my3dgen_jax.training import state as state_lib
from my3dgen_jax.training.objective import objective, TuningBatch
from my3dgen_jax.training.state import TrainState
from my3dgen_jax.types import Array, Network

# (state, frozen, networks, batch) -> (state, metrics)
Step = Callable[..., tuple[TrainState, dict[str, jax.Array]]]


def make_step(
  config: GeneratorConfig,
  tuning: TuningConfig,
  loss: LossConfig,
  lora_config: LoraConfig | None,
  devices: Sequence[jax.Device],
  *,
  people: bool = False,
) -> Step:
  """Compiles `tuning_step` for devices.

  Args:
    config: the generator's config.
    tuning: optimizer, accumulation.
    loss: weights of the terms.
    lora_config: the adapter's config; None: tune the weights themselves.
    devices: the devices that share a batch.
    people: whether states and batches hold several people at a time, whose
      adapters change one base.

  Returns: a function of
    state [D, ...] (its memory is donated), frozen [D, ...],
    networks {"lpips", "identity"} [D, ...], batch [D, A, N, ...],
    that returns the state and the metrics [D], the same on all devices.
    For K `people`: state [D, K, ...], batch [D, K, A, N, ...], metrics [D, K].
  """
  # Runs whose differences do not affect a step share one program.
  alike = dataclasses.replace(
    tuning,
    **{
      name: getattr(TuningConfig, name)
      for name in (
        *("mode", "steps", "decay", "batch_size", "accumulation"),
        *("patience", "validate_every", "seed"),
      )
    },
  )
  return _make_step(config, alike, loss, lora_config, tuple(devices), people)


@functools.lru_cache(maxsize=8)
def _make_step(config, tuning, loss, lora_config, devices, people):
  step = functools.partial(
    tuning_step,
    config=config,
    tuning=tuning,
    loss=loss,
    lora_config=lora_config,
  )
  if people:
    step = jax.vmap(step, in_axes=(0, None, None, 0))
  return spread(step, devices=devices, donate=(0,))


def tuning_step(
  state: TrainState,
  frozen: Any,
  networks: dict[str, Network],
  batch: TuningBatch,
  *,
  config: GeneratorConfig,
  tuning: TuningConfig,
  loss: LossConfig,
  lora_config: LoraConfig | None,
) -> tuple[TrainState, dict[str, Array]]:
  """One device's part: its photos' gradients, averaged over all devices.

  A step whose loss or gradient is not finite changes nothing.

  Args:
    state: the trainable state, as `state.init_state` lays it out.
    frozen: the frozen part.
    networks: "lpips" and "identity", if the loss needs them.
    batch: [A, N, ...], N photos in each of A parts.
    config: see `make_step`.
    tuning: see `make_step`.
    loss: see `make_step`.
    lora_config: see `make_step`.

  Returns: the state, and metrics: "loss", its terms, "gradient" (its norm),
    "finite".
  """
  import optax  # pylint: disable=import-outside-toplevel

  # Gradients are taken with respect to the tree: gradients of a vector's slices
  # would be a sum of as many padded vectors.
  trainable = state_lib.unravel(
    state.trainable, state_lib.abstract_trainable(config, lora_config)
  )

  def mean_loss(trainable, part):
    losses, terms = objective(
      state_lib.join(config, trainable, frozen, lora_config),
      part,
      loss,
      lpips=networks.get("lpips"),
      identity=networks.get("identity"),
      stratified=tuning.stratified,
    )
    return jnp.mean(losses), {"loss": losses, **terms}

  def gradient(part):
    grads, metrics = jax.grad(mean_loss, has_aux=True)(trainable, part)
    return (
      state_lib.ravel(jax.lax.optimization_barrier(grads)),
      jax.tree.map(jnp.mean, metrics),
    )

  parts = batch.image.shape[0]
  if parts == 1:  # a loop of one costs time and hides the step from XLA
    grads, metrics = gradient(jax.tree.map(lambda leaf: leaf[0], batch))
  else:

    def accumulate(total, part):
      grads, metrics = gradient(part)
      return total + grads, metrics

    grads, metrics = jax.lax.scan(
      accumulate, jnp.zeros_like(state.trainable), batch
    )
    grads, metrics = grads / parts, jax.tree.map(jnp.mean, metrics)
  grads, metrics = jax.lax.pmean((grads, metrics), AXIS)

  norm = jnp.linalg.norm(grads)
  finite = jnp.isfinite(norm) & jnp.isfinite(metrics["loss"])
  updates, opt_state = state_lib.optimizer(tuning).update(
    grads, state.opt_state, state.trainable
  )
  if batch.rate is not None:
    updates = updates * batch.rate[0, 0]
  tuned, average = optax.apply_updates(state.trainable, updates), None
  if state.average is not None:
    average = state_lib.running_average(
      state.average, tuned, state.step, tuning.average
    )
  new = TrainState(state.step + 1, tuned, opt_state, average)
  state = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, state)
  return state, {**metrics, "gradient": norm, "finite": finite}
