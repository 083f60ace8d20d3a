"""Frames of moving cameras and latents."""

from unittest import mock

import jax
import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.apps.rendering import frames, render
from my3dgen_jax.errors import UserError
from my3dgen_jax.models.generator import Generator
from my3dgen_jax.ops.rendering import normals
from my3dgen_jax.types import Network
from tests.support.tiny import random_variables, TINY

NETWORK = Network(random_variables(), Generator(TINY))
WS = (
  np.random.default_rng(0)
  .standard_normal((3, TINY.num_ws, TINY.w_dim))
  .astype(np.float32)
)
C = np.asarray(render.view_labels(TINY.rendering, [-0.3, 0.0, 0.3], [0.0]))


def made(ws=WS[:1], c=C, **options):
  options = {"kinds": frames.KINDS, "devices": jax.devices()[:1], **options}
  return list(frames.render_frames(NETWORK, ws, c, **options))


def expected(ws, c, **options):
  """What the generator makes of each latent and camera."""
  return jax.jit(lambda ws, c: NETWORK(ws, c, method="synthesis", **options))(
    ws, c
  )


class FramesTest(parameterized.TestCase):
  @parameterized.parameters((1, 3), (3, 3), (3, 1))
  def test_are_the_generators(self, latents, views):
    ws, c = WS[:latents], C[:views]
    found = made(ws, c)
    self.assertLen(found, 3)
    ws, c = (np.broadcast_to(a, (3,) + a.shape[1:]) for a in (ws, c))
    whole = expected(ws, c)
    turned = normals.normals_from_depth(whole.image_depth, c)
    for i, frame in enumerate(found):
      self.assertEqual(set(frame), set(frames.KINDS))
      for kind, array in (
        ("image", whole.image),
        ("raw", whole.image_raw),
        ("depth", whole.image_depth),
        ("normals", turned),
      ):
        # Another batch size: sums are taken in another order. Normals of a
        # 4 x 4 depth of random weights magnify that.
        np.testing.assert_allclose(
          frame[kind], array[i], atol=1e-3, err_msg=kind
        )
    self.assertGreater(
      np.abs(found[0]["image"] - found[2]["image"]).max(), 0.01
    )

  def test_planes_once_a_latent_and_one_program(self):
    seen = []
    real = Generator.planes

    def counted(self, ws, **options):
      seen.append(ws.shape)
      return real(self, ws, **options)

    with mock.patch.object(
      frames, "planes_of", side_effect=frames.planes_of
    ) as planes:
      made(c=np.repeat(C, 3, axis=0))
      self.assertEqual(planes.call_count, 1)
      # What moves makes planes in the program of each frame, traced once.
      frames._frames_on.cache_clear()
      with mock.patch.object(Generator, "planes", counted):
        made(np.repeat(WS, 3, axis=0), np.repeat(C, 3, axis=0))
      self.assertEqual(planes.call_count, 1)
    frames._frames_on.cache_clear()
    self.assertLen(seen, 1)

  def test_one_program_for_all_frames(self):
    frames._frames_on.cache_clear()
    seen = []
    real = frames.normals_lib.normals_from_depth
    with mock.patch.object(
      frames.normals_lib,
      "normals_from_depth",
      side_effect=lambda *a: seen.append(0) or real(*a),
    ):
      self.assertLen(made(c=np.repeat(C, 3, axis=0), batch_size=2), 9)
      self.assertLen(
        made(WS[1:2], c=np.repeat(C, 3, axis=0)[:7], batch_size=2), 7
      )
    frames._frames_on.cache_clear()
    self.assertLen(seen, 1)

  @parameterized.parameters((4, 0), (1, 2), (2, 3))
  def test_devices_and_batches_change_nothing(self, devices, batch_size):
    c = np.concatenate([C, C[:2]])
    alone = made(c=c)
    shared = made(c=c, devices=jax.devices()[:devices], batch_size=batch_size)
    self.assertLen(shared, 5)
    for a, b in zip(alone, shared):
      np.testing.assert_allclose(a["image"], b["image"], atol=1e-4)
      np.testing.assert_allclose(a["depth"], b["depth"], atol=1e-4)

  def test_panels_share_a_camera(self):
    other = Network(random_variables(1), Generator(TINY))
    found = list(
      frames.render_panels(
        [(NETWORK, WS[:1]), (other, WS[:1]), (NETWORK, WS[1:2])],
        C,
        devices=jax.devices()[:1],
      )
    )
    self.assertLen(found, 3)
    for i, network, w in ((0, NETWORK, 0), (1, other, 0), (2, NETWORK, 1)):
      alone = list(
        frames.render_frames(
          network, WS[w : w + 1], C, devices=jax.devices()[:1]
        )
      )
      for panels, one in zip(found, alone):
        np.testing.assert_array_equal(panels[i]["image"], one["image"])

  def test_resolution(self):
    (frame,) = made(c=C[:1], neural_rendering_resolution=6)
    self.assertEqual(frame["raw"].shape, (6, 6, 3))
    self.assertEqual(frame["normals"].shape, (6, 6, 3))

  @parameterized.parameters(
    (dict(ws=WS[:2]), "c: has 3 rows|ws: has 2 rows"),
    (dict(c=C[:, :9]), "c: expected shape"),
    (dict(kinds=("colour",)), "kinds: expected some of image, raw"),
  )
  def test_bad_input_is_told_at_once(self, changes, pattern):
    options = {"ws": WS[:1], "c": C, "kinds": ("image",), **changes}
    with self.assertRaisesRegex(UserError, pattern):
      frames.render_frames(
        NETWORK, options.pop("ws"), options.pop("c"), **options
      )


if __name__ == "__main__":
  absltest.main()
