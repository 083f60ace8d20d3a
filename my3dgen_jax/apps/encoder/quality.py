"""Measures an encoder on latents that its training never saw."""

import functools
import os
from typing import Any

import jax
import numpy as np

from my3dgen_jax.config.encoder import EncoderTrainingConfig
from my3dgen_jax.data import images, provenance
from my3dgen_jax.data.provenance import Origin
from my3dgen_jax.jobs.interrupts import StopRequest
from my3dgen_jax.jobs.progress import Progress
from my3dgen_jax.losses.reconstruction import psnr
from my3dgen_jax.models.encoder import resized
from my3dgen_jax.ops import cameras
from my3dgen_jax.training.encoding import looking
from my3dgen_jax.training.encoding import metric as metric_lib
from my3dgen_jax.training.encoding.augmentation import augmented
from my3dgen_jax.training.encoding.samples import draw_latents, key_of, rendered
from my3dgen_jax.training.run_folder import ID_LENGTH
from my3dgen_jax.types import Network

_FIRST = 2**30 + 2**29  # number of the first latent
_AT_ONCE = 8
_STREAM = 3  # for the changes of pictures
_SHOWN = 8
_LOOKS = (1, 2, 3)
_MEAN = "mean of W"


def measure(
  encoder: Network,
  generator: Network,
  metric: metric_lib.WMetric,
  config: EncoderTrainingConfig,
  *,
  lpips: Network | None,
  stop: StopRequest,
) -> dict[str, Any]:
  """Measures an encoder.

  Args:
    encoder: the encoder to measure.
    generator: the generator, which renders its inputs.
    metric: the metric of W.
    config: distribution and count of latents.
    lpips: the LPIPS network, or None.
    stop: request to stop, checked after every batch.

  Returns: {"latents": how many, "rows": of each way to find them "explained"
    (the share of W's spread as it shows, see `metric`), "psnr" (dB) and "lpips"
    or None; "doubt": correlation of its logarithm with that of the true error,
    of pictures changed as in training}.
  Raises: Interrupted: `stop` was requested.
  """
  count = -(-config.held_out // _AT_ONCE) * _AT_ONCE
  progress = Progress("measuring", count, "latents")
  found: dict[str, list[Any]] = {}
  doubts, errors = [], []
  for first in range(0, count, _AT_ONCE):
    latents, image = _drawn(generator, config, encoder, first, _AT_ONCE)
    turned = _mistaken(latents.c, config, generator, first)
    ways = {_MEAN: np.broadcast_to(metric.mean, latents.ws.shape)}
    for looks in _LOOKS:
      name = f"{looks} look{'s' * (looks > 1)}"
      one = looking.encode_photos(
        encoder, generator, image, latents.c, looks=looks
      )
      ways[name] = one.ws
      if looks == looking.LOOKS:
        ways[f"{name}, cameras {config.camera_error:g} degrees off"] = (
          looking.encode_photos(
            encoder, generator, image, turned, looks=looks
          ).ws
        )
    doubt, error = _doubt(
      encoder, metric, config, latents, image, _keys(config, first)
    )
    doubts.append(np.asarray(doubt))
    errors.append(np.asarray(error))
    for name, ws in ways.items():
      shown = _image(generator, ws, latents.c)
      row = _compare(metric, lpips, ws, latents, shown, image)
      found.setdefault(name, []).append(jax.device_get(row))
    progress.update(first + _AT_ONCE)
    stop.raise_if_wanted("stopped while measuring; --resume measures again")
  rows: dict[str, Any] = {
    name: {
      key: None
      if row[0][key] is None
      else float(np.mean(np.concatenate([part[key] for part in row])))
      for key in row[0]
    }
    for name, row in found.items()
  }
  total = rows[_MEAN]["missing"]
  for row in rows.values():
    row["explained"] = 1 - row.pop("missing") / total
  correlation = np.corrcoef(
    np.log(np.concatenate(doubts)), np.log(np.concatenate(errors)) / 2
  )[0, 1]
  return {"latents": count, "rows": rows, "doubt": float(correlation)}


@functools.partial(jax.jit, static_argnames="config")
def _doubt(encoder, metric, config, latents, image, keys):
  """The first look's predicted error and its true error, [N] each."""
  small = resized(image, encoder.module.config.resolution)
  photo = augmented(keys, small, latents.c, config)
  seen = encoder(photo.image, photo.mask, method="seen")
  found = encoder(seen, photo.c, method="look")
  return found.doubt, metric.squared(found.ws - latents.ws)


def _keys(config, first):
  return jax.random.split(key_of(config, _STREAM, first), _AT_ONCE)


@jax.jit
def _compare(metric, lpips, ws, latents, shown, image):
  return {
    "missing": metric.squared(ws - latents.ws),
    "psnr": psnr(shown, image),
    "lpips": None if lpips is None else lpips(shown, image),
  }


def draw(
  path: str | os.PathLike,
  encoder: Network,
  generator: Network,
  config: EncoderTrainingConfig,
  *,
  base: str,
):
  """Writes a picture of unseen latents beside what the encoder found.

  Args:
    path: the PNG to write.
    encoder: the encoder.
    generator: the generator.
    config: distribution of latents.
    base: the generator's digest.
  """
  latents, image = _drawn(generator, config, encoder, 0, _SHOWN)
  columns = [image]
  for looks in _LOOKS[:2]:
    found = looking.encode_photos(
      encoder, generator, image, latents.c, looks=looks
    )
    columns.append(_image(generator, found.ws, latents.c))
  rows = [
    [images.to_uint8(np.asarray(column[i])) for column in columns]
    for i in range(_SHOWN)
  ]
  grid = images.make_grid(rows)
  provenance.write_picture(
    path,
    images.with_titles(grid, ["picture", "one look", "two looks"]),
    Origin("none", base[:ID_LENGTH], "train_encoder"),
  )


def _drawn(generator, config, encoder, first, count):
  latents = draw_latents(
    generator,
    _FIRST + first + np.arange(count),
    config=config,
    rows=encoder.module.config.rows,
  )
  return latents, _image(generator, latents.ws, latents.c)


_image = jax.jit(rendered)


def _mistaken(c, config, generator, first):
  """Cameras with the same errors as in training."""
  angles = np.random.default_rng((config.seed, first)).normal(
    0, np.deg2rad(config.camera_error), (c.shape[0], 2)
  )
  pivot = generator.module.config.rendering.avg_camera_pivot
  return cameras.turned(c, angles, np.asarray(pivot))
