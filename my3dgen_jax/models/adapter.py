"""The wrapper that adapts a layer to a person: LoRA pairs and offsets.

Everything it adds is in the collection `lora`, at the path of the layer's own
parameters, which are not modified:

    lora_a, lora_b     the pair that changes the kernel
    bias_offset, …     offsets of the layer's other parameters, initially zero
"""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from my3dgen_jax.config import LoraConfig
from my3dgen_jax.errors import UserError
from my3dgen_jax.types import Array, LayerDelta, LayerWeights, LowRank

COLLECTION = "lora"
PAIR = ("lora_a", "lora_b")
# Not the parameters' own names: NNX keeps a module's variables in one table.
OFFSET = "_offset"

_ADAPTED = (("backbone", "synthesis"), ("superresolution",), ("decoder",))
_WITHOUT_PAIRS = ("decoder",)

Path = tuple[str, ...]


def pair_shapes(
  kernel: tuple[int, ...], config: LoraConfig
) -> tuple[tuple[int, ...], tuple[int, ...]]:
  """Shapes of lora_a and lora_b for a kernel [..., I, O].

  Returns: [..., I, rho] and [rho, O]; in the "original" layout of
    convolutions, [I k, rho] and [rho, O k].
  """
  *taps, inputs, outputs = kernel
  size = taps[0] if taps else 1
  rho = config.rank * (1 if config.conv_rank == "rank" else size)
  if config.conv_rank == "original":
    return (inputs * size, rho), (rho, outputs * size)
  return (*taps, inputs, rho), (rho, outputs)


def kernel_change(
  lora_a: jax.Array,
  lora_b: jax.Array,
  kernel: tuple[int, ...],
  config: LoraConfig,
) -> LayerDelta:
  """A pair's change of a kernel of this shape, scale included."""
  if config.conv_rank == "original" and len(kernel) == 4:
    size, _, inputs, outputs = kernel
    # The product's memory is read as [O, I, k, k], as in PyTorch: a matrix with
    # no meaning as a convolution, which is the point of the ablation.
    change = jnp.matmul(
      lora_a, config.scale * lora_b, precision=jax.lax.Precision.HIGHEST
    ).T
    change = change.reshape(outputs, inputs, size, size)
    return LayerDelta(kernel=change.transpose(2, 3, 1, 0))
  # Most adapters have a scale of 1, which saves a product per layer.
  return LayerDelta(
    low_rank=LowRank(
      a=lora_a, b=lora_b if config.scale == 1 else config.scale * lora_b
    )
  )


def initial_value(
  key: chex.PRNGKey, name: str, shape: tuple[int, ...]
) -> jax.Array:
  """Initial value of a variable of the collection: A random, the rest zero.

  A is Kaiming uniform with a = sqrt(5): within 1 / sqrt(fan in).
  """
  if name != "lora_a":
    return jnp.zeros(shape, jnp.float32)
  bound = _bound(shape)
  return jax.random.uniform(
    key, shape, jnp.float32, minval=-bound, maxval=bound
  )


def initial_values(
  keys: chex.PRNGKey, wanted: Mapping[Path, tuple[int, ...]]
) -> dict[Path, jax.Array]:
  """The numbers of `initial_value` for many variables, from one program.

  Each shape would otherwise be a program of its own, and to compile them takes
  longer than many steps of tuning.

  Args:
    keys: [L] PRNG keys, one per variable.
    wanted: the L variables' shapes, by path.
  """
  drawn = {
    path: shape for path, shape in wanted.items() if path[-1] == "lora_a"
  }
  rows = [i for i, path in enumerate(wanted) if path in drawn]
  numbers = _draw(
    keys,
    np.array(rows, np.int32),
    np.array([_bound(shape) for shape in drawn.values()], np.float32),
    size=max(map(math.prod, drawn.values()), default=0),
  )
  zeros, finished = jnp.zeros, jnp.asarray
  if not isinstance(numbers, jax.core.Tracer):
    # NumPy slices, and `device_put` copies, without compiling.
    numbers, zeros, finished = np.asarray(numbers), np.zeros, jax.device_put
  values = {path: zeros(shape, np.float32) for path, shape in wanted.items()}
  for row, (path, shape) in enumerate(drawn.items()):
    values[path] = numbers[row, : math.prod(shape)].reshape(shape)
  return {path: finished(value) for path, value in values.items()}


def _bound(shape: tuple[int, ...]) -> float:
  return math.prod(shape[:-1]) ** -0.5


@functools.partial(jax.jit, static_argnames="size")
def _draw(
  keys: chex.PRNGKey, rows: Array, bounds: Array, *, size: int
) -> jax.Array:
  """Uniform numbers of each row's key: [L, size].

  Threefry's number at a position depends on the key and the position alone, so
  that a shorter draw by the same key is the start of a longer one.
  """
  return jax.vmap(
    lambda key, bound: jax.random.uniform(
      key, (size,), jnp.float32, minval=-bound, maxval=bound
    )
  )(keys[rows], bounds)


def shapes(tree: Any) -> dict[Path, tuple[int, ...]]:
  """Maps every leaf's path to its shape, for a nested dict."""
  return {path: np.shape(leaf) for path, leaf in flatten_dict(tree).items()}


def expected_shapes(params: Any, config: LoraConfig) -> dict[Path, Any]:
  """Maps the path of every leaf of an adapter to its expected shape.

  Args:
    params: parameters of the generator it is for, nested; shapes are enough.
    config: rank, layout, targets.
  """
  own = shapes(params)
  result = {}
  for path, shape in own.items():
    *scope, name = path
    kernel = own.get((*scope, "kernel"))
    if (
      kernel is None
      or not any(path[: len(part)] == part for part in _ADAPTED)
      or not is_target(scope, config)
    ):
      continue
    if name == "kernel" and path[: len(_WITHOUT_PAIRS)] != _WITHOUT_PAIRS:
      for member, size in zip(PAIR, pair_shapes(kernel, config)):
        result[(*scope, member)] = size
    else:
      result[(*scope, name + OFFSET)] = shape
  return result


def _path_in_generator(path: Path) -> Path:
  """A layer's path inside the generator, without any outer modules."""
  for i in reversed(range(len(path))):
    if any(path[i : i + len(part)] == part for part in _ADAPTED):
      return path[i:]
  return path


def is_target(scope: Any, config: LoraConfig) -> bool:
  """Whether the layer with this path is adapted."""
  path = "/".join(scope)
  return any(re.fullmatch(target, path) for target in config.targets)


def check(params: Any, lora: Any, config: LoraConfig | None):
  """Checks that a generator would use all of an adapter, and correctly.

  Alpha leaves no trace in arrays: `lora.personal` takes it from the config.

  Args:
    params: the generator's parameters, nested; shapes are enough.
    lora: the collection.
    config: the generator's config; None: it has none.

  Raises: UserError: names a leaf and the likely cause.
  """
  found = shapes(lora)
  if config is None:
    if found:
      raise UserError(
        "lora: the generator has no LoraConfig and would ignore the adapter; "
        "match them with lora.personal, or Generator(config, lora_config)"
      )
    return
  expected = expected_shapes(params, config)
  wrong = [
    path
    for path in sorted(found.keys() | expected.keys())
    if found.get(path) != expected.get(path)
  ]
  if wrong:
    text = lambda shapes: (
      list(shapes[wrong[0]]) if wrong[0] in shapes else "nothing"
    )
    raise UserError(
      f"lora: {'/'.join(wrong[0])} is {text(found)}, expected "
      f"{text(expected)}: {_cause(params, found, expected, config)}"
    )


def _cause(
  params: Any,
  found: Mapping[Path, Any],
  expected: Mapping[Path, Any],
  config: LoraConfig,
) -> str:
  """Why an adapter does not fit, in words."""
  if not found:
    return "the adapter is empty"
  if any(path[-1] in ("bias", "kernel", "noise_strength") for path in found):
    return (
      "the adapter has names from before format 2; lora.renamed updates them"
    )
  if all(
    len(shape) and shape[1:] == expected.get(path)
    for path, shape in found.items()
  ):
    count = next(iter(found.values()))[0]
    return f"{count} stacked adapters need jax.vmap over their leading axis"
  for layout in ("kernel", "rank", "original"):
    for rank in range(1, 65):
      other = dataclasses.replace(config, rank=rank, conv_rank=layout)
      if found == expected_shapes(params, other):
        if rank == config.rank:
          return f"it has the layout {layout!r}, not {config.conv_rank!r}"
        return (
          f"it has rank {rank}, not {config.rank}"
          + f", and the layout {layout!r}" * (layout != config.conv_rank)
        )
  if found.keys() < expected.keys():
    return "a part of the adapter is missing, or it has other targets"
  if found.keys() > expected.keys():
    return "no layer uses that part of the adapter"
  return "the adapter belongs to another base"


class Adapter(nn.Module):
  """A layer with its personal change, in the layer's scope.

  Attributes:
    layer: a layer with `parameter_shapes(inputs)` that takes a `delta`.
    config: rank, layout, targets.
    pair: whether the kernel changes by a low-rank pair; otherwise by a
      full-size offset.
  """

  layer: nn.Module
  config: LoraConfig
  pair: bool = True

  def setup(self):
    nn.share_scope(self, self.layer)

  def __call__(self, x: Any, *arguments: Any, **options: Any) -> Any:
    """Calls the layer."""
    return self.layer(x, *arguments, delta=self.delta(x.shape[-1]), **options)

  def weights(self, inputs: int) -> LayerWeights:
    """The layer's stored parameters for `inputs` features, and their change."""
    return self.layer.weights(inputs, delta=self.delta(inputs))

  def run(self, *arguments: Any, **options: Any) -> Any:
    """Runs the layer with its weights."""
    return self.layer.run(*arguments, **options)

  def scaled_weights(self, inputs: int) -> Any:
    """See `FullyConnected.scaled_weights`."""
    return self.layer.scaled_weights(inputs, delta=self.delta(inputs))

  @nn.compact
  def delta(self, inputs: int) -> LayerDelta:
    """The layer's change for `inputs` features; empty if it is not a target."""
    if not is_target(_path_in_generator(self.path), self.config):
      return LayerDelta()
    if not hasattr(self.layer, "parameter_shapes"):
      raise UserError(
        f"lora: {'/'.join(self.path)} is a {type(self.layer).__name__}; only "
        "this project's layers (models.layers) can be adapted, because they "
        "have parameter_shapes and take a delta"
      )
    shapes = self.layer.parameter_shapes(inputs)
    kernel = shapes["kernel"]
    change = LayerDelta()
    if self.pair:
      shape_a, shape_b = pair_shapes(kernel, self.config)
      change = kernel_change(
        self._variable("lora_a", shape_a),
        self._variable("lora_b", shape_b),
        kernel,
        self.config,
      )
      del shapes["kernel"]
    return dataclasses.replace(
      change,
      **{
        name: self._variable(name + OFFSET, shape)
        for name, shape in shapes.items()
      },
    )

  def _variable(self, name: str, shape: tuple[int, ...]) -> jax.Array:
    if not (
      self.has_variable(COLLECTION, name)
      or self.is_mutable_collection(COLLECTION)
    ):
      raise UserError(
        f"lora: {'/'.join((*self.path, name))} is missing: the generator has "
        "a LoraConfig, but the variables have no adapter, or only part of one; "
        "match them with lora.personal"
      )
    return self.variable(
      COLLECTION,
      name,
      lambda: initial_value(self.make_rng("params"), name, shape),
    ).value.astype(jnp.float32)


def adapted(
  config: LoraConfig | None,
  name: str,
  layer: Callable[..., nn.Module],
  *arguments: Any,
  pair: bool = True,
  **options: Any,
) -> nn.Module:
  """Makes a layer, wrapped in an `Adapter` if there is a config.

  Args:
    config: the adapter's config; None: the plain layer.
    name: name of the layer, or of the adapter around it.
    layer: the layer's class.
    *arguments: the layer's positional arguments.
    pair: see `Adapter`.
    **options: the layer's keyword arguments.
  """
  if config is None:
    return layer(*arguments, name=name, **options)
  return Adapter(
    layer(*arguments, parent=None, **options), config, pair, name=name
  )
