"""The part of a synthesis network before pixels: w modulates the layers.

A layer's affine map, demodulation and per-sample kernel are a few hundred
thousand numbers; on a GPU, those of all layers are computed in a few large
operations.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax

from my3dgen_jax.ops import low_rank, modulated_conv, products
from my3dgen_jax.tracing import stacks
from my3dgen_jax.tracing.derivatives import custom_vjp
from my3dgen_jax.tracing.platforms import either, for_each
from my3dgen_jax.types import (
  Array,
  LayerWeights,
  LowRank,
  ModulatedConv,
  ModulatedRGB,
)

Modulated = ModulatedConv | ModulatedRGB


def modulate(
  layers: Sequence[LayerWeights],
  ws: Sequence[Array],
  *,
  precision: lax.PrecisionLike | None = None,
) -> list[Modulated]:
  """Modulates the layers with their w.

  Args:
    layers: layers with 3x3 kernels (demodulated, with noise) or 1x1 kernels
      (neither; their styles have a gain of 1 / sqrt(inputs)).
    ws: [N, w_dim] for each layer.
    precision: matrix-product precision of the affine maps.

  Returns: a `ModulatedConv` or `ModulatedRGB` for each layer.
  Source: StyleGAN2, appendix B, and equations 1 to 3.
  """
  # An affine map's low-rank pair is added later, after the gain of the stored
  # kernel; everything else is added here.
  stored = low_rank.changed(
    [
      *layers,
      *(
        layer.affine.replace(delta=layer.affine.delta.replace(low_rank=None))
        for layer in layers
      ),
    ]
  )
  parameters, affine = stored[: len(layers)], stored[len(layers) :]
  styles = _affine(precision)(
    [
      _Affine(
        w=w,
        kernel=own["kernel"],
        bias=own["bias"],
        low_rank=layer.affine.delta.low_rank,
      )
      for w, own, layer in zip(ws, affine, layers)
    ]
  )
  rows = _over_batch(
    [
      {
        name: jnp.broadcast_to(own[name], own["bias"].shape)
        for name in ("bias", "noise_strength")
        if name in own
      }
      for own in parameters
    ],
    ws[0].shape[0],
  )
  wide = [own["kernel"].shape[:2] != (1, 1) for own in parameters]
  pairs = [
    (own["kernel"], style if is_wide else style / style.shape[1] ** 0.5)
    for own, style, is_wide in zip(parameters, styles, wide)
  ]
  scales = iter(
    _demodulations(
      [
        (pair, layer)
        for pair, layer, is_wide in zip(pairs, layers, wide)
        if is_wide
      ]
    )
  )
  kernels = iter(
    modulated_conv.own_kernels(
      [pair for pair, is_wide in zip(pairs, wide) if not is_wide]
    )
  )
  return [
    ModulatedConv(
      kernel=pair[0],
      base=layer.stored["kernel"],
      low_rank=layer.delta.low_rank,
      styles=pair[1],
      scale=next(scales),
      noise_const=layer.noise_const,
      **own,
    )
    if is_wide
    else ModulatedRGB(kernel=next(kernels), **own)
    for layer, pair, own, is_wide in zip(layers, pairs, rows, wide)
  ]


def _demodulations(
  layers: Sequence[tuple[tuple[Array, Array], LayerWeights]],
) -> list[jax.Array]:
  """Demodulations of all layers' (kernel, styles); faster for stacks."""
  changes = [layer.delta.low_rank for _, layer in layers]
  if any(
    change and stacks.is_stack(layer.stored["kernel"], change.a, change.b)
    for change, (_, layer) in zip(changes, layers)
  ):
    return [
      modulated_conv.own_demodulation(*pair, layer.stored["kernel"], change)
      if change
      else modulated_conv.demodulation(*pair)
      for (pair, layer), change in zip(layers, changes)
    ]
  return modulated_conv.demodulations([pair for pair, _ in layers])


@flax.struct.dataclass
class _Affine:
  """An affine map; its stored kernel is divided by sqrt(inputs) later."""

  w: jax.Array
  kernel: jax.Array
  bias: jax.Array
  low_rank: LowRank | None


@functools.cache
def _affine(precision: lax.PrecisionLike | None) -> Callable[[Any], Any]:
  """A function from many `_Affine` to their outputs, [N, O] each."""

  def on_cpu(layer: _Affine) -> jax.Array:
    kernel = layer.kernel * (1 / layer.kernel.shape[0] ** 0.5)
    if layer.low_rank is not None:
      kernel = low_rank.sealed(kernel + low_rank.matmul(layer.low_rank))
    return jnp.matmul(layer.w, kernel, precision=precision) + layer.bias

  def elsewhere(layer: _Affine) -> jax.Array:
    multiply = functools.partial(products.scaled_rows, precision=precision)
    result = multiply(layer.w, layer.kernel) / layer.kernel.shape[0] ** 0.5
    if layer.low_rank is not None:
      # The gradient of the dense kernel would be as large as the kernel.
      result += multiply(multiply(layer.w, layer.low_rank.a), layer.low_rank.b)
    return result + layer.bias

  return for_each(cpu=on_cpu, default=elsewhere)


@functools.partial(custom_vjp, nondiff_argnums=(1,))
def _over_batch(vectors: Any, size: int) -> Any:
  """Broadcasts vectors [C] in a pytree over the batch, to [size, C].

  Their gradients are then summed over the batch for all of them together.
  """
  return jax.tree.map(
    lambda vector: jnp.broadcast_to(vector, (size,) + vector.shape), vectors
  )


def _over_batch_backward(size, _, cotangents):
  del size
  rows, structure = jax.tree.flatten(cotangents)

  def together(*rows):
    return tuple(
      lax.split(
        jnp.sum(jnp.concatenate(rows, axis=1), axis=0),
        [row.shape[1] for row in rows],
      )
    )

  return (
    jax.tree.unflatten(
      structure,
      either(
        *rows,
        cpu=lambda *rows: tuple(jnp.sum(row, axis=0) for row in rows),
        default=together,
      ),
    ),
  )


_over_batch.defvjp(
  lambda vectors, size: (_over_batch(vectors, size), None), _over_batch_backward
)
