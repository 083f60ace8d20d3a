"""The training state: what tuning changes, and what it leaves alone.

During training, everything tuned is one vector: an adapter has 177 leaves, and
an optimizer that goes through them one by one would be most of a program that a
GPU takes minutes to compile. On disk, and for readers of a state, it is a tree
as before.
"""

import math
from collections.abc import Mapping
from typing import Any

import chex
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from my3dgen_jax import lora as lora_lib
from my3dgen_jax.config import GeneratorConfig, LoraConfig, TuningConfig
from my3dgen_jax.models.generator import abstract_variables, Generator
from my3dgen_jax.tracing.programs import copied
from my3dgen_jax.types import Array, Network

_WARM = 20  # one step in this many is a warm-up step of a decaying rate
_FROZEN = ("backbone", "mapping")  # frozen in every mode


@flax.struct.dataclass
class TrainState:
  """Everything that changes from step to step.

  Attributes:
    step: int32, steps made.
    trainable: the collection `lora`; or, in full tuning, all params except the
      mapping network's. A tree, or (`init_state`, `ravelled`) a vector.
    opt_state: the optimizer's state for it.
    average: the running average of `trainable`; None: it is not kept.
  """

  step: Array
  trainable: Any
  opt_state: Any
  average: Any = None

  @property
  def result(self) -> Any:
    """What tuning has made so far: the average, or the last step's."""
    return self.trainable if self.average is None else self.average


def split(
  key: chex.PRNGKey,
  config: GeneratorConfig,
  base: Mapping[str, Any],
  lora_config: LoraConfig | None,
) -> tuple[Any, dict[str, Any]]:
  """Divides a generator into a trainable and a frozen part.

  Args:
    key: the PRNG key of a fresh adapter.
    config: the generator's config.
    base: {"params": …, "buffers": …}.
    lora_config: the adapter's config; None: tune the weights themselves.

  Returns: trainable, frozen; `join` puts them together.
  """
  if lora_config is not None:
    return lora_lib.init(key, config, lora_config), dict(base)
  tuned, rest = _split_params(base["params"])
  return tuned, {**base, "params": rest}


def _split_params(params: Any) -> tuple[Any, Any]:
  """Params that full tuning changes, and those that it does not."""
  params = flatten_dict(params)
  is_frozen = lambda path: path[: len(_FROZEN)] == _FROZEN
  tuned = {path: leaf for path, leaf in params.items() if not is_frozen(path)}
  rest = {path: leaf for path, leaf in params.items() if is_frozen(path)}
  return unflatten_dict(tuned), unflatten_dict(rest)


def abstract_trainable(
  config: GeneratorConfig, lora_config: LoraConfig | None
) -> Any:
  """The trainable half of `split` as `jax.ShapeDtypeStruct`s."""
  if lora_config is not None:
    return lora_lib.abstract(config, lora_config)
  return _split_params(abstract_variables(config)["params"])[0]


def join(
  config: GeneratorConfig,
  trainable: Any,
  frozen: Mapping[str, Any],
  lora_config: LoraConfig | None,
) -> Network:
  """The generator that `split` divided."""
  if lora_config is not None:
    return Network(
      lora_lib.merge_collections(frozen, trainable),
      Generator(config, lora_config),
    )
  params = unflatten_dict(
    {**flatten_dict(frozen["params"]), **flatten_dict(trainable)}
  )
  return Network({**frozen, "params": params}, Generator(config))


def optimizer(config: TuningConfig) -> Any:
  """Adam with StyleGAN2's settings, an `optax.GradientTransformation`.

  StyleGAN2 adds one regularization step to every k steps, so the learning rate
  is scaled by k / (k + 1) and the decay rates are raised to that power.

  Source: Karras et al. 2020 (StyleGAN2), appendix B.
  """
  # Imported here because only training needs it.
  import optax  # pylint: disable=import-outside-toplevel

  k = config.lazy_interval
  share = k / (k + 1) if k else 1.0
  return optax.adam(
    config.learning_rate * share,
    b1=math.pow(config.beta1, share),
    b2=math.pow(config.beta2, share),
    eps=1e-8,
  )


def rate_share(config: TuningConfig, step: int) -> float | None:
  """The factor of the learning rate in a step; None: it is constant.

  Args:
    config: the tuning's config.
    step: index of the step, from 0.
  """
  if config.decay == "none":
    return None
  warm = max(config.steps // _WARM, 1)
  if step < warm:
    return (step + 1) / (warm + 1)
  left = (step - warm) / max(config.steps - warm, 1)
  return 0.5 + 0.5 * math.cos(math.pi * left)


def running_average(average: Any, params: Any, step: Array, most: float) -> Any:
  """The running average after a step; it spans fewer steps early on.

  Args:
    average: the average before the step; initially the initial parameters.
    params: the parameters after the step.
    step: steps made before.
    most: largest decay rate, in [0, 1).
  """
  decay = jnp.minimum(most, (step + 1) / (step + 10))
  return jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, average, params)


def init_state(trainable: Any, config: TuningConfig) -> TrainState:
  """The state before the first step; `trainable` becomes a vector."""
  vector = ravel(trainable)
  return TrainState(
    jnp.zeros((), jnp.int32),
    vector,
    optimizer(config).init(vector),
    vector.copy() if config.average else None,
  )


def ravel(tree: Any) -> jax.Array:
  """All numbers of a tree in one vector, [P] float32, leaf after leaf."""
  return copied(
    lambda xp, leaves: xp.concatenate([xp.ravel(leaf) for leaf in leaves]),
    jax.tree.leaves(tree),
  )


def unravel(vector: Array, like: Any) -> Any:
  """The inverse of `ravel`.

  Args:
    vector: [P]; a NumPy vector gives NumPy leaves, without copying.
    like: a tree of the structure and shapes wanted.
  """
  leaves, structure = jax.tree.flatten(like)
  ends = np.cumsum([math.prod(leaf.shape) for leaf in leaves])

  def cut(numbers):
    return [
      numbers[end - math.prod(leaf.shape) : end].reshape(leaf.shape)
      for end, leaf in zip(ends.tolist(), leaves)
    ]

  parts = (
    cut(vector)
    if isinstance(vector, np.ndarray)
    else copied(lambda xp, numbers: cut(numbers), vector)
  )
  return jax.tree.unflatten(structure, parts)


def ravelled(state: TrainState) -> TrainState:
  """Converts a state of trees, e.g. from disk, to one of vectors."""
  structure = jax.tree.structure(state.trainable)
  is_alike = lambda node: jax.tree.structure(node) == structure
  return state.replace(
    trainable=ravel(state.trainable),
    # Moments have the structure of their parameters; counters do not.
    opt_state=jax.tree.map(
      lambda node: ravel(node) if is_alike(node) else node,
      state.opt_state,
      is_leaf=is_alike,
    ),
    average=None if state.average is None else ravel(state.average),
  )


def unravelled(state: TrainState, like: Any) -> TrainState:
  """The inverse of `ravelled`; `like` as in `unravel`."""
  shape = state.trainable.shape
  return state.replace(
    trainable=unravel(state.trainable, like),
    opt_state=jax.tree.map(
      lambda leaf: unravel(leaf, like) if leaf.shape == shape else leaf,
      state.opt_state,
    ),
    average=None if state.average is None else unravel(state.average, like),
  )


def numbers(trainable: Any) -> int:
  """Counts the trainable numbers."""
  return sum(leaf.size for leaf in jax.tree.leaves(trainable))
