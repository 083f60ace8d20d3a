"""The viewer's server, and its windows in a real browser."""

import http.client
import importlib.util
import pathlib
import socket
import tempfile
import unittest
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from my3dgen_jax.apps.viewer import server as viewer_lib
from my3dgen_jax.apps.viewer.people import People
from my3dgen_jax.apps.viewer.server import Viewer, ViewerConfig
from my3dgen_jax.data import provenance
from my3dgen_jax.directions import Direction
from my3dgen_jax.errors import UserError
from tests.support import browser, person
from tests.support.browser import difference, until, Window
from tests.support.runs import write_run

TOKEN = "correct-horse"
CHANGES = 0.5  # mean difference of pictures that differ, in 1/255


def free_port():
  with socket.socket() as one:
    one.bind(("127.0.0.1", 0))
    return one.getsockname()[1]


def setUpModule():
  folder = tempfile.TemporaryDirectory()
  unittest.addModuleCleanup(folder.cleanup)
  global ROOT
  ROOT = pathlib.Path(folder.name)
  base = person.write(ROOT / "made") / "base"
  write_run(ROOT / "runs" / "ann", base, 1)
  write_run(ROOT / "runs" / "bob", base, 2, strength=0.05)
  unfinished = write_run(ROOT / "runs" / "zoe", base, 3)
  (unfinished / "adapter.safetensors").unlink()


def make(**options):
  vector = np.zeros(person.MODEL.w_dim, np.float32)
  vector[0] = 1
  lines = []
  viewer = Viewer(
    People([ROOT / "runs"]),
    ViewerConfig(**{"port": free_port(), **options}),
    directions=[Direction("smile without age", vector, spread=1.0)],
    log=lines.append,
  )
  return viewer, lines


class ConfigTest(parameterized.TestCase):
  @parameterized.parameters(
    (dict(share=True), "share: .*--token"),
    (dict(token="short"), "token"),
    (dict(port=0), "port"),
    (dict(video=".avi"), "video"),
    (dict(mesh=".xyz"), "mesh"),
  )
  def test_bad_settings(self, options, message):
    with self.assertRaisesRegex(UserError, message):
      ViewerConfig(**options).validate()

  def test_folder_that_cannot_be_written(self):
    (ROOT / "file").write_text("")
    with self.assertRaisesRegex(UserError, "cannot be written.*--out"):
      make(out=str(ROOT / "file" / "out"))

  def test_viser_is_missing(self):
    viewer, _ = make()
    self.addCleanup(viewer.stop)
    viewer_lib._import_viser.cache_clear()  # pylint: disable=protected-access
    with mock.patch.dict("sys.modules", {"viser": None}):
      with self.assertRaisesRegex(UserError, r"pip install .*\[viewer\]"):
        viewer.start()


@unittest.skipIf(
  importlib.util.find_spec("viser") is None, "viser is not installed"
)
class ServerTest(absltest.TestCase):
  def start(self, **options):
    viewer, lines = make(**options)
    self.addCleanup(viewer.stop)
    return viewer, viewer.start(), lines

  def get(self, viewer, path="/", **headers):
    connection = http.client.HTTPConnection(
      "127.0.0.1", viewer.port, timeout=30
    )
    self.addCleanup(connection.close)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()

  def test_port_in_use(self):
    first, address, lines = self.start()
    self.assertEqual(address, f"http://127.0.0.1:{first.port}")
    second, address, lines = self.start(port=first.port)
    self.assertGreater(second.port, first.port)
    self.assertIn(f"port {first.port} is in use; using {second.port}", lines)
    self.assertIn(str(second.port), address)
    self.assertIn("zoe", " ".join(second.people.names()))
    self.assertEqual(self.get(second).status, 200)

  def test_strangers_are_refused(self):
    viewer, _, _ = self.start()
    self.assertEqual(
      self.get(viewer, Origin="http://other.example").status, 403
    )

  def test_token(self):
    viewer, address, _ = self.start(token=TOKEN)
    self.assertEndsWith(address, f"/?token={TOKEN}")
    self.assertEqual(self.get(viewer).status, 403)
    self.assertEqual(self.get(viewer, "/?token=wrong-horse").status, 403)
    answer = self.get(viewer, f"/?token={TOKEN}")
    self.assertEqual(answer.status, 303)
    cookie = answer.headers["Set-Cookie"].split(";")[0]
    self.assertEqual(self.get(viewer, Cookie=cookie).status, 200)

  def test_windows_cannot_share(self):
    """viser would let any window ask for a public address."""
    viewer, _, _ = self.start()
    with mock.patch("viser._viser.ViserTunnel") as tunnel:
      # pylint: disable-next=protected-access
      self.assertIsNone(viewer._server.request_share_url())
    tunnel.assert_not_called()

  def test_share_service_that_does_not_answer(self):
    viewer, _ = make(token=TOKEN, share=True)
    with mock.patch("viser.ViserServer.request_share_url", return_value=None):
      with self.assertRaisesRegex(UserError, "share: .*ssh -L"):
        viewer.start()

  def test_shared_address_carries_the_token(self):
    viewer, _ = make(token=TOKEN, share=True)
    self.addCleanup(viewer.stop)
    with mock.patch(
      "viser.ViserServer.request_share_url",
      return_value="https://x.share.example",
    ):
      self.assertEqual(
        viewer.start(), f"https://x.share.example/?token={TOKEN}"
      )


@unittest.skipIf(browser.missing() is not None, browser.missing())
class BrowserTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    out = ROOT / "saved"
    cls.viewer, cls.lines = make(out=str(out), token=TOKEN)
    cls.addClassCleanup(cls.viewer.stop)
    cls.out, cls.address = out, cls.viewer.start()
    cls.browser = cls.enterClassContext(browser.chromium())

  def open(self, **options):
    window = Window(self.browser, self.address, **options)
    self.addCleanup(window.close)
    return window

  def change(self, window, act):
    return window.change(act, CHANGES)

  def test_a_window(self):
    window = self.open()
    for name, act in {
      "drag": lambda: window.drag(150),
      "slider": lambda: window.slide("Smile", "End"),
      "pretrained": lambda: window.check("Personalized", False),
      "person": lambda: (
        window.check("Personalized", True),
        window.choose("Person", "bob"),
      ),
      "photo": lambda: window.choose("Photo", "photo02.png"),
      "its camera": lambda: window.press("The photo's camera"),
      "seed": lambda: window.choose("Start", "a seed"),
    }.items():
      with self.subTest(name):
        self.assertGreater(self.change(window, act), CHANGES)
    self.assertEqual(window.problems, [])
    self.assertNotIn("token", window.page.url)

    # Somebody whose run is being written: said, and nobody else is lost.
    window.choose("Person", "zoe")
    window.page.get_by_text("still being written").wait_for()
    self.assertEqual(
      window.page.get_by_label("Person", exact=True).input_value(), "bob"
    )
    self.assertGreater(self.change(window, lambda: window.drag(-150)), CHANGES)

  def test_two_windows(self):
    one, two = self.open(), self.open()
    before = two.rest(2.0)
    self.assertGreater(self.change(one, lambda: one.drag(150)), CHANGES)
    self.assertLess(difference(before, two.rest()), 0.1)
    turned = one.rest(2.0)
    self.assertGreater(
      self.change(two, lambda: two.slide("Smile", "Home")), CHANGES
    )
    self.assertLess(difference(turned, one.rest()), 0.1)

  def test_a_window_leaves_while_it_is_drawn_for(self):
    for _ in range(2):
      guest = Window(self.browser, self.address, wait=False)
      guest.close()
    guest = self.open()
    guest.sway(0.2)
    guest.press("Video")
    guest.close()
    window = self.open()
    window.sway(0.2)
    window.page.reload()
    until(window.still, "a picture after reloading")
    self.assertGreater(self.change(window, lambda: window.drag(150)), CHANGES)
    self.assertEqual([line for line in self.lines if "Error" in line], [])

  def test_saving(self):
    window = self.open()
    with window.page.expect_download() as download:
      window.press("Picture")
    name = download.value.suggested_filename
    self.assertEqual(name, "ann_photo00_001.png")
    saved = self.out / name
    self.assertEqual(
      saved.read_bytes(), pathlib.Path(download.value.path()).read_bytes()
    )
    self.assertEqual(Image.open(saved).size, (64, 64))
    origin = provenance.read_origin(saved)
    self.assertEqual(origin.task, "view")
    self.assertEqual(dict(origin.details)["photo"], "photo00.png")

    # The folder is taken away: said, and the next picture works.
    self.out.rename(ROOT / "elsewhere")
    try:
      window.press("Picture")
      window.page.get_by_text("was not saved").wait_for()
    finally:
      (ROOT / "elsewhere").rename(self.out)
    with window.page.expect_download():
      window.press("Picture")

  def test_without_the_token(self):
    context = self.browser.new_context()
    self.addCleanup(context.close)
    page = context.new_page()
    answer = page.goto(f"http://127.0.0.1:{self.viewer.port}/")
    self.assertEqual(answer.status, 403)
    page.goto(self.address)
    page.get_by_text("Personalized").wait_for()
    self.assertEqual(
      page.goto(f"http://127.0.0.1:{self.viewer.port}/").status, 200
    )


if __name__ == "__main__":
  absltest.main()
