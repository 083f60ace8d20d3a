"""One training step of an encoder, on all devices."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from my3dgen_jax.config.encoder import EncoderTrainingConfig
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.models.encoder import Encoder
from my3dgen_jax.training.encoding.objective import first_look, objective
from my3dgen_jax.training.state import running_average, TrainState

_CLIP = 1.0  # largest norm of the gradient
_WARM = 20  # one step in this many is a warm-up step


def optimizer(config: EncoderTrainingConfig) -> Any:
  """Adam; warm-up and cosine decay for each kind of pass."""
  # Imported here because only training needs it.
  import optax  # pylint: disable=import-outside-toplevel

  def cosine(rate, steps):
    return optax.warmup_cosine_decay_schedule(
      0.0, rate, max(steps // _WARM, 1), max(steps, 2), rate / 100
    )

  rate = optax.join_schedules(
    [
      cosine(config.learning_rate, config.steps),
      cosine(config.look_learning_rate, config.look_steps),
    ],
    [config.steps],
  )
  return optax.chain(
    optax.clip_by_global_norm(_CLIP), optax.adam(rate, b1=0.9, b2=0.99)
  )


def make_step(
  encoder: Encoder, config: EncoderTrainingConfig, devices: Sequence[jax.Device]
) -> Callable[..., tuple[TrainState, dict[str, Any]]]:
  """Compiles a step.

  Args:
    encoder: the module.
    config: the training's config.
    devices: the devices that share a batch.

  Returns: (state, metric, generator, networks, batch) -> (state, terms), all
    with a leading axis of devices; `networks` holds "lpips" and "identity"
    if the loss uses them.
  """
  import optax  # pylint: disable=import-outside-toplevel

  transform = optimizer(config)

  def step(state, metric, generator, networks, batch):
    params, average = state.trainable["params"], state.trainable["average"]
    loss = lambda params: objective(
      params, encoder, metric, generator, batch, config, **networks
    )
    grads, terms = jax.lax.pmean(
      jax.grad(loss, has_aux=True)(params), devices_lib.AXIS
    )
    updates, opt_state = transform.update(grads, state.opt_state, params)
    params = optax.apply_updates(params, updates)
    average = running_average(average, params, state.step, config.average)
    return TrainState(
      state.step + 1, {"params": params, "average": average}, opt_state
    ), terms

  return devices_lib.spread(step, devices=devices, donate=(0,))


def make_first_look(
  encoder: Encoder, config: EncoderTrainingConfig, devices: Sequence[jax.Device]
) -> Callable[..., tuple[jax.Array, jax.Array]]:
  """Compiles `first_look`: (state, metric, batch) -> (ws, c), per device."""

  def look(state, metric, batch):
    return first_look(state.trainable["params"], encoder, metric, batch, config)

  return devices_lib.spread(look, devices=devices)
