"""Who may open a viewer."""

import hashlib
import http
import importlib.util
import socket
import unittest

from absl.testing import absltest, parameterized

from my3dgen_jax.apps.viewer import gate
from my3dgen_jax.errors import UserError

TOKEN = "correct-horse"
COOKIE = "my3dgen_viewer_" + hashlib.sha256(TOKEN.encode()).hexdigest()[:8]


def judge(path="/", token=TOKEN, host="127.0.0.1", **headers):
  return gate.judge(path, headers, token=token, host=host)


class TokenTest(parameterized.TestCase):
  def test_address_with_the_token_gives_a_cookie(self):
    answer = judge(f"/?token={TOKEN}")
    headers = dict(answer.headers)
    self.assertEqual(answer.status, http.HTTPStatus.SEE_OTHER)
    self.assertEqual(headers["Location"], "/")  # without the token
    cookie = headers["Set-Cookie"]
    self.assertStartsWith(cookie, f"{COOKIE}=")
    self.assertNotIn(TOKEN, cookie)
    # Two viewers on one machine do not take each other's away.
    other = dict(judge("/?token=wrong-horse", "wrong-horse").headers)
    self.assertNotStartsWith(other["Set-Cookie"], f"{COOKIE}=")
    for wanted in ("HttpOnly", "SameSite=Lax"):
      self.assertIn(wanted, cookie)
    self.assertIsNone(judge(Cookie=cookie.split(";")[0]))
    self.assertIsNone(
      judge(cookie=f"a=b; {cookie.split(';')[0]}; c=d", Upgrade="websocket")
    )
    # Another server of this machine has left something else.
    self.assertIsNone(
      judge(cookie=f'a={{"b": 1, "c"}}; ü="; {cookie.split(";")[0]}')
    )

  @parameterized.parameters(
    ("/", {}),
    ("/?token=", {}),
    ("/?token=correct-hors", {}),
    ("/?token=correct-horse2", {}),
    ("/correct-horse", {}),
    ("/?other=correct-horse", {}),
    ("/", {"Cookie": f"{COOKIE}=correct-horse"}),
    ("/", {"Cookie": f"{COOKIE}="}),
    ("/", {"Cookie": 'x";;=,'}),
    ("/", {"Cookie": f"{COOKIE}=ü"}),
    ("/?token=ü", {}),
    ("//[", {}),
    ("//[?token=wrong-horse", {}),
    (
      "/",
      {
        "Upgrade": "websocket",
        "Host": "127.0.0.1:8080",
        "Origin": "http://127.0.0.1:8080",
      },
    ),
  )
  def test_all_others_are_refused(self, path, headers):
    self.assertEqual(judge(path, **headers).status, http.HTTPStatus.FORBIDDEN)

  @parameterized.parameters(
    "short", "a b c d e f g", "täääääääken", "with&and=more", "a" * 129, ""
  )
  def test_tokens_that_are_none(self, token):
    with self.assertRaisesRegex(UserError, "token: "):
      gate.check_token(token)

  def test_a_good_token(self):
    gate.check_token(TOKEN)


class WithoutTokenTest(parameterized.TestCase):
  @parameterized.parameters(
    ({"Host": "127.0.0.1:8080"}, "127.0.0.1"),
    (
      {"Host": "localhost:8080", "Origin": "http://localhost:8080"},
      "127.0.0.1",
    ),
    ({"Host": "[::1]:8080"}, "::1"),
    (
      {"Host": "machine.lan:8080", "Origin": "http://machine.lan:8080"},
      "0.0.0.0",
    ),
  )
  def test_own_pages_pass(self, headers, host):
    self.assertIsNone(judge(token=None, host=host, **headers))

  @parameterized.parameters(
    # A page of another site opens a connection to this machine.
    (
      {"Host": "127.0.0.1:8080", "Origin": "https://other.example"},
      "127.0.0.1",
    ),
    (
      {"Host": "127.0.0.1:8080", "Origin": "http://127.0.0.1:3000"},
      "127.0.0.1",
    ),
    ({"Host": "127.0.0.1:8080", "Origin": "null"}, "127.0.0.1"),
    ({"Host": "127.0.0.1:8080", "Origin": "http://["}, "127.0.0.1"),
    # A name of another site leads to this machine.
    (
      {"Host": "other.example:8080", "Origin": "http://other.example:8080"},
      "127.0.0.1",
    ),
    (
      {"Host": "machine.lan:8080", "Origin": "https://other.example"},
      "0.0.0.0",
    ),
    ({}, "127.0.0.1"),
  )
  def test_pages_of_others_do_not(self, headers, host):
    self.assertEqual(
      judge(token=None, host=host, **headers).status, http.HTTPStatus.FORBIDDEN
    )


class PortTest(parameterized.TestCase):
  def test_next_free_one(self):
    with socket.socket() as taken:
      taken.bind(("127.0.0.1", 0))
      taken.listen()
      port = taken.getsockname()[1]
      self.assertGreater(gate.free_port("127.0.0.1", port), port)
    self.assertEqual(gate.free_port("127.0.0.1", port), port)

  def test_no_such_host(self):
    with self.assertRaisesRegex(UserError, r"host: cannot listen on"):
      gate.free_port("203.0.113.7", 8080)
    with self.assertRaisesRegex(UserError, r"host: cannot listen on"):
      gate.free_port("no.such.host.invalid", 8080)

  @parameterized.parameters(
    ("127.0.0.1", True),
    ("localhost", True),
    ("::1", True),
    ("127.9.9.9", True),
    ("0.0.0.0", False),
    ("192.168.0.2", False),
    ("localhost.evil.example", False),
    ("", False),
  )
  def test_is_local(self, host, local):
    self.assertEqual(gate.is_local(host), local)


@unittest.skipIf(
  importlib.util.find_spec("websockets") is None,
  "websockets is not installed; viser brings it",
)
class ServerTest(absltest.TestCase):
  """With websockets' own server; viser's is looked at in viewer_test."""

  def serve(self, guarded):
    # pylint: disable=import-outside-toplevel
    import asyncio
    import contextlib
    import threading

    import websockets.asyncio.server as library

    ports, ready, loop = [], threading.Event(), asyncio.new_event_loop()

    async def answer(connection):
      await connection.wait_closed()

    async def main():
      async with library.serve(
        answer, "127.0.0.1", 0, process_request=lambda c, r: None
      ) as server:
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        await stop.wait()

    async def run():
      nonlocal stop
      stop = asyncio.Event()
      await main()

    stop = None
    before = library.serve
    with (
      gate.guarding(token=TOKEN, host="127.0.0.1")
      if guarded
      else (contextlib.nullcontext())
    ):
      thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
      thread.start()
      self.assertTrue(ready.wait(30))
    self.assertIs(library.serve, before)
    self.addCleanup(
      lambda: (loop.call_soon_threadsafe(stop.set), thread.join())
    )
    return ports[0]

  def test_the_door_is_tried(self):
    gate.check_guarded(self.serve(True), "127.0.0.1")

  def test_an_open_door_is_noticed(self):
    with self.assertRaisesRegex(UserError, "lets everybody in"):
      gate.check_guarded(self.serve(False), "127.0.0.1")


if __name__ == "__main__":
  absltest.main()
