"""The paper's measurements, one function each: a person in, numbers out.

Every function takes a `Subject`, a `Protocol`, which sets how much is measured,
and a seed, and returns plain data. All settings of a person (pretrained, all
weights tuned, LoRA) see the same photos, latents and cameras.

Source: My3DGen, section 4 and appendix D.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from my3dgen_jax import latents
from my3dgen_jax.apps import edit, enhance, invert, synthesize
from my3dgen_jax.apps.editing.config import EditConfig
from my3dgen_jax.apps.enhancement import masks, tasks
from my3dgen_jax.apps.evaluation.diversity import lpips_diversity, STOPPED
from my3dgen_jax.apps.person import Person
from my3dgen_jax.apps.rendering import render
from my3dgen_jax.config import HullFitConfig, PivotConfig, ProjectionConfig
from my3dgen_jax.data import images
from my3dgen_jax.data.album import Album
from my3dgen_jax.directions import Direction
from my3dgen_jax.jobs.interrupts import StopRequest
from my3dgen_jax.losses import scores
from my3dgen_jax.losses.scores import IdentityScore
from my3dgen_jax.types import Array, Network

YAW, PITCH = 0.35, 0.25  # of random views, radians about the front

_BATCH = 4  # images at a time, over all devices
_FACTOR, _LEAST = 16, 16  # shrinking factor, and the least side in pixels


@dataclasses.dataclass(frozen=True)
class Protocol:
  """How much to measure.

  Attributes:
    name: the protocol's name in reports.
    photos: held-out photos to invert and enhance, at most.
    views: random views of each result.
    pairs: pairs of anchors to interpolate.
    weights: interpolation weights per pair, including the ends.
    images: images to synthesize.
    starts: anchors to edit, at most.
    strengths: strengths of edits, standard deviations of latents along the
      direction.
    projection: settings of the projection of a photo into W.
    pivot: settings of tuning the generator to a photo.
    hull: settings of the projection of a photo into the personal hull.
  """

  name: str
  photos: int
  views: int
  pairs: int
  weights: int
  images: int
  starts: int
  strengths: tuple[float, ...]
  projection: ProjectionConfig
  pivot: PivotConfig
  hull: HullFitConfig

  def sizes(self) -> dict[str, Any]:
    """The protocol's sizes, printed in the report."""
    projection, pivot, hull = self.projection, self.pivot, self.hull
    noise = "with" if projection.optimize_noise else "without"
    until = (
      f"at most, until LPIPS is {pivot.stop_lpips:g}"
      if pivot.stop_lpips
      else "each"
    )
    return {
      "photos": self.photos,
      "views": self.views,
      "pairs": self.pairs,
      "weights": self.weights,
      "images": self.images,
      "starts": self.starts,
      "strengths": self.strengths,
      "projection": f"{projection.steps} steps of "
      f"{projection.learning_rate:g}, squared differences "
      f"times {projection.mse_weight:g}, {noise} noise "
      "maps",
      f"tuning ({pivot.mode})": f"{pivot.steps} steps of "
      f"{pivot.learning_rate:g} {until}",
      "hull": f"{hull.steps} steps of {hull.learning_rate:g}",
    }


# Steps and learning rates are those of the demo, where they suffice. Tuning
# runs all its steps: if it stopped at an LPIPS, every setting would have that
# LPIPS.
QUICK = Protocol(
  name="quick",
  photos=2,
  views=4,
  pairs=4,
  weights=5,
  images=100,
  starts=3,
  strengths=(-2.0, 2.0),
  projection=ProjectionConfig(
    steps=30, learning_rate=0.1, mse_weight=2.0, optimize_noise=False
  ),
  pivot=PivotConfig(steps=60, learning_rate=0.005, stop_lpips=0.0),
  hull=HullFitConfig(steps=100, learning_rate=0.02),
)
FULL = Protocol(
  name="full",
  photos=10,
  views=20,
  pairs=10,
  weights=10,
  images=1000,
  starts=10,
  strengths=(-3.0, -2.0, -1.0, 1.0, 2.0, 3.0),
  projection=ProjectionConfig(steps=600),
  pivot=PivotConfig(mode="full"),
  hull=HullFitConfig(),
)
PROTOCOLS = {one.name: one for one in (QUICK, FULL)}


@dataclasses.dataclass(frozen=True)
class Subject:
  """A person with one generator, and what it is compared with.

  Attributes:
    person: the person, with anchors and LPIPS.
    photos: held-out photos.
    trained: training photos; synthesized images are grouped by them.
    score: the identity score.
    dists: the DISTS network; None: no such score.
    stop: looked at now and then.
    cache: folder to keep unfinished work in; None: it is not kept.
  """

  person: Person
  photos: Album
  trained: Album
  score: IdentityScore
  dists: Network | None = None
  stop: StopRequest = dataclasses.field(default_factory=StopRequest)
  cache: pathlib.Path | None = None

  def chosen(self, count: int) -> Album:
    """The first `count` held-out photos, or all."""
    return self.photos.subset(range(min(count, len(self.photos))))


def inversion(
  subject: Subject, protocol: Protocol, seed: int
) -> dict[str, float]:
  """Table 1: photos inverted by pivotal tuning.

  Returns: means: "lpips", "psnr" and "dists" of the photo's own view, and
    "id_sim" of random views.
  """
  return _inverted(
    subject,
    protocol,
    seed,
    invert.InvertConfig(
      way="pivot", projection=protocol.projection, pivot=protocol.pivot
    ),
  )


def reprojection(
  subject: Subject, protocol: Protocol, seed: int
) -> dict[str, float]:
  """Appendix D: photos projected into the hull, weights unchanged.

  Returns: as `inversion`.
  """
  return _inverted(
    subject, protocol, seed, invert.InvertConfig(way="hull", hull=protocol.hull)
  )


def _inverted(
  subject: Subject, protocol: Protocol, seed: int, config: invert.InvertConfig
) -> dict[str, float]:
  # Each generator projects the photos itself, even if latents are stored.
  photos = subject.chosen(protocol.photos).without_latents()
  rows = []
  for i, (photo, one) in enumerate(
    zip(
      photos,
      invert.invert(
        subject.person, photos, config, stop=subject.stop, cache=subject.cache
      ),
    )
  ):
    image = render.synthesize(one.generator, one.ws[None], photo.c[None]).image[
      0
    ]
    row = scores.compare(
      image, photo.image, lpips=subject.person.lpips, mask=photo.mask
    )
    if subject.dists is not None:
      row["dists"] = float(
        _distance(subject.dists, image[None], photo.image[None])[0]
      )
    c = random_views(subject.person, protocol.views, (seed, i))
    row["id_sim"] = _views_score(subject, one.generator, one.ws, c, photo.name)
    rows.append(row)
  return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def interpolation(
  subject: Subject, protocol: Protocol, seed: int
) -> dict[str, Any]:
  """Figure 4: interpolation between pairs of anchors, from random views.

  All weights of a pair are seen from the same views, so that only the latent
  changes along the curve.

  Returns: "id_sim", mean; "curve", one mean per weight.
  """
  anchors = subject.person.anchors
  rng = np.random.default_rng(seed)
  curves = []
  for pair in range(protocol.pairs):
    subject.stop.raise_if_wanted(STOPPED)
    first, second = rng.choice(
      len(anchors.names), 2, replace=len(anchors.names) < 2
    )
    c = random_views(subject.person, protocol.views, (seed, pair))
    curves.append(
      interpolation_curve(
        subject, anchors.ws[first], anchors.ws[second], protocol.weights, c
      )
    )
  return {
    "id_sim": float(np.mean(curves)),
    "curve": np.mean(curves, axis=0).tolist(),
  }


def interpolation_curve(
  subject: Subject, a: Array, b: Array, weights: int, c: Array
) -> list[float]:
  """The identity score along the line from a to b.

  Args:
    subject: the subject, whose generator is used.
    a: [num_ws, w_dim], the first latent.
    b: [num_ws, w_dim], the second latent.
    weights: count of latents, including the ends.
    c: [V, 25], the views' camera labels.

  Returns: the mean over views of each latent.
  """
  t = np.linspace(0, 1, weights, dtype=np.float32)
  return [
    _views_score(subject, subject.person.generator, ws, c)
    for ws in np.asarray(latents.between(a, b, t))
  ]


def synthesis(
  subject: Subject, protocol: Protocol, seed: int
) -> dict[str, float]:
  """Table 2: random latents of the hull from random cameras.

  Returns: "id_sim", mean; "diversity" and "groups", see `lpips_diversity`.
  """
  person = subject.person
  samples = synthesize.draw(
    person,
    range(protocol.images),
    synthesize.SynthesizeConfig(seed=seed, yaw=YAW, pitch=PITCH),
  )
  shown = []
  for image in render.synthesize_many(
    person.generator,
    samples.ws,
    samples.c,
    devices=person.devices,
    batch_size=_BATCH,
  ):
    subject.stop.raise_if_wanted(STOPPED)
    shown.append(image)
  # One at a time, like the reference photos: one program serves both.
  found = [float(subject.score(image[None])[0]) for image in shown]
  return {
    "id_sim": float(np.mean(found)),
    **lpips_diversity(
      person.need_lpips(),
      shown,
      [item.image for item in subject.trained],
      subject.stop,
    ),
  }


def enhancement(
  subject: Subject, protocol: Protocol, seed: int
) -> dict[str, float]:
  """Table 3: the center filled in, and small photos enlarged.

  Photos are shrunk 16 times (512 to 32), but not below 16 pixels, and enlarged
  by the generator alone: `agreement_steps` would let the small photo
  correct it, for all settings alike.

  Returns: "inpainting" and "superresolution", mean identity scores.
  """
  del seed  # nothing is random
  person, photos = subject.person, subject.chosen(protocol.photos)
  c = photos.c
  seen = np.stack([images.to_uint8(item.image) for item in photos])
  side = seen.shape[1]
  holes = np.repeat(masks.centre_hole(side)[None], len(seen), axis=0)
  config = tasks.EnhanceConfig(hull=protocol.hull)
  common = {"names": photos.names, "stop": subject.stop, "cache": subject.cache}
  filled = enhance.inpaint(person, seen, c, holes, config, **common)
  config = dataclasses.replace(config, task=tasks.ENLARGE, agreement_steps=0)
  degradation = tasks.degradation_of(config, side=small_side(side))
  small = images.to_uint8(
    degradation.apply(np.stack([item.image for item in photos]))
  )
  large = enhance.restore(person, small, c, degradation, config, **common)
  of = lambda results: float(
    np.mean(
      [
        subject.score.without(name)(images.to_float(one.image)[None])[0]
        for name, one in zip(photos.names, results)
      ]
    )
  )
  return {"inpainting": of(filled), "superresolution": of(large)}


def small_side(side: int) -> int:
  """The side, in pixels, that a photo of `side` pixels is shrunk to."""
  return max(side // _FACTOR, min(_LEAST, side))


def editing(
  subject: Subject,
  protocol: Protocol,
  seed: int,
  *,
  directions: Sequence[Direction],
) -> dict[str, float]:
  """Table 4: anchors edited in alpha-space.

  Directions need their spread, see `editing.finding.with_spread`.

  Returns: "id_sim", mean over directions, starts and strengths; each
    direction's mean under its name; "unedited", that of the starts.
  """
  person = subject.person
  rng = np.random.default_rng(seed)
  count = len(person.anchors.names)
  names = [
    person.anchors.names[i]
    for i in np.sort(rng.permutation(count)[: protocol.starts])
  ]
  starts = edit.find_starts(person, names, EditConfig(), log=lambda line: None)
  found: dict[str, list[float]] = {}
  score = lambda shown: [
    float(subject.score(image[None])[0]) for image in shown
  ]
  for start in starts:
    subject.stop.raise_if_wanted(STOPPED)
    for direction in directions:
      strengths = direction.spread * np.array((0.0,) + protocol.strengths)
      values = score(
        edit.edit_strip(
          person, start, direction, strengths, batch_size=_BATCH
        ).images
      )
      found.setdefault("unedited", []).append(values[0])
      found.setdefault(direction.name, []).extend(values[1:])
      found.setdefault("id_sim", []).extend(values[1:])
  return {name: float(np.mean(values)) for name, values in found.items()}


def random_views(person: Person, count: int, seed: Any) -> np.ndarray:
  """Labels of random cameras around the frontal view, [count, 25].

  Args:
    person: the person; the first anchor's intrinsics are used.
    count: count of cameras.
    seed: seed of NumPy's generator.
  """
  yaw, pitch = (
    np.random.default_rng(seed).uniform(-1, 1, (2, count)).astype(np.float32)
  )
  return render.about_front(
    person.generator, person.anchors.c[0], YAW * yaw, PITCH * pitch
  )


def _views_score(
  subject: Subject, generator: Network, ws: Array, c: Array, photo: str = ""
) -> float:
  """The mean identity score of a latent's views; `photo` is the photo shown."""
  score = subject.score.without(photo)
  return float(
    np.mean(
      [
        score(output.image)[0]
        for _, _, output in render.render_views(
          generator, np.asarray(ws)[None], c
        )
      ]
    )
  )


@jax.jit
def _distance(network: Network, x: Array, y: Array) -> jax.Array:
  return network(x, y)
