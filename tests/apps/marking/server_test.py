"""The page for marks, asked over HTTP as a browser and as others would."""

import http.client
import json
import os
import pathlib
import re
import socket
import tempfile
import threading
import time
import urllib.error
import urllib.request
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from my3dgen_jax.apps.marking import server
from my3dgen_jax.apps.marking.kinds import kind_of
from my3dgen_jax.apps.marking.marks import Item, Marks
from my3dgen_jax.data.faces import landmarks
from my3dgen_jax.errors import Interrupted, UserError
from my3dgen_jax.jobs.interrupts import StopRequest

BOX = (20.0, 10.0, 70.0, 60.0)


def cat_at(x, y, size):
  """Nine points of a cat in a photo."""
  shape = kind_of("cat").shape
  return shape * size + [x, y]


class NoRedirect(urllib.request.HTTPRedirectHandler):
  """Shows a redirection instead of following it."""

  def redirect_request(self, *arguments):
    """No other request."""


class ServerTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)
    self.path = self.folder / "cat_marks.json"
    self.items = []
    for i in range(3):
      path = self.folder / f"{i}.jpg"
      Image.new("RGB", (100, 80), (i, 90, 90)).save(path)
      self.items.append(Item(path.name, path))

  def start(self, *, domain="cat", detect=lambda pixels: [BOX]):
    """Serves; the token is in the line that is told."""
    self.lines, self.stop, self.raised = [], StopRequest(), []
    self.marks = Marks(self.path, self.items, kind_of(domain))

    def serve():
      try:
        server.mark_in_browser(
          self.marks,
          self.stop,
          detect=detect,
          log=self.lines.append,
          open_browser=False,
        )
      except Interrupted as error:
        self.raised.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    self.addCleanup(self.end, thread)
    self.thread = thread
    while not self.lines:
      time.sleep(0.01)
    found = re.search(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)", self.lines[0])
    self.port, self.token = int(found[1]), found[2]
    self.base = f"http://127.0.0.1:{self.port}"
    status, headers, _ = self.ask(f"/?token={self.token}", cookie=None)
    self.assertEqual(status, 303)
    self.cookie = headers["Set-Cookie"].split(";")[0]

  def end(self, thread):
    self.stop.signal = 2
    thread.join()

  def ask(self, path, what=None, *, cookie="own", **headers):
    if cookie == "own":
      headers["Cookie"] = self.cookie
    if what is not None:
      headers.setdefault("Content-Type", "application/json")
      headers.setdefault("Origin", self.base)
      what = what if isinstance(what, bytes) else json.dumps(what).encode()
    request = urllib.request.Request(self.base + path, what, headers)
    opener = urllib.request.build_opener(NoRedirect)
    try:
      with opener.open(request, timeout=30) as answer:
        return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
      return error.code, error.headers, error.read()

  def test_from_the_first_photo_to_the_last(self):
    self.start()
    self.assertIn("3 photos (0 are done)", self.lines[0])
    status, headers, page = self.ask("/")
    self.assertEqual(status, 200)
    self.assertIn("default-src 'none'", headers["Content-Security-Policy"])
    self.assertNotIn(b"NONCE", page)
    for word in (b"http://", b"https://"):  # all of it comes from here
      self.assertNotIn(word, page.replace(b"http://www.w3.org/2000/svg", b""))
    state = json.loads(self.ask("/state")[2])
    self.assertLen(state["points"], 9)
    self.assertEqual(
      [one["state"] for one in state["photos"]], ["open", "open", "open"]
    )

    status, headers, data = self.ask("/photos/0.jpg")
    self.assertEqual(headers["Content-Type"], "image/jpeg")
    self.assertStartsWith(data, b"\xff\xd8")
    photo = json.loads(self.ask("/photos/0")[2])
    self.assertEqual(photo["size"], [100, 80])
    self.assertEqual(tuple(photo["box"]), BOX)
    self.assertIsNone(photo["proposal"])  # nothing was marked so far

    points = cat_at(45, 40, 15).tolist()
    status, _, answer = self.ask("/photos/0", {"points": points})
    self.assertEqual(status, 200, answer)
    self.assertEqual(json.loads(answer)["photos"][0]["state"], "marked")
    # Kept at once, as a file that exists today.
    kept = landmarks.read_json(self.path, 9)
    np.testing.assert_allclose(kept.faces["0.jpg"][0].points, points, atol=1e-3)

    # The next one is proposed in the same place of its box.
    photo = json.loads(self.ask("/photos/1")[2])
    np.testing.assert_allclose(photo["proposal"], points, atol=1e-2)
    self.ask("/photos/1", {"skip": True})
    self.assertEqual(landmarks.read_json(self.path, 9).faces["1.jpg"], [])

    self.ask("/photos/2", {"points": points})
    status, _, _ = self.ask("/done", {})
    self.assertEqual(status, 200)
    self.thread.join(30)
    self.assertFalse(self.thread.is_alive())
    self.assertIn("3 of 3 photos are marked or skipped", self.lines[-1])
    with self.assertRaises(OSError):
      socket.create_connection(("127.0.0.1", self.port), timeout=5).close()

  def test_goes_on_where_it_was(self):
    """Whether Ctrl-C ended it or a kill."""
    self.start()
    points = cat_at(45, 40, 15).tolist()
    self.ask("/photos/1", {"points": points})
    self.stop.signal = 2
    self.thread.join(30)
    self.assertRegex(str(self.raised[0]), "1 of 3 photos are saved")
    self.start()
    state = json.loads(self.ask("/state")[2])
    self.assertEqual(
      [one["state"] for one in state["photos"]], ["open", "marked", "open"]
    )
    photo = json.loads(self.ask("/photos/1")[2])
    np.testing.assert_allclose(photo["points"], points, atol=1e-3)

  def test_strangers(self):
    self.start()
    for path, options in (
      ("/", dict(cookie=None)),
      ("/state", dict(cookie=None)),
      ("/photos/0.jpg", dict(cookie=None, Cookie="my3dgen=x")),
      ("/?token=wrong-horse-battery", dict(cookie=None)),
      ("/state", dict(Origin="https://other.example")),
      ("/state", dict(Host="other.example")),
      (f"/?token={self.token}", dict(cookie=None, Host="other.example")),
      ("/done", dict(what={}, Origin="https://other.example")),
      ("/done", dict(what={}, cookie=None)),
      ("/done", dict(what=b"{}", **{"Content-Type": "text/plain"})),
    ):
      with self.subTest(path=path, options=options):
        status, headers, _ = self.ask(path, **options)
        self.assertIn(status, (403, 415))
        self.assertIsNone(headers["Set-Cookie"])
    self.assertTrue(self.thread.is_alive())
    self.assertNotIn(self.token, self.cookie)

  @parameterized.parameters(
    (b"x" * (server.BODY_BYTES + 1), 413),
    (b"[" * 10_000, 400),
    (b"[]", 400),
    (b"\xff", 400),
    ({"points": None}, 422),
    ({"points": [[1, 2]] * 8}, 422),
    ({"points": [[1, float("nan")]] * 9}, 422),
    ({"points": [["a", "b"]] * 9}, 422),
    ({"points": [[5, 5]] * 9}, 422),
    ({"points": [[10**400, 5]] * 9}, 422),
    ({"points": cat_at(500, 40, 15).tolist()}, 422),
    # The cat's own left and right.
    ({"points": (cat_at(45, 40, 15) * [-1, 1] + [90, 0]).tolist()}, 422),
    ({"skip": "yes"}, 422),
  )
  def test_what_are_no_marks(self, what, wanted):
    self.start()
    status, _, text = self.ask("/photos/0", what)
    self.assertEqual(status, wanted, text)
    self.assertFalse(self.path.exists())

  def test_requests_that_are_none(self):
    self.start()
    for path in ("/photos/3", "/photos/-1", "/photos/99999999999", "/x", "/.."):
      self.assertEqual(self.ask(path)[0], 404)
    self.assertEqual(self.ask("/photos/7", {"skip": True})[0], 404)
    for length in ("-1", "1e3", "9" * 30, ""):
      connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=9)
      connection.putrequest("POST", "/photos/0")
      connection.putheader("Cookie", self.cookie)
      connection.putheader("Content-Type", "application/json")
      connection.putheader("Content-Length", length)
      connection.endheaders()
      self.assertIn(connection.getresponse().status, (411, 413))
      connection.close()
    with socket.create_connection(("127.0.0.1", self.port)) as one:
      one.sendall(b"\x16\x03\x01\r\n\r\n")
    self.assertEqual(self.ask("/state")[0], 200)
    self.assertLen(self.lines, 1)  # quiet

  def test_a_photo_that_cannot_be_read(self):
    self.items[0].path.write_bytes(b"no photo")
    self.start()
    status, _, text = self.ask("/photos/0")
    self.assertEqual(status, 422)
    self.assertIn(b"0.jpg", text)
    self.assertEqual(self.ask("/photos/0", {"skip": True})[0], 200)

  def test_a_full_disk_is_said_and_nothing_is_lost(self):
    self.start()
    self.ask("/photos/0", {"skip": True})
    before = self.path.read_bytes()
    with mock.patch.object(
      landmarks, "write_json", side_effect=OSError(28, "No space left")
    ):
      status, _, text = self.ask("/photos/1", {"skip": True})
    self.assertEqual(status, 500)
    self.assertIn(b"No space left", text)
    self.assertEqual(self.path.read_bytes(), before)
    self.assertIsNone(self.marks.of("1.jpg"))

  def test_large_and_turned_photos(self):
    """Points are in the pixels of the photo as a viewer shows it."""
    image = Image.new("RGB", (4000, 2000))
    exif = image.getexif()
    exif[0x0112] = 6  # a quarter turn
    image.save(self.items[0].path, exif=exif)
    self.start()
    photo = json.loads(self.ask("/photos/0")[2])
    self.assertEqual(photo["size"], [2000, 4000])
    _, _, data = self.ask("/photos/0.jpg")
    shown = self.folder / "shown.jpg"
    shown.write_bytes(data)
    self.assertEqual(Image.open(shown).size, (800, 1600))

  def test_the_browser_opens_where_there_is_a_screen(self):
    marks = Marks(self.path, self.items, kind_of("cat"))
    stop = StopRequest()
    stop.signal = 2
    for display, calls in ((":0", 1), ("", 0)):
      with (
        mock.patch.dict(os.environ, DISPLAY=display, WAYLAND_DISPLAY=""),
        mock.patch("sys.platform", "linux"),
        mock.patch("webbrowser.open") as opened,
        self.assertRaises(Interrupted),
      ):
        server.mark_in_browser(marks, stop, log=lambda line: None)
      self.assertEqual(opened.call_count, calls)


class MarksTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.path = pathlib.Path(folder.name) / "marks.json"

  def test_other_photos_keep_theirs(self):
    item = lambda name: Item(name, pathlib.Path(name))
    kind = kind_of("cat")
    first = Marks(self.path, [item("a")], kind)
    first.set("a", landmarks.Face(cat_at(0, 0, 10)))
    second = Marks(self.path, [item("b")], kind)
    self.assertEqual(second.count(), 0)
    second.set("b", None)
    self.assertCountEqual(second.given().faces, ["a", "b"])

  def test_a_damaged_file_is_not_written_over(self):
    self.path.write_text("{")
    with self.assertRaisesRegex(UserError, "marks.json"):
      Marks(self.path, [], kind_of("cat"))
    self.assertEqual(self.path.read_text(), "{")

  def test_shape_is_what_was_marked_whatever_its_size_and_turn(self):
    kind = kind_of("face")
    marks = Marks(self.path, [], kind)
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    for i in range(3):
      points = kind.shape @ turn * (5 + i) + [i, 7]
      marks.set(str(i), landmarks.Face(points))
    np.testing.assert_allclose(marks.shape(), kind.shape, atol=1e-3)

  def test_order_of_a_person(self):
    """The five points as detectors and `face_align` order them."""
    shape = kind_of("face").shape
    self.assertLess(shape[0, 0], shape[1, 0])
    self.assertLess(shape[3, 0], shape[4, 0])
    self.assertLess(shape[0, 1], shape[3, 1])  # y goes down


if __name__ == "__main__":
  absltest.main()
