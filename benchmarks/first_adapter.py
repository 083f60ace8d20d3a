"""Trains the adapter that tuning of the demo's people starts from.

    python -m benchmarks.first_adapter --out=runs/first --cpu_devices=2

A prior's pictures differ from photos of any person: edges are softer, skin is
smoother. Tuning need not learn again for each person what all photos have in
common. So this adapter is tuned to photos of many people, a few of each, with
their anchors. Their numbers start at one million, so none of them is in any
measurement.
"""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.apps.personalization.settings import PersonalizeConfig
from my3dgen_jax.apps.personalize import personalize
from my3dgen_jax.config import ProjectionConfig, TuningConfig
from my3dgen_jax.data import dataset_json
from my3dgen_jax.demo import album as demo_album
from my3dgen_jax.demo.personal_runs import with_demo_person
from my3dgen_jax.launch.support import cli

_OUT = cli.string("out", "runs/first", "Folder for the album and the run.")
_PEOPLE = cli.integer("people", 30, "Number of people, >= 1.", lower_bound=1)
_PHOTOS = cli.integer("photos", 5, "Photos per person, >= 1.", lower_bound=1)
_STEPS = cli.integer("steps", 300, "Tuning steps, >= 1.", lower_bound=1)
_RATE = cli.number("learning_rate", 0.01, "Peak learning rate, > 0.")
cli.define_cpu_devices()

_FIRST = 1_000_000
_TEST = 10


def main():
  out = pathlib.Path(_OUT.value)
  album = out / "album"
  if not (album / dataset_json.FILE_NAME).exists():
    _draw(album)
  config = with_demo_person(
    PersonalizeConfig(
      checkpoint="",
      album=str(album),
      out=str(out / "run"),
      test=_TEST,
      cache="",
      projection=ProjectionConfig(init="encoder", steps=0, looks=1),
      tuning=TuningConfig(
        steps=_STEPS.value,
        batch_size=2,
        learning_rate=_RATE.value,
        beta1=0.9,
        decay="cosine",
      ),
      save_every=100,
    ),
    _FIRST,
  )
  config = dataclasses.replace(config, adapter_init=None)
  print(personalize(config, resume=True)["personalized"])


def _draw(album: pathlib.Path):
  """Writes photos of many people as an album of one."""
  taken = [
    demo_album.take_photos(
      jax.random.fold_in(jax.random.key(0xF1), n),
      demo_album.demo_person(_FIRST + n),
      _PHOTOS.value,
      resolution=128,
    )
    for n in range(_PEOPLE.value)
  ]
  photos = jax.tree.map(lambda *parts: jnp.concatenate(parts), *taken)
  order = np.random.default_rng(0).permutation(photos.c.shape[0])
  demo_album.write_album(album, jax.tree.map(lambda leaf: leaf[order], photos))


if __name__ == "__main__":
  cli.run(main)
