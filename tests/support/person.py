"""A person made by a small model and a known low-rank change of its weights.

The model is the smallest whose images LPIPS can look at: 64 x 64, of image_raw
of 16 x 16. The person's photos come from the changed model, so the change (or
another of the same effect) is what personalization has to find.
"""

import dataclasses
import functools
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax import lora
from my3dgen_jax.config import (
  BackboneConfig,
  DecoderConfig,
  GeneratorConfig,
  LoraConfig,
  RenderConfig,
  SuperresolutionConfig,
)
from my3dgen_jax.data import dataset_json, images
from my3dgen_jax.losses.lpips import save_lpips
from my3dgen_jax.models.checkpoint import save_generator
from my3dgen_jax.models.generator import Generator
from my3dgen_jax.types import Network
from tests.support import albums, classifiers
from tests.support.tiny import random_variables

RAW = 16
MODEL = GeneratorConfig(
  z_dim=8,
  w_dim=8,
  neural_rendering_resolution=RAW,
  backbone=BackboneConfig(
    resolution=8, plane_channels=4, channel_base=64, channel_max=8
  ),
  decoder=DecoderConfig(hidden_features=8, color_features=8),
  rendering=RenderConfig(depth_resolution=4, depth_resolution_importance=4),
  superresolution=SuperresolutionConfig(
    module="SuperresolutionHybrid8X",
    input_resolution=32,
    channels=(8, 8),
    up=(False, True),
  ),
)
LORA = LoraConfig(rank=1)


class Person(NamedTuple):
  """What the tests need.

  Attributes:
    base: the pretrained generator.
    true: the person's own, merged.
    ws: [N, num_ws, w_dim], the true latents of the photos.
    c: [N, 25], their cameras.
    photos: [N, 64, 64, 3] in [-1, 1].
  """

  base: Network
  true: Network
  ws: np.ndarray
  c: np.ndarray
  photos: np.ndarray


@functools.cache
def make(count: int = 8, seed: int = 0, *, raw: int = RAW) -> Person:
  """A person with `count` photos, of models whose image_raw is `raw` wide."""
  model = dataclasses.replace(MODEL, neural_rendering_resolution=raw)
  rng = np.random.default_rng(seed)
  variables = random_variables(seed, MODEL)
  params = variables["params"]
  # So dim that photos of 8 bits keep what the model makes, and of contrast.
  for block, gain in (
    (params["superresolution"]["block0"]["torgb"], 0.1),
    (params["superresolution"]["block1"]["torgb"], 0.1),
    (params["decoder"]["fc0"], 4.0),
    (params["decoder"]["fc1"], 1.5),
  ):
    block["kernel"] = gain * block["kernel"]
  for resolution in MODEL.backbone.block_resolutions:
    block = params["backbone"]["synthesis"][f"b{resolution}"]
    for name in {"conv0", "conv1"} & set(block):
      block[name]["noise_strength"] = jnp.float32(0.1)
  change = lora.init(jax.random.key(seed), MODEL, LORA)
  change = jax.tree_util.tree_map_with_path(
    lambda path, leaf: (
      np.asarray(leaf)
      + _SIZES.get(path[-1].key, 0.0)
      * rng.standard_normal(leaf.shape).astype(np.float32)
    ),
    change,
  )
  base = Network(variables, Generator(model))
  true = Network(
    lora.merge_into_params(variables, change, LORA), Generator(model)
  )
  # One person's latents lie close together.
  ws = rng.standard_normal((1, 1, MODEL.w_dim)) + 0.2 * rng.standard_normal(
    (count, 1, MODEL.w_dim)
  )
  ws = np.broadcast_to(ws, (count, MODEL.num_ws, MODEL.w_dim)).astype(
    np.float32
  )
  c = albums.labels(count, seed=seed)
  return Person(base, true, ws, c, np.asarray(render(true, ws, c)))


# Of the true change; everything else of it is as at the start.
_SIZES = {"lora_b": 0.3, "bias_offset": 0.1}


@jax.jit
def render(generator: Network, ws: Any, c: Any) -> jax.Array:
  """Images [N, 64, 64, 3]."""
  return generator(jnp.asarray(ws), jnp.asarray(c), method="synthesis").image


def write(
  folder: pathlib.Path, *, latents: bool = True, count: int = 8, raw: int = RAW
) -> pathlib.Path:
  """Writes `base/`, `lpips/` and `album/` to a new folder."""
  person = make(count, raw=raw)
  folder.mkdir(parents=True)
  save_generator(
    folder / "base", person.base.module.config, person.base.variables
  )
  save_lpips(folder / "lpips", "alex", classifiers.lpips_variables("alex"))
  album = folder / "album"
  album.mkdir()
  for i in range(count):
    images.write_png(
      album / f"photo{i:02}.png", images.to_uint8(person.photos[i])
    )
    if latents:
      np.save(album / f"photo{i:02}_latent.npy", person.ws[i : i + 1])
  dataset_json.write(
    album / "dataset.json", dict(zip(albums.names(count), person.c))
  )
  return folder
