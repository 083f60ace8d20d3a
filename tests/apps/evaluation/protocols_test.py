"""The paper's protocols, on cases whose answers are known."""

import dataclasses
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.apps import enhance, synthesize
from my3dgen_jax.apps.enhancement import masks, tasks
from my3dgen_jax.apps.evaluation import protocols
from my3dgen_jax.apps.evaluation.protocols import Protocol, Subject
from my3dgen_jax.apps.rendering import render
from my3dgen_jax.config import HullFitConfig, PivotConfig, ProjectionConfig
from my3dgen_jax.data import images
from my3dgen_jax.data.albums import open_album
from my3dgen_jax.directions import Direction
from my3dgen_jax.losses.scores import IdentityScore
from my3dgen_jax.ops import degradations
from my3dgen_jax.training.anchors import Anchors
from my3dgen_jax.types import Network
from tests.support import person as person_lib
from tests.support.mean_color import LPIPS
from tests.support.persons import Colors, tiny_person

SMALL = Protocol(
  name="small",
  photos=1,
  views=2,
  pairs=2,
  weights=3,
  images=4,
  starts=2,
  strengths=(1.0,),
  projection=ProjectionConfig(steps=1, batch_size=1),
  pivot=PivotConfig(steps=1),
  hull=HullFitConfig(steps=1, batch_size=1),
)


class ProtocolTest(parameterized.TestCase):
  """A small person whose photos are the generator's own images."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    cls.person = dataclasses.replace(
      tiny_person(4), lpips=LPIPS, lpips_digest="colors"
    )
    place = person_lib.write(
      pathlib.Path(folder.name) / "person", count=4, latents=False
    )
    cls.album = open_album(place / "album", min_photos=1)
    cls.subject = Subject(
      person=cls.person,
      photos=cls.album,
      trained=cls.album,
      score=IdentityScore.of(Network({}, Colors()), cls.album),
    )

  def with_anchors(self, ws):
    person = dataclasses.replace(
      self.person,
      anchors=Anchors(
        self.person.anchors.names[: len(ws)],
        ws,
        self.person.anchors.c[: len(ws)],
      ),
    )
    return dataclasses.replace(self.subject, person=person)

  def test_identical_images_have_identity_one(self):
    for item in self.album:
      self.assertAlmostEqual(
        float(self.subject.score(item.image[None])[0]), 1, places=5
      )

  def test_equal_anchors_interpolate_flat(self):
    subject = self.with_anchors(np.repeat(self.person.anchors.ws[:1], 3, 0))
    found = protocols.interpolation(subject, SMALL, 0)
    self.assertLen(found["curve"], 3)
    self.assertEqual(len(set(found["curve"])), 1)
    self.assertAlmostEqual(found["id_sim"], found["curve"][0], places=6)

  def test_interpolation_is_seen_from_the_same_views(self):
    """The curve's ends are the anchors, from the views of the pair."""
    ws = self.person.anchors.ws
    c = protocols.random_views(self.person, 2, 5)
    found = protocols.interpolation_curve(self.subject, ws[0], ws[1], 3, c)
    for value, one in ((found[0], ws[0]), (found[-1], ws[1])):
      shown = np.concatenate(
        [
          output.image
          for _, _, output in render.render_views(
            self.person.generator, one[None], c
          )
        ]
      )
      self.assertAlmostEqual(
        value, float(np.mean(self.subject.score(shown))), places=5
      )

  def test_views(self):
    first = protocols.random_views(self.person, 5, (1, 2))
    self.assertEqual(first.shape, (5, 25))
    np.testing.assert_array_equal(
      first, protocols.random_views(self.person, 5, (1, 2))
    )
    self.assertGreater(
      np.abs(first - protocols.random_views(self.person, 5, (1, 3))).max(), 0.01
    )

  def test_synthesis(self):
    found = protocols.synthesis(self.subject, SMALL, 3)
    self.assertEqual(found, protocols.synthesis(self.subject, SMALL, 3))
    self.assertNotEqual(found, protocols.synthesis(self.subject, SMALL, 4))
    # What is scored is what `synthesize` draws for this seed.
    samples = synthesize.draw(
      self.person, range(4), synthesize.SynthesizeConfig(seed=3)
    )
    shown = render.synthesize(self.person.generator, samples.ws, samples.c)
    self.assertAlmostEqual(
      found["id_sim"], float(np.mean(self.subject.score(shown.image))), places=5
    )

  def test_inversion(self):
    found = protocols.inversion(self.subject, SMALL, 0)
    self.assertCountEqual(found, ["psnr", "lpips", "id_sim"])
    # Latents beside the photos are not looked at.
    given = dataclasses.replace(
      self.album,
      photos=tuple(
        dataclasses.replace(photo, ws=self.person.anchors.ws[0])
        for photo in self.album.photos
      ),
    )
    self.assertEqual(
      found,
      protocols.inversion(
        dataclasses.replace(self.subject, photos=given), SMALL, 0
      ),
    )
    subject = dataclasses.replace(self.subject, dists=LPIPS)
    found = protocols.reprojection(subject, SMALL, 0)
    # Both distances are by the same stand-in.
    self.assertAlmostEqual(found["dists"], found["lpips"], places=5)

  def test_enhancement(self):
    scored, names = [], []

    class Score:
      def __call__(self, shown):
        scored.append(shown)
        return np.array([float(len(scored))])

      def without(self, name):
        names.append(name)
        return self

    found = protocols.enhancement(
      dataclasses.replace(self.subject, score=Score()), SMALL, 0
    )
    # No photo is compared with itself.
    self.assertEqual(names, [self.album.names[0]] * 2)
    self.assertEqual(found, {"inpainting": 1.0, "superresolution": 2.0})
    # The photo stays outside of the hole; when it was made small, the
    # generator alone enlarges it.
    photo, hole = self.album[0].image, masks.centre_hole(64)
    np.testing.assert_allclose(scored[0][0][~hole], photo[~hole], atol=1e-6)
    self.assertGreater(np.abs(scored[0][0] - photo)[hole].max(), 1e-3)
    person = self.person
    small = lambda x: degradations.shrunk(x, side=16)
    seen = images.to_uint8(small(photo[None]))
    (restored,) = enhance.restore(
      person,
      seen,
      self.album.c[:1],
      tasks.degradation_of(tasks.EnhanceConfig(task=tasks.ENLARGE), side=16),
      tasks.EnhanceConfig(
        task=tasks.ENLARGE, hull=SMALL.hull, agreement_steps=0
      ),
      names=self.album.names[:1],
    )
    np.testing.assert_array_equal(images.to_uint8(scored[1][0]), restored.image)

  def test_editing(self):
    ws = self.person.anchors.ws
    across = ws[1, 0] - ws[0, 0]
    directions = [
      Direction("across", across / np.linalg.norm(across), spread=0.1)
    ]
    scored = []
    found = protocols.editing(
      dataclasses.replace(
        self.subject,
        score=lambda shown: scored.append(shown[0]) or [float(len(scored))],
      ),
      SMALL,
      0,
      directions=directions,
    )
    # Two starts, each as it is and a strength of 1.
    self.assertEqual(found, {"unedited": 2.0, "across": 3.0, "id_sim": 3.0})
    anchors = self.person.anchors
    shown = np.asarray(
      render.synthesize(self.person.generator, anchors.ws, anchors.c).image
    )
    distance = lambda x: np.abs(shown - x).max(axis=(1, 2, 3)).min()
    self.assertLess(distance(scored[0]), 1e-4)
    self.assertGreater(distance(scored[1]), 1e-3)

  def test_tuning_does_not_stop_where_it_is_compared(self):
    """Else the LPIPS of all settings is where it stops."""
    self.assertEqual(protocols.QUICK.pivot.stop_lpips, 0)
    self.assertIn("60 steps of 0.005 each", protocols.QUICK.sizes().values())
    self.assertIn("until LPIPS is 0.06", str(protocols.FULL.sizes()))

  def test_small_sides(self):
    self.assertEqual(
      [protocols.small_side(side) for side in (512, 1024, 128, 64, 8)],
      [32, 64, 16, 16, 8],
    )


if __name__ == "__main__":
  absltest.main()
