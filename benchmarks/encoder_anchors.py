"""Compares anchors from an encoder with optimized ones: quality and time.

    python -m benchmarks.encoder_anchors --people=8 --out=runs/encoder_anchors

For people of the demo that no network has seen, anchors of the first --photos
photos of the album are found with each of `WAYS`: with true camera labels, and
with random errors of 3 degrees and, as from a crop of another size, of 5 % in
focal length. All are rendered with the true labels, so that the cost of bad
labels is only their effect on the latents.
"""

import dataclasses
import pathlib
import time
from typing import Any

import jax
import numpy as np

from benchmarks import report
from my3dgen_jax.apps.evaluation import tables
from my3dgen_jax.config import ProjectionConfig
from my3dgen_jax.data.albums import open_album
from my3dgen_jax.demo import album as demo_album
from my3dgen_jax.demo import shipped
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.jobs.interrupts import StopRequest
from my3dgen_jax.launch.support import cli
from my3dgen_jax.losses import lpips as lpips_lib
from my3dgen_jax.losses.reconstruction import psnr
from my3dgen_jax.models.checkpoint import generator_digest, load_generator
from my3dgen_jax.models.encoder_files import load_encoder, place_beside
from my3dgen_jax.models.generator import images_of
from my3dgen_jax.ops import cameras
from my3dgen_jax.training.anchors import AnchorFinder
from my3dgen_jax.types import Network

_PEOPLE = cli.integer("people", 8, "Number of people, >= 1.", lower_bound=1)
_FIRST = cli.integer(
  "first", 0, "Number of the first procedural person, >= 0.", lower_bound=0
)
_PHOTOS = cli.integer("photos", 30, "Photos per person, >= 1.", lower_bound=1)
_OUT = cli.string("out", "runs/encoder_anchors", "Folder for albums.")
_WAYS = cli.string("ways", "all", "Names of ways, separated by semicolons.")
_ENCODER = cli.string(
  "encoder", None, "Folder of the encoder; default: the one beside the prior."
)
cli.define_cpu_devices()

_DEGREES, _SCALE = 3.0, 0.05
# As in demo.flags before there was an encoder.
_STEPS = ProjectionConfig(
  steps=20,
  batch_size=10,
  learning_rate=0.1,
  mse_weight=2.0,
  optimize_noise=False,
)
_LOOK = dataclasses.replace(_STEPS, init="encoder", steps=0, looks=1)
WAYS = {
  "mean of W, 20 steps": _STEPS,
  "one look": _LOOK,
  "two looks": dataclasses.replace(_LOOK, looks=2),
  "three looks": dataclasses.replace(_LOOK, looks=3),
  "one look, 1 step": dataclasses.replace(_LOOK, steps=1),
  "one look, 5 steps": dataclasses.replace(_LOOK, steps=5, learning_rate=0.05),
}
_COLUMNS = (
  tables.Column("seconds", "seconds", -1, 1),
  tables.Column("lpips", "LPIPS", -1, 4),
  tables.Column("psnr", "PSNR", 1, 2),
  tables.Column("lpips_lost", "LPIPS lost by bad labels", -1, 4),
  tables.Column("psnr_lost", "PSNR lost", -1, 2),
)


def main():
  out = pathlib.Path(_OUT.value)
  ways = report.chosen("ways", _WAYS.value, WAYS)
  module, variables = load_generator(shipped.PRIOR)
  generator = Network(variables, module)
  lpips = lpips_lib.load_lpips(shipped.LPIPS)
  encoder = load_encoder(_ENCODER.value or place_beside(shipped.PRIOR))
  compare = jax.jit(lambda x, y: {"lpips": lpips(x, y), "psnr": psnr(x, y)})
  rows: dict[str, Any] = {
    name: {column.name: [] for column in _COLUMNS} for name in ways
  }
  for number in range(_FIRST.value, _FIRST.value + _PEOPLE.value):
    folder = out / f"person_{number}"
    demo_album.write_demo_album(folder, number)
    album = open_album(str(folder), img_resolution=module.config.img_resolution)
    album = album.subset(range(_PHOTOS.value))
    wrong = _with_labels(album, _disturbed(album.c, number))
    for name, config in ways.items():
      found = {}
      for labels, photos in (("true", album), ("wrong", wrong)):
        finder = AnchorFinder(
          config=config,
          generator=generator,
          fingerprint=generator_digest(shipped.PRIOR),
          lpips=lpips,
          lpips_fingerprint="demo",
          encoder=encoder.network,
          encoder_fingerprint=encoder.digest,
          devices=devices_lib.local_devices(),
        )
        if number == _FIRST.value and labels == "true":
          finder.find(photos, StopRequest(), title="compiling")
        began = time.monotonic()
        anchors = finder.find(photos, StopRequest(), title=name)
        seconds = time.monotonic() - began
        scores = [
          jax.device_get(
            compare(
              images_of(
                generator, anchors.ws[i : i + 1], album.c[i : i + 1]
              ).image,
              photos[i].image[None],
            )
          )
          for i in range(len(photos))
        ]
        found[labels] = {
          key: float(np.mean([one[key] for one in scores]))
          for key in ("lpips", "psnr")
        }
        found[labels]["seconds"] = seconds
      true, bad = found["true"], found["wrong"]
      row = {
        **true,
        "lpips_lost": bad["lpips"] - true["lpips"],
        "psnr_lost": true["psnr"] - bad["psnr"],
      }
      for key, value in row.items():
        rows[name][key].append(value)
      print(
        f"person {number}, {name}: "
        + ", ".join(f"{key} {value:.4f}" for key, value in row.items()),
        flush=True,
      )
  table = tables.Table("anchors", "Anchors of the demo", _COLUMNS, rows)
  print(f"\n{report.machine()}\n\n{tables.to_markdown(table)}")
  first = next(iter(ways))
  for name in list(ways)[1:]:
    differences = {
      column.title: tables.difference(table, column.name, name, first)
      for column in _COLUMNS
    }
    print(
      f"{name} - {first}: "
      + ", ".join(
        f"{title} {one.mean:+.4f} [{one.low:+.4f}, {one.high:+.4f}]"
        for title, one in differences.items()
        if one is not None
      )
    )


def _disturbed(c: Any, seed: int) -> np.ndarray:
  """Labels with random errors, like those estimated from bad crops."""
  rng = np.random.default_rng(seed)
  angles = np.deg2rad(_DEGREES) * rng.standard_normal((len(c), 2))
  c = np.array(cameras.turned(c, angles, np.zeros(3)))
  c[:, [16, 20]] *= 1 + _SCALE * rng.uniform(-1, 1, (len(c), 1))
  return c


def _with_labels(album: Any, c: np.ndarray) -> Any:
  photos = [
    dataclasses.replace(photo, c=row) for photo, row in zip(album.photos, c)
  ]
  return dataclasses.replace(album, photos=tuple(photos))


if __name__ == "__main__":
  cli.run(main)
