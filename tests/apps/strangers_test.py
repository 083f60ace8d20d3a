"""What the demo has trained says that it knows nobody real."""

import dataclasses
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.apps import describe, strangers
from my3dgen_jax.apps.enhancement import photos
from my3dgen_jax.config import LoraConfig
from my3dgen_jax.data import dataset_json
from my3dgen_jax.data.album_files import PROCEDURAL_FILE
from my3dgen_jax.data.albums import open_album
from my3dgen_jax.demo import shipped
from my3dgen_jax.losses import identity, lpips, scores
from my3dgen_jax.losses.scores import IdentityScore
from my3dgen_jax.types import Network
from tests.support import albums


class StrangersTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = albums.make(pathlib.Path(folder.name) / "real")
    self.real = open_album(self.folder)
    self.drawn = dataclasses.replace(self.real, is_procedural=True)

  def test_albums_say_who_drew_them(self):
    self.assertFalse(self.real.is_procedural)
    (self.folder / PROCEDURAL_FILE).touch()
    found = open_album(self.folder)
    self.assertTrue(found.is_procedural)
    self.assertTrue(found.subset([0, 1]).is_procedural)
    path = albums.zip_folder(self.folder, self.folder.parent / "a.zip")
    self.assertTrue(open_album(path).is_procedural)

  def test_albums_of_before_are_told_by_their_names(self):
    names = ["photo000.png", "test000.png", "reference000.png"]
    labels = albums.labels(4)
    for i, name in enumerate(names):
      (self.folder / f"photo{i:02}.png").rename(self.folder / name)
    (self.folder / "photo03.png").unlink()
    dataset_json.write(self.folder / "dataset.json", dict(zip(names, labels)))
    self.assertTrue(open_album(self.folder).is_procedural)
    (self.folder / names[0]).rename(self.folder / "me.png")
    dataset_json.write(
      self.folder / "dataset.json", dict(zip(["me.png", *names[1:]], labels))
    )
    self.assertFalse(open_album(self.folder).is_procedural)

  def test_one_photo_of_an_album(self):
    one = photos.one_photo(self.folder / "photo00.png")
    self.assertFalse(one.is_procedural)
    (self.folder / PROCEDURAL_FILE).touch()
    one = photos.one_photo(self.folder / "photo00.png")
    self.assertTrue(one.is_procedural)

  def test_shipped_networks_and_no_others(self):
    own = (
      lpips.load_lpips(shipped.LPIPS),
      identity.load_identity(shipped.IDENTITY),
    )
    for network in own:
      self.assertTrue(scores.is_of_demo(network))
      self.assertIsNone(scores.judge(network, self.real))
      self.assertIs(scores.judge(network, self.drawn), network)
    for module in (
      *map(lpips.Lpips, ("alex", "vgg", "squeeze")),
      *map(identity.Identity, ("ir_se50", "mobilefacenet")),
      None,
    ):
      network = module and Network({}, module)
      self.assertFalse(scores.is_of_demo(network))
      self.assertIs(scores.judge(network, self.real), network)

  def test_identity_scores(self):
    network = identity.load_identity(shipped.IDENTITY)
    self.assertIsNone(IdentityScore.of(network, self.real))
    score = IdentityScore.of(network, self.drawn.subset([0]))
    self.assertTrue(np.isfinite(score(self.drawn[1].image[None])).all())

  def test_warnings(self):
    network = identity.load_identity(shipped.IDENTITY)
    self.assertTrue(strangers.is_demo(shipped.PRIOR))
    say = lambda album: strangers.warnings(
      album, is_demo_prior=True, networks=(None, network)
    )
    self.assertEqual(say(self.drawn), [])
    prior, judges = say(self.real)
    self.assertIn("a real face becomes a painted mask", prior)
    self.assertIn("their scores of these photos are left out", judges)
    self.assertEqual(
      strangers.warnings(self.real, is_demo_prior=False, networks=(None,)), []
    )

  def test_info(self):
    text = "\n".join(describe.describe_checkpoint(shipped.PRIOR, LoraConfig()))
    self.assertIn("knows only procedural people, no real ones", text)


if __name__ == "__main__":
  absltest.main()
