"""Access to a page that a command serves: the viewer, or the marking page.

Two checks are always made, with or without a token: the requesting page
(Origin) must be ours, and the requested name (Host) must be this machine's if
no other can reach it. A browser that brings the token gets a cookie instead,
which is random and reveals nothing about the token.
"""

import errno
import hmac
import http
import ipaddress
import os
import re
import secrets
import socket
import sys
import urllib.parse
import webbrowser
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from my3dgen_jax.errors import UserError

_TOKEN = re.compile(r"[\w.~-]{8,128}", re.ASCII)
_SESSION_BYTES = 32
_PORTS = 100  # ports to try
_LONGEST_NAME = 60  # of a host, when a message repeats it


class Answer(NamedTuple):
  """The response to a refused request.

  Attributes:
    status: the HTTP status.
    headers: names and values.
    text: the body.
  """

  status: http.HTTPStatus
  headers: tuple[tuple[str, str], ...]
  text: str


def check_token(token: str):
  """Checks that a token fits into a URL and is long enough not to be guessed.

  Raises: UserError.
  """
  if not _TOKEN.fullmatch(token):
    raise UserError(
      "token: expected 8 to 128 letters, digits or -._~, as "
      "python -c 'import secrets; "
      "print(secrets.token_urlsafe())' prints"
    )


class Gate:
  """Decides on requests for as long as a server runs.

  Attributes:
    cookie: name of the cookie, different for each server on this machine or
      forwarded to it.
  """

  def __init__(
    self,
    *,
    token: str | None,
    host: str,
    port: int,
    names: Iterable[str] = (),
    page: str = "viewer",
    hint: str = "",
  ):
    """Draws the session's secret, which ends with the server.

    Args:
      token: the token to ask for; None: no token.
      host: the host that the server listens on.
      port: the port that the server listens on.
      names: host names besides this machine's own that requests may use.
      page: what is guarded, for the cookie's name and the refusals.
      hint: how to allow another name of this machine.
    """
    self._token, self._host, self._page = token, host, page
    self._hint = hint
    self._names = {name.lower() for name in names}
    self._session = secrets.token_urlsafe(_SESSION_BYTES)
    # The same after a restart; otherwise cookies would pile up in browsers.
    place = zlib.crc32(f"{socket.gethostname()}:{port}".encode())
    self.cookie = f"my3dgen_{page.replace(' ', '_')}_{place:08x}"

  def admit(self, name: str):
    """Allows requests for one more host name, e.g. a public one."""
    self._names.add(name.lower())

  def judge(self, path: str, headers: Mapping[str, str]) -> Answer | None:
    """Decides on a request.

    Other sites' pages in the same browser may not read the faces. With a token:
    a request that has it in the URL (?token=…) gets a cookie and is redirected
    to the URL without it, so that it stays out of histories and screenshots; a
    request with the cookie passes.

    Args:
      path: the request's path, with its query.
      headers: header names, in any case, to values.

    Returns: the refusal or redirect; None: the request may pass.
    """
    headers = {name.lower(): value for name, value in headers.items()}
    if (strange := self._from_elsewhere(headers)) or self._token is None:
      return strange
    given = urllib.parse.parse_qs(path.partition("?")[2]).get("token")
    if given and _equal(given[-1], self._token):
      return Answer(
        http.HTTPStatus.SEE_OTHER,
        (
          ("Location", "/"),
          ("Cache-Control", "no-store"),
          (
            "Set-Cookie",
            f"{self.cookie}={self._session}; Path=/; HttpOnly; SameSite=Lax",
          ),
        ),
        "",
      )
    if any(
      name == self.cookie and _equal(value, self._session)
      for name, value in _cookies(headers.get("cookie", ""))
    ):
      return None
    return Answer(
      http.HTTPStatus.FORBIDDEN,
      (),
      f"This {self._page} needs a token: "
      "open the whole address that it printed, with ?token=…\n",
    )

  def _from_elsewhere(self, headers: Mapping[str, str]) -> Answer | None:
    asked, origin = headers.get("host", ""), headers.get("origin")
    if origin is not None and not _same_host(origin, asked):
      return Answer(
        http.HTTPStatus.FORBIDDEN,
        (),
        f"Pages of other sites may not look at this {self._page}.\n",
      )
    # A name that resolves to us but is not ours belongs to another site's page.
    # If others can reach us, our names are unknown; then such a page lacks the
    # cookie.
    name = _without_port(asked)
    if (
      is_local(self._host)
      and not is_local(name)
      and name.lower() not in self._names
    ):
      return Answer(
        http.HTTPStatus.FORBIDDEN,
        (),
        f"This {self._page} serves only this machine, not as "
        f"{name[:_LONGEST_NAME]!r}{self._hint}.\n",
      )
    return None


def _equal(given: str, secret: str) -> bool:
  """Compares in constant time, so timing does not reveal where they differ."""
  return hmac.compare_digest(
    given.encode(errors="replace"), secret.encode(errors="replace")
  )


def _same_host(origin: str, asked: str) -> bool:
  # A proxy that terminates HTTPS changes only the scheme.
  host = origin.partition("://")[2].lower()
  return bool(host) and host == asked.lower()


def _cookies(header: str) -> Iterator[tuple[str, str]]:
  """Names and values; http.cookies drops all of them if one is malformed.

  Other servers of this machine set cookies too: they are shared across ports.
  """
  for part in header.split(";"):
    name, _, value = part.strip().partition("=")
    yield name, value


def is_local(host: str) -> bool:
  """Whether a host is reachable from this machine only."""
  if host.lower() == "localhost":
    return True
  try:
    return ipaddress.ip_address(host.strip("[]")).is_loopback
  except ValueError:
    return False


def _without_port(host: str) -> str:
  return re.sub(r":\d*$", "", host)


def reachable(host: str) -> str:
  """An address at which this machine reaches a server on a host."""
  return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)


def free_port(host: str, port: int) -> int:
  """The port, or the next one that is free.

  Raises: UserError: none of the next hundred is free, or the host is unknown.
  """
  last = min(port + _PORTS, 2**16)
  for candidate in range(port, last):
    try:
      addresses = _addresses(host, candidate)
      for family, address in addresses:
        with socket.socket(family, socket.SOCK_STREAM) as one:
          one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
          if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
          one.bind(address)
      return candidate
    except PermissionError:
      continue
    except OSError as error:
      if error.errno != errno.EADDRINUSE:
        raise UserError(
          f"host: cannot listen on {host!r}: {error.strerror}"
        ) from None
  raise UserError(f"port: no port from {port} to {last - 1} is free on {host}")


def _addresses(host: str, port: int) -> list[tuple[Any, Any]]:
  return [
    (family, address)
    for family, _, _, _, address in socket.getaddrinfo(
      host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
  ]


def open_page(address: str):
  """Opens an address in this machine's browser, if it has a screen.

  Without one, a text browser would take over the terminal.
  """
  if sys.platform != "linux" or any(
    os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
  ):
    webbrowser.open(address)
