"""Measures applications against the ground truth of procedural people.

    python -m benchmarks.demo_people --people=8 --out=runs/people
    python -m benchmarks.demo_applications --people=5 --runs=runs/people

Generators: pretrained, all weights tuned, LoRA of rank 1, each with its run's
anchors. The content of each photo is known exactly: the depth of an inverted
head is compared with the true depth from other sides, and a regressor of
procedural people's smile and age measures edits. For the paper's own tables,
see my3dgen evaluate. Run the same command again to resume after an
interruption.
"""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.apps import edit, invert
from my3dgen_jax.apps.editing.config import EditConfig
from my3dgen_jax.apps.editing.finding import find_direction
from my3dgen_jax.apps.editing.labels import label_samples
from my3dgen_jax.apps.evaluation import protocols
from my3dgen_jax.apps.person import load_person, Person
from my3dgen_jax.apps.rendering import render
from my3dgen_jax.data.album import Album
from my3dgen_jax.demo import album as demo_album
from my3dgen_jax.demo import attributes
from my3dgen_jax.demo import render as demo_render
from my3dgen_jax.jobs import devices
from my3dgen_jax.launch.support import cli
from my3dgen_jax.losses import scores
from my3dgen_jax.losses.scores import IdentityScore
from my3dgen_jax.training import run_folder

_PEOPLE = cli.integer("people", 5, "Number of people, >= 2.", lower_bound=2)
_FIRST = cli.integer(
  "first", 0, "Number of the first procedural person, >= 0.", lower_bound=0
)
_RUNS = cli.string("runs", "runs/people", "Folder that demo_people wrote.")
_PHOTOS = cli.integer(
  "photos", 2, "Held-out photos per person, >= 1.", lower_bound=1
)
_VIEWS = cli.integer(
  "views", 4, "Random views per result, >= 1.", lower_bound=1
)
_SAMPLES = cli.integer(
  "samples",
  3000,
  "Number of samples to find directions with, >= 100.",
  lower_bound=100,
)
cli.define_cpu_devices()

_SETTINGS = ("pretrained", "full", "lora")
_STRENGTH = 2.0  # strength of edits, standard deviations of the samples


def main():
  folder = pathlib.Path(_RUNS.value)
  numbers = [_FIRST.value + i for i in range(_PEOPLE.value)]
  rows = {setting: [] for setting in _SETTINGS}
  for n in numbers:
    place = folder / f"person_{n}"
    for setting in _SETTINGS:
      path = place / (
        f"applications_{setting}_{_PHOTOS.value}_{_VIEWS.value}_"
        f"{_SAMPLES.value}.json"
      )
      if not path.exists():
        print(path, flush=True)
        run_folder.write_json(path, _measure(place, n, setting))
        devices.forget_programs()
      rows[setting].append(run_folder.read_json(path))
  _report(rows)


def _measure(
  place: pathlib.Path, number: int, setting: str
) -> dict[str, float]:
  """Measures all applications of one generator of a person."""
  person = load_person(
    run=place / ("full" if setting == "full" else "lora"),
    pretrained=setting == "pretrained",
    devices=devices.local_devices(),
  )
  score = IdentityScore.of(person.identity, person.reference())
  album = person.photos_of("test")
  album = album.subset(range(min(_PHOTOS.value, len(album))))
  names, photos = demo_album.demo_photos(number)
  rows = np.array([names.index(name.rsplit(".", 1)[0]) for name in album.names])
  truth = jax.tree.map(lambda x: x[rows], photos.person)
  of_views = lambda generator, ws, seed: float(
    np.mean(
      score(
        np.concatenate(
          [
            output.image
            for _, _, output in render.render_views(
              generator,
              ws[None],
              protocols.random_views(person, _VIEWS.value, seed),
            )
          ]
        )
      )
    )
  )
  found = {}
  found.update(_inversion(person, album, truth, of_views))
  found.update(_editing(person, place.parent, score))
  return found


def _inversion(
  person: Person, album: Album, truth: Any, of_views: Callable[..., float]
) -> dict[str, float]:
  """Pivotal tuning: one view, several views, and depth from the side."""
  config = invert.InvertConfig(
    way="pivot",
    projection=protocols.QUICK.projection,
    pivot=protocols.QUICK.pivot,
  )
  found = invert.invert(person, album, config)
  rows = []
  for i, (photo, one) in enumerate(zip(album, found)):
    output = render.synthesize(one.generator, one.ws[None], photo.c[None])
    row = scores.compare(output.image[0], photo.image, lpips=person.lpips)
    row["views"] = of_views(one.generator, one.ws, i)
    c = protocols.random_views(person, _VIEWS.value, i)
    exact = demo_render.render(
      jax.tree.map(lambda x, i=i: jnp.repeat(x[i : i + 1], len(c), 0), truth),
      jnp.asarray(c),
      resolution=photo.image.shape[0],
    )
    row["depth"] = _depth_error(one, c, exact)
    rows.append(row)
  return {
    f"inversion {name}": float(np.mean([row[name] for row in rows]))
    for name in ("lpips", "psnr", "views", "depth")
  }


def _depth_error(one: invert.Inverted, c: np.ndarray, exact: Any) -> float:
  """Mean depth error on the person, world units."""
  shown = np.concatenate(
    [
      output.image_depth
      for _, _, output in render.render_views(one.generator, one.ws[None], c)
    ]
  )
  side = shown.shape[1]
  small = lambda x: (
    np.asarray(x)
    .reshape(len(c), side, x.shape[1] // side, side, -1)
    .mean(axis=(2, 4))
  )
  inside = small(exact.mask) > 0.99  # no pixels that are partly wall
  return float(np.abs(shown[..., 0] - small(exact.depth))[inside].mean())


def _editing(
  person: Person, cache: pathlib.Path, score: IdentityScore
) -> dict[str, float]:
  """Smile without age, in alpha-space, from four anchors."""
  measure = attributes.shipped_measure()
  # One direction for all: people share the mapping network.
  base = load_person(
    checkpoint=person.settings["checkpoint"], devices=person.devices
  )
  config = EditConfig(samples=_SAMPLES.value, batch_size=8)
  w, labels = label_samples(base, measure, config, cache)
  smile = find_direction(w, labels, "smile", without=["age"])
  starts = edit.find_starts(person, [str(i) for i in range(0, 20, 5)], config)
  rows = []
  for start in starts:
    strengths = np.array([-1, 0, 1]) * _STRENGTH * smile.spread
    shown = edit.edit_strip(person, start, smile, strengths).images
    change = {
      name: np.asarray(values) for name, values in measure.apply(shown).items()
    }
    rows.append(
      {
        "editing": float(np.mean(score(shown[[0, 2]]))),
        "editing, before": float(score(shown[1:2])[0]),
        "smile changes by": float(change["smile"][2] - change["smile"][0]),
        "age changes by": float(change["age"][2] - change["age"][0]),
      }
    )
  return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _report(rows: Mapping[str, Any]):
  """Prints means and standard errors over people."""
  print(f"\n{len(rows['lora'])} people, mean and standard error\n")
  print("| | " + " | ".join(_SETTINGS) + " |")
  print("|---" * (len(_SETTINGS) + 1) + "|")
  for name in rows["lora"][0]:
    cells = []
    for setting in _SETTINGS:
      values = np.array([row[name] for row in rows[setting]])
      cells.append(
        f"{values.mean():.3f} ± {values.std(ddof=1) / len(values) ** 0.5:.3f}"
      )
    print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
  cli.run(main)
