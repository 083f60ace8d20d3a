"""Who may open a page that a command serves."""

import hashlib
import hmac
import http
import socket
from unittest import mock

from absl.testing import absltest, parameterized

from my3dgen_jax.apps import gate
from my3dgen_jax.apps.gate import Gate
from my3dgen_jax.errors import UserError

TOKEN = "correct-horse"
OWN = {"Host": "127.0.0.1:8080"}


def make(token=TOKEN, host="127.0.0.1", **options):
  return Gate(token=token, host=host, port=8080, **options)


def judge(path="/", token=TOKEN, host="127.0.0.1", **headers):
  return make(token, host).judge(path, headers)


def cookie_of(one):
  answer = one.judge(f"/?token={TOKEN}", OWN)
  return dict(answer.headers)["Set-Cookie"].split(";")[0]


class TokenTest(parameterized.TestCase):
  def test_address_with_the_token_gives_a_cookie(self):
    one = make()
    answer = one.judge(f"/?token={TOKEN}", OWN)
    headers = dict(answer.headers)
    self.assertEqual(answer.status, http.HTTPStatus.SEE_OTHER)
    self.assertEqual(headers["Location"], "/")  # without the token
    cookie = headers["Set-Cookie"]
    for wanted in ("HttpOnly", "SameSite=Lax"):
      self.assertIn(wanted, cookie)
    pair = cookie.split(";")[0]
    self.assertIsNone(one.judge("/", {**OWN, "Cookie": pair}))
    self.assertIsNone(
      one.judge(
        "/", {**OWN, "cookie": f"a=b; {pair}; c=d", "Upgrade": "websocket"}
      )
    )
    # Another server of this machine has left something else.
    self.assertIsNone(
      one.judge("/", {**OWN, "cookie": f'a={{"b": 1, "c"}}; ü="; {pair}'})
    )

  def test_the_cookie_is_random_and_says_nothing_of_the_token(self):
    one, again = make(), make()
    first, second = cookie_of(one), cookie_of(again)
    self.assertNotEqual(first, second)
    # With the same token, another start is another session.
    self.assertIsNotNone(again.judge("/", {**OWN, "Cookie": first}))
    # A name that a restart keeps, so that browsers collect none, and that
    # does not hang together with the token.
    self.assertEqual(one.cookie, again.cookie)
    self.assertEqual(one.cookie, make("another-token").cookie)
    for name in ("sha256", "sha1", "md5", "sha512"):
      digest = hmac.new(b"", TOKEN.encode(), name).hexdigest()
      plain = hashlib.new(name, TOKEN.encode()).hexdigest()
      for secret in (TOKEN, digest[:6], plain[:6], plain[-6:]):
        self.assertNotIn(secret, first)
    # Two viewers on one machine do not take each other's away.
    other = Gate(token=TOKEN, host="127.0.0.1", port=8081)
    self.assertNotEqual(other.cookie, one.cookie)

  def test_secrets_are_compared_in_constant_time(self):
    one = make()
    pair = cookie_of(one)
    with mock.patch.object(
      gate.hmac, "compare_digest", side_effect=hmac.compare_digest
    ) as compare:
      one.judge("/?token=wrong-horse", OWN)
      one.judge("/", {**OWN, "Cookie": pair})
    self.assertEqual(compare.call_count, 2)

  @parameterized.parameters(
    ("/", {}),
    ("/?token=", {}),
    ("/?token=correct-hors", {}),
    ("/?token=correct-horse2", {}),
    ("/correct-horse", {}),
    ("/?other=correct-horse", {}),
    ("/", {"Cookie": f"{make().cookie}=correct-horse"}),
    ("/", {"Cookie": f"{make().cookie}="}),
    ("/", {"Cookie": 'x";;=,'}),
    ("/", {"Cookie": f"{make().cookie}=ü"}),
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
    answer = judge(path, **{**OWN, **headers})
    self.assertEqual(answer.status, http.HTTPStatus.FORBIDDEN)
    self.assertIn("needs a token", answer.text)

  @parameterized.parameters(
    "short", "a b c d e f g", "täääääääken", "with&and=more", "a" * 129, ""
  )
  def test_tokens_that_are_none(self, token):
    with self.assertRaisesRegex(UserError, "token: "):
      gate.check_token(token)

  def test_a_good_token(self):
    gate.check_token(TOKEN)


class OriginAndHostTest(parameterized.TestCase):
  """Checked with a token and without."""

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
    one = make(host=host)
    pair = cookie_of(one)
    self.assertIsNone(one.judge("/", {**headers, "Cookie": pair}))

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
    ({"Origin": "null"}, "0.0.0.0"),
  )
  def test_pages_of_others_do_not(self, headers, host):
    one = make(host=host)
    pair = cookie_of(one)
    for answer in (
      judge(token=None, host=host, **headers),
      one.judge("/", {**headers, "Cookie": pair}),
      one.judge(f"/?token={TOKEN}", headers),
    ):
      self.assertEqual(answer.status, http.HTTPStatus.FORBIDDEN)
      self.assertEmpty(answer.headers)  # no cookie

  def test_names_that_are_given(self):
    headers = {"Host": "Proxy.example", "Origin": "https://proxy.example"}
    refused = make(None, hint="; give --names").judge("/", headers)
    self.assertIn("not as 'Proxy.example'; give --names.", refused.text)
    self.assertIsNone(make(None, names=["proxy.example"]).judge("/", headers))
    one = make(None)
    one.admit("proxy.example")
    self.assertIsNone(one.judge("/", headers))


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


if __name__ == "__main__":
  absltest.main()
