"""The page as text: whole, strict, escaped, and without a way out."""

import base64
import functools
import hashlib
import json
import re
import zlib

import numpy as np
from absl.testing import absltest

from my3dgen_jax.apps.rendering.limits import Limits
from my3dgen_jax.apps.sharing import pages
from my3dgen_jax.apps.sharing.field import Field
from my3dgen_jax.config import RenderConfig
from my3dgen_jax.data import provenance
from my3dgen_jax.data.provenance import Origin
from tests.support.pages import check_page

EVIL = "</script><img src=x onerror=alert(1)>{{script}}&\"'"
ORIGIN = Origin("me", "base", "share", ((EVIL, EVIL), ("faces", "2")))


def field(stops=2):
  rng = np.random.default_rng(0)
  return Field(
    rng.integers(0, 256, (stops, 4, 6, 6, 4), np.uint8),
    rng.integers(0, 9, (stops, 8, 8, 8, 2), np.uint8),
    rng.normal(size=16 * 2 * 3 + 4 * 3 + 16 * 3 + 4).astype(np.float32),
    2,
    3,
    0.75,
  )


@functools.cache
def page():
  return pages.head_page(
    [
      pages.Face(EVIL, (EVIL, "1"), 1, field(), 4.0),
      pages.Face("Face 2", ("",), 0, field(1), 4.0),
    ],
    config=RenderConfig(),
    limits=Limits(),
    poster=b"jpeg",
    side=64,
    origin=ORIGIN,
    title=EVIL,
  )


def element(name):
  """The text of a script element."""
  (found,) = re.findall(
    f'<script[^>]* id="{name}">(.*?)</script>', page(), re.S
  )
  return found


class PageTest(absltest.TestCase):
  def test_strict_and_escaped(self):
    parsed = check_page(page())
    self.assertNotIn("onerror", "".join(map(str, parsed.images)))
    self.assertLen(parsed.images, 1)
    self.assertEqual(parsed.tags.count("canvas"), 1)
    self.assertEqual(json.loads(element("provenance"))["details"][EVIL], EVIL)
    self.assertEqual(json.loads(element("data"))["rows"][0]["label"], EVIL)
    self.assertIn("Synthetic: made by a neural network", parsed.words)

  def test_policy_allows_what_is_there_and_nothing_else(self):
    (policy,) = re.findall(r'Security-Policy" content="(.*?)"', page())
    self.assertStartsWith(policy, "default-src 'none'; img-src data:; ")
    for tag, kind in (("script", "script"), ("style", "style")):
      (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", page(), re.S)
      digest = hashlib.sha256(content.encode()).digest()
      hashed = base64.b64encode(digest).decode()
      self.assertIn(f"{kind}-src 'sha256-{hashed}'", policy)
    for word in ("unsafe", "http:", "connect-src", "*"):
      self.assertNotIn(word, policy)

  def test_stops_are_packed(self):
    data = json.loads(element("data"))
    camera = data["camera"]
    self.assertEqual(
      [row["stops"] for row in data["rows"]],
      [["stop-0-0", "stop-0-1"], ["stop-1-0"]],
    )
    self.assertEqual(
      [
        camera[name] for name in ("groups", "hidden", "layers", "side", "cells")
      ],
      [2, 3, 4, 6, 8],
    )
    one = field()
    content = zlib.decompress(base64.b64decode(element("stop-0-1")))
    steps = np.frombuffer(content[: 4 * 6 * 6 * 4], np.uint8)
    texels = np.cumsum(steps.reshape(4, 4, 6, 6), axis=-1, dtype=np.uint8)
    np.testing.assert_array_equal(texels.transpose(0, 2, 3, 1), one.texels[1])
    np.testing.assert_array_equal(
      np.frombuffer(content[4 * 6 * 6 * 4 :], np.uint8), one.skips[1].ravel()
    )
    decoder = base64.b64decode(data["rows"][0]["decoder"])
    np.testing.assert_array_equal(
      np.frombuffer(decoder, np.float32), one.decoder
    )

  def test_known_again(self):
    self.assertTrue(pages.is_page(page().encode()[:4096]))
    self.assertFalse(pages.is_page(b"<!DOCTYPE html>\n<title>mine</title>"))
    self.assertIn(provenance.SOFTWARE, page())


if __name__ == "__main__":
  absltest.main()
