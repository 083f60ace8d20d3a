"""Pages of a small person's heads: what is inside, and what is refused."""

import base64
import json
import os
import pathlib
import re
import tempfile
import zlib
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.apps import share
from my3dgen_jax.apps.editing.config import EditConfig
from my3dgen_jax.apps.rendering import scenes
from my3dgen_jax.apps.sharing import field as field_lib
from my3dgen_jax.data import provenance
from my3dgen_jax.directions import Direction
from my3dgen_jax.directions.direction import unit
from my3dgen_jax.errors import UserError
from tests.support.pages import check_page
from tests.support.persons import tiny_person


def rows_of(page):
  return json.loads(re.search('id="data">(.*?)</script>', page, re.S)[1])[
    "rows"
  ]


class ShareTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.out = self.folder / "head.html"
    self.person = tiny_person()
    # Coarse, to be quick.
    self.enterContext(mock.patch.object(field_lib, "CELLS", 8))

  def write(self, found, config=share.ShareConfig()):
    share.write_scenes(
      self.person, found, config, self.out, log=lambda line: None
    )
    return self.out.read_text()

  def test_nobody_is_named(self):
    found = scenes.find(self.person, ["photo00", "photo01"])
    page = self.write(scenes.stills(self.person, found))
    check_page(page)
    for name in ("photo0", "tiny", str(self.folder)):
      self.assertNotIn(name, page)
    rows = rows_of(page)
    self.assertEqual([row["label"] for row in rows], ["Face 1", "Face 2"])
    self.assertEqual([row["marks"] for row in rows], [[""], [""]])
    made = json.loads(
      re.search('id="provenance">(.*?)</script>', page, re.S)[1]
    )
    self.assertEqual(
      (made["adapter"], made["base"], made["task"], made["details"]),
      ("0123456789abcdef", "fedcba9876543210", "share", {"faces": "2"}),
    )
    self.assertEqual(made["digitalSourceType"], provenance.SOURCE_TYPE)
    # A title that was asked for is; and a page of ours is replaced.
    page = self.write(
      scenes.stills(self.person, found[:1]), share.ShareConfig(title="Ann & I")
    )
    self.assertIn("<title>Ann &amp; I</title>", page)

  def test_sliders(self):
    found = scenes.find(self.person, ["photo00", "photo01"])
    (row,) = rows_of(
      self.write([scenes.way(self.person, found, frames=3, spherical=False)])
    )
    self.assertEqual((row["first"], row["marks"]), (0, ["1/3", "2/3", "3/3"]))
    width = self.person.generator.module.config.w_dim
    direction = Direction("smile", unit(np.ones(width)))
    (row,) = rows_of(
      self.write(
        scenes.edits(
          self.person,
          found[:1],
          direction,
          EditConfig(strengths=(-1.0, 0.0, 1.0), unit="w", apply="w"),
        )
      )
    )
    self.assertEqual(row["label"], "Face 1: smile")
    self.assertEqual((row["first"], row["marks"][0]), (1, "-1"))

  def test_splats(self):
    """The other content; splats of every face lie in one cube."""
    found = scenes.find(self.person, ["photo00", "photo01"])
    config = share.ShareConfig(content="splats", splats=100, splat_steps=1)
    page = self.write(scenes.stills(self.person, found), config)
    check_page(page)
    self.assertIn("Gaussian splats in WebGL 2", page)
    self.assertNotIn("A tri-plane radiance field", page)
    data = json.loads(re.search('id="data">(.*?)</script>', page, re.S)[1])
    self.assertEqual(
      data["camera"]["fitted"],
      self.person.generator.module.config.img_resolution,
    )
    low, high = data["camera"]["ranges"]["means"]
    self.assertEqual(low, -high)
    for row in data["rows"]:
      self.assertNotIn("decoder", row)
      packed = re.search(f'id="{row["stops"][0]}">(.*?)</script>', page)[1]
      count, rest = divmod(len(zlib.decompress(base64.b64decode(packed))), 17)
      self.assertEqual(rest, 0)
      self.assertBetween(count, 1, 100)
    made = json.loads(
      re.search('id="provenance">(.*?)</script>', page, re.S)[1]
    )
    self.assertEqual(made["details"]["content"], "splats")

  def test_paths(self):
    (self.folder / "mine.html").write_text("<!DOCTYPE html><title>mine</title>")
    (self.folder / "folder.html").mkdir()
    for name, text in (
      ("head.txt", "must end in .html"),
      ("head", "must end in .html"),
      ("nowhere/head.html", "nowhere: there is no such folder"),
      ("folder.html", "is a folder"),
      ("mine.html", "exists and is not a page of my3dgen share"),
    ):
      with self.assertRaisesRegex(UserError, text):
        share.check_path(self.folder / name)

  def test_refused(self):
    found = scenes.find(self.person, ["photo00"])
    stills = scenes.stills(self.person, found)
    for config in (
      share.ShareConfig(title=" "),
      share.ShareConfig(title="x" * 999),
      share.ShareConfig(stops=1),
      share.ShareConfig(content="mesh"),
      share.ShareConfig(content="splats", splats=1),
      share.ShareConfig(content="splats", splat_steps=-1),
    ):
      with self.assertRaises(UserError):
        self.write(stills, config)
    with self.assertRaisesRegex(UserError, "33 faces are too many"):
      self.write(stills * 33)
    wild = (
      stills[0].panels[0]._replace(ws=np.full_like(found[0].ws, 3e38)[None])
    )
    with self.assertRaisesRegex(UserError, "photo00: its planes hold numbers"):
      self.write([stills[0]._replace(rows=((wild,),))])
    nowhere = (
      stills[0].panels[0]._replace(ws=np.full_like(found[0].ws, np.nan)[None])
    )
    with self.assertRaisesRegex(UserError, "photo00: its latent holds numbers"):
      self.write(
        [stills[0]._replace(rows=((nowhere,),))],
        share.ShareConfig(content="splats"),
      )
    self.assertEqual(os.listdir(self.folder), [])  # nothing half written


if __name__ == "__main__":
  absltest.main()
