"""What tuning changes, and what it leaves alone."""

import math
from typing import Any, Dict, Mapping, Optional, Tuple

import chex
import flax.struct
from flax.traverse_util import flatten_dict, unflatten_dict
import jax
import jax.numpy as jnp

from my3dgen_jax import lora as lora_lib
from my3dgen_jax.config import GeneratorConfig, LoraConfig, TuningConfig
from my3dgen_jax.models.generator import Generator
from my3dgen_jax.types import Network

_FROZEN = ("backbone", "mapping")  # in every mode


@flax.struct.dataclass
class TrainState:
  """All that changes from step to step.

  Attributes:
    step: int32, steps made.
    trainable: the collection `lora`; or, in full tuning, all params but those
      of the mapping network.
    opt_state: of the optimiser.
  """

  step: chex.Array
  trainable: Any
  opt_state: Any


def split(key: chex.PRNGKey, config: GeneratorConfig, base: Mapping[str, Any],
          lora_config: Optional[LoraConfig]) -> Tuple[Any, Dict[str, Any]]:
  """Divides a generator into what is tuned and what is not.

  Args:
    key: of a fresh adapter.
    config: of the generator.
    base: {"params": …, "buffers": …}.
    lora_config: of the adapter that is tuned; None: the weights themselves.

  Returns: trainable, frozen; `join` puts them together.
  """
  if lora_config is not None:
    return lora_lib.init(key, config, lora_config), dict(base)
  params = flatten_dict(base["params"])
  is_frozen = lambda path: path[:len(_FROZEN)] == _FROZEN
  tuned = {path: leaf for path, leaf in params.items() if not is_frozen(path)}
  rest = {path: leaf for path, leaf in params.items() if is_frozen(path)}
  return unflatten_dict(tuned), {**base, "params": unflatten_dict(rest)}


def join(config: GeneratorConfig, trainable: Any, frozen: Mapping[str, Any],
         lora_config: Optional[LoraConfig]) -> Network:
  """The generator that `split` divided."""
  if lora_config is not None:
    return Network(lora_lib.merge_collections(frozen, trainable),
                   Generator(config, lora_config))
  params = unflatten_dict({**flatten_dict(frozen["params"]),
                           **flatten_dict(trainable)})
  return Network({**frozen, "params": params}, Generator(config))


def optimizer(config: TuningConfig) -> Any:
  """Adam as StyleGAN2 sets it, an `optax.GradientTransformation`.

  Regularisation every k-th step only was meant to be one step in k + 1, so
  rate and decays are brought to the power (or share) k / (k + 1).

  Source: Karras et al. 2020 (StyleGAN2), appendix B.
  """
  # Only whoever optimises needs it.
  import optax  # pylint: disable=import-outside-toplevel
  k = config.lazy_interval
  share = k / (k + 1) if k else 1.0
  return optax.adam(config.learning_rate * share,
                    b1=math.pow(config.beta1, share),
                    b2=math.pow(config.beta2, share), eps=1e-8)


def init_state(trainable: Any, config: TuningConfig) -> TrainState:
  """The state before the first step."""
  return TrainState(jnp.zeros((), jnp.int32), trainable,
                    optimizer(config).init(trainable))


def numbers(trainable: Any) -> int:
  """How many numbers are tuned."""
  return sum(leaf.size for leaf in jax.tree.leaves(trainable))
