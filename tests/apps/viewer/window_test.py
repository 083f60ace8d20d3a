"""One window of a viewer, without a browser."""

import contextlib
import importlib.util
import pathlib
import socket
import tempfile
import types
import unittest
from unittest import mock

import numpy as np
from absl.testing import absltest

from my3dgen_jax.apps.viewer import orbits, scene
from my3dgen_jax.apps.viewer import window as window_lib
from my3dgen_jax.apps.viewer.orbits import Limits, Orbit
from my3dgen_jax.apps.viewer.people import People
from my3dgen_jax.apps.viewer.window import Window
from my3dgen_jax.apps.viewer.workers import Level
from my3dgen_jax.data import provenance
from my3dgen_jax.directions import Direction
from my3dgen_jax.errors import UserError
from tests.support import person
from tests.support.runs import write_run

# What a window holds is set here as a browser would.
# pylint: disable=protected-access


class WindowTest(absltest.TestCase):
  def test_a_first_person_who_is_gone(self):
    """Or is being made again: a new window shows somebody else."""
    viewer, shown, calls = mock.Mock(person="ann"), mock.Mock(), []
    window = Window(viewer, mock.Mock(client_id=1))

    def load(name):
      if name != "bob":
        raise UserError(f"{name}: is still being written")
      return shown

    viewer.people.first.return_value = ("bob", [])
    viewer.people.load.side_effect = load
    window._refresh = window._camera.begin = mock.Mock()
    window._put_camera = calls.append
    with mock.patch.object(window_lib, "Controls"):
      window.open()
    self.assertEqual((window._person, window._shown), ("bob", shown))
    self.assertEqual(calls, [Orbit()])


@unittest.skipIf(
  importlib.util.find_spec("viser") is None, "viser is not installed"
)
class PanelTest(absltest.TestCase):
  """With the panel of a real server, which nobody looks at."""

  def setUp(self):
    super().setUp()
    import viser  # pylint: disable=import-outside-toplevel

    folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    base = person.write(folder / "made") / "base"
    write_run(folder / "runs" / "ann", base, 1)
    write_run(folder / "runs" / "bob", base, 2, strength=0.05)
    with socket.socket() as one:
      one.bind(("127.0.0.1", 0))
      port = one.getsockname()[1]
    server = viser.ViserServer(host="127.0.0.1", port=port, verbose=False)
    self.addCleanup(server.stop)
    vector = np.zeros(person.MODEL.w_dim, np.float32)
    vector[0] = 1
    smile = Direction("smile", vector, spread=1.0)
    self.requests, self.jobs = [], []
    renderer = mock.Mock()
    renderer.is_new.return_value = False
    renderer.submit = lambda _, request, deliver: self.requests.append(request)
    renderer.draw.return_value = np.zeros((8, 8, 3), np.uint8)
    self.out = folder / "out"
    self.out.mkdir()
    viewer = types.SimpleNamespace(
      people=People([folder / "runs"]),
      person="ann",
      directions=[smile],
      directions_of=lambda _: [smile],
      moving=Level(8),
      warn=self.fail,
      renderer=renderer,
      save=self.jobs.append,
      config=types.SimpleNamespace(
        limits=Limits(), out=str(self.out), video=".mp4", mesh=".glb"
      ),
    )
    self.browser = types.SimpleNamespace(
      image_width=8, image_height=8, on_update=lambda _: None
    )
    self.client = mock.Mock(
      client_id=1,
      gui=server.gui,
      camera=self.browser,
      atomic=contextlib.nullcontext,
    )
    self.window = Window(viewer, self.client)
    self.window.open()

  def told(self):
    return str(self.client.add_notification.call_args)

  def test_what_a_window_shows(self):
    controls, person_of = self.window._controls, self.window._viewer.people
    first = self.requests[-1]
    ann = person_of.load("ann")
    np.testing.assert_allclose(first.ws, ann.own.anchors.ws[0], atol=1e-6)
    self.assertEqual(first.key, ann.own.digest)
    self.assertTrue(controls._first.visible)
    self.assertFalse(controls._seed.visible)

    controls._personal.value = False
    self.assertEqual(self.requests[-1].key, ann.base.digest)
    controls._personal.value = True
    controls._edits["smile"].value = 1.5
    self.assertGreater(np.abs(self.requests[-1].ws - first.ws).max(), 0)
    self.window._reset_edits()
    np.testing.assert_allclose(self.requests[-1].ws, first.ws)
    controls._start.value = "a seed"
    self.assertTrue(controls._seed.visible)
    self.assertFalse(controls._first.visible)
    controls._kind.value = "depth"
    self.assertEqual(self.requests[-1].still.shown, "depth")
    self.assertEqual(self.requests[-1].moving.shown, "depth")

    controls._who.value = "bob"
    self.assertEqual(self.requests[-1].key, person_of.load("bob").own.digest)
    controls._who.value = "nobody"
    self.assertIn("nobody", self.told())
    self.assertEqual(controls.person, "bob")

  def test_edits_that_the_photos_follow_in_part(self):
    """It is said beside the sliders, with what follows all of it."""
    controls = self.window._controls
    line = controls._unfollowed
    self.assertTrue(line.visible)
    self.assertRegex(
      line.content,
      r"^The \d photos .*\(cosine\): Smile 0\.\d\d; uncheck to apply all",
    )
    controls._edits["smile"].value = 1.0
    kept = self.requests[-1].ws
    controls._within.value = False
    self.assertFalse(line.visible)
    start = self.window._shown.own.anchors.ws[0]
    along = lambda ws: (ws - start).mean(axis=0)[0]
    self.assertAlmostEqual(along(self.requests[-1].ws), 1.0, places=4)
    self.assertLess(along(kept), 0.9)
    with mock.patch.object(scene.limits, "LEAST_COSINE", 0.0):
      self.window._refresh()
    self.assertEqual(line.content, "")

  def test_moving(self):
    count = len(self.requests)
    self.window._news.heard(camera=True)  # the first view
    self.window._news.heard(camera=True)  # the same again
    self.assertLen(self.requests, count + 1)
    self.browser.position, self.browser.look_at = orbits.pose_of_orbit(
      Orbit(yaw=0.2), person.MODEL.rendering
    )
    self.window._camera._arriving = 0.0
    self.window._news.heard(camera=True)
    self.assertLen(self.requests, count + 2)
    self.window._to_photo()
    own = self.window._shown.own
    np.testing.assert_array_equal(self.requests[-1].c, own.anchors.c[0])
    self.window._controls._start.value = "a seed"
    with self.assertRaisesRegex(UserError, "only photos have a camera"):
      self.window._to_photo()

  def test_saving(self):
    self.window._save_picture()
    self.jobs.pop()()
    self.assertIn("saved in", self.told())
    origin = provenance.read_origin(self.out / "ann_photo00_001.png")
    self.assertEqual(origin.task, "view")
    self.assertEqual(dict(origin.details)["photo"], "photo00.png")
    for save, suffix in (
      (self.window._save_video, ".mp4"),
      (self.window._save_mesh, ".glb"),
    ):
      with mock.patch.object(window_lib.saving.render, "render_video") as video:
        with (
          mock.patch.object(window_lib.saving, "extract_mesh"),
          mock.patch.object(window_lib.saving, "write_mesh") as mesh,
        ):
          save()
          self.jobs.pop()()
      written = (video if suffix == ".mp4" else mesh).call_args
      self.assertIn(suffix, str(written))

  def test_sharing(self):
    """A page to give away, which names nobody."""
    with mock.patch.object(window_lib.saving.share, "write_rows") as write:
      write.side_effect = lambda path, *_, **__: path.write_bytes(b"page")
      self.window._save_page()
      self.jobs.pop()()
    self.assertIn("saved in", self.told())
    (path, (row,), config, origin), _ = write.call_args
    self.assertEqual(path.name, "ann_photo00_001.html")
    self.assertEqual((row.label, row.ws.shape[0]), ("Face 1", 1))
    self.assertEqual(config.limits, Limits())
    self.assertEqual(origin.task, "share")
    self.assertEqual(dict(origin.details), {"faces": "1"})


if __name__ == "__main__":
  absltest.main()
