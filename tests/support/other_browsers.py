"""Firefox and WebKitGTK without a screen, for pages that must work everywhere.

Playwright drives builds of its own, which Debian does not have. Debian's
Firefox speaks WebDriver BiDi itself, and WebKitGTK, which has Safari's engine,
comes with a WebDriver:

    apt-get install firefox-esr webkit2gtk-driver xvfb
    pip install selenium websockets
"""

import abc
import base64
import contextlib
import hashlib
import importlib.util
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

_PATIENCE = 90.0  # seconds
# What WebDriver without BiDi cannot tell, told by the page itself.
_LISTENER = """
window.problems = [];
for (const kind of ["error", "warn"]) {
  const original = console[kind];
  console[kind] = (...given) => {
    problems.push(given.join(" "));
    original.apply(console, given);
  };
}
addEventListener("error", (event) => problems.push(event.message));
addEventListener("unhandledrejection", (event) =>
  problems.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) =>
  problems.push(event.violatedDirective + " " + event.blockedURI));
"""


class Opened(abc.ABC):
  """The page of a head that is open in a browser."""

  def evaluate(self, expression: str, argument: Any = None) -> Any:
    """The value of a JavaScript expression, as Playwright's pages tell it.

    Args:
      expression: if it is a promise, its value is waited for.
      argument: if not None, what the expression, a function, is called with.
    """
    if argument is not None:
      expression = f"({expression})({json.dumps(argument)})"
    return self._value(expression)

  @abc.abstractmethod
  def _value(self, expression: str) -> Any:
    """The value of a JavaScript expression."""

  @abc.abstractmethod
  def problems(self) -> list[str]:
    """Messages of the console, errors, and requests, so far."""

  def wait_until_it_turns(self) -> None:
    """Waits until the head can be turned.

    Raises: TimeoutError: it takes longer than a minute and a half.
    """
    end = time.monotonic() + _PATIENCE
    while not self.evaluate("document.body.classList.contains('turns')"):
      if time.monotonic() > end:
        raise TimeoutError(f"the head does not turn: {self.problems()}")
      time.sleep(0.1)


class _Firefox(Opened):
  """A tab of Firefox, by WebDriver BiDi over one websocket."""

  def __init__(self, socket_: Any):
    self._socket, self._count = socket_, 0
    self._problems: list[str] = []
    self._send("session.new", capabilities={})
    self._send(
      "session.subscribe",
      events=["log.entryAdded", "network.beforeRequestSent"],
    )
    self._context = self._send("browsingContext.getTree")["contexts"][0][
      "context"
    ]

  def open(self, path: pathlib.Path, width: int, height: int) -> None:
    self._send(
      "browsingContext.setViewport",
      context=self._context,
      viewport={"width": width, "height": height},
    )
    self._send(
      "browsingContext.navigate",
      context=self._context,
      url=path.as_uri(),
      wait="complete",
    )

  def _value(self, expression):
    found = self._send(
      "script.evaluate",
      expression=f"(async () => JSON.stringify((await ({expression})) ?? null))()",
      target={"context": self._context},
      awaitPromise=True,
    )
    if found["type"] != "success":
      raise RuntimeError(found["exceptionDetails"]["text"])
    return json.loads(found["result"]["value"])

  def problems(self):
    self.evaluate("0")  # reads the events before its answer
    return self._problems

  def _send(self, method: str, **params: Any) -> Any:
    self._count += 1
    self._socket.send(
      json.dumps({"id": self._count, "method": method, "params": params})
    )
    while True:
      message = json.loads(self._socket.recv(timeout=_PATIENCE))
      if message.get("id") == self._count:
        if message["type"] == "error":
          raise RuntimeError(f"{message['error']}: {message['message']}")
        return message["result"]
      self._hear(message)

  def _hear(self, message: Any) -> None:
    params = message.get("params", {})
    if message.get("method") == "log.entryAdded":
      self._problems.append(params["text"])
    if message.get("method") == "network.beforeRequestSent":
      url = params["request"]["url"]
      if not url.startswith(("file:", "data:")):
        self._problems.append(url)


@contextlib.contextmanager
def _firefox(path: pathlib.Path, width: int, height: int) -> Iterator[Opened]:
  from websockets.sync import client  # pylint: disable=import-outside-toplevel

  port = _free_port()
  with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
    pathlib.Path(profile, "user.js").write_text(
      'user_pref("webgl.force-enabled", true);\n'
      'user_pref("browser.shell.checkDefaultBrowser", false);\n'
      'user_pref("datareporting.policy.dataSubmissionEnabled", false);\n'
    )
    command = ["firefox", "--no-remote", "--profile", profile]
    with (
      _screen() as environment,
      _running([*command, "--remote-debugging-port", str(port)], environment),
    ):
      with _retried(
        lambda: client.connect(
          f"ws://127.0.0.1:{port}/session", max_size=None, proxy=None
        )
      ) as connection:
        page = _Firefox(connection)
        page.open(path, width, height)
        yield page


class _WebKit(Opened):
  """A window of WebKitGTK, by Selenium."""

  def __init__(self, driver: Any):
    self._driver = driver

  def _value(self, expression):
    found = self._driver.execute_async_script(
      "const done = arguments[arguments.length - 1];"
      f"(async () => await ({expression}))().then("
      "(value) => done({value: JSON.stringify(value ?? null)}),"
      "(error) => done({error: String(error)}));"
    )
    if "error" in found:
      raise RuntimeError(found["error"])
    return json.loads(found["value"])

  def problems(self):
    return self.evaluate(
      "problems.concat(performance.getEntriesByType('resource')"
      ".map((one) => one.name).filter((name) => !/^(file|data|blob):/.test(name)))"
    )


@contextlib.contextmanager
def _webkit(path: pathlib.Path, width: int, height: int) -> Iterator[Opened]:
  from selenium import webdriver  # pylint: disable=import-outside-toplevel

  with contextlib.ExitStack() as stack:
    folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
    copy = folder / "head.html"
    copy.write_text(_with_listener(path.read_text()))
    environment = stack.enter_context(_screen())
    service = webdriver.WebKitGTKService(
      shutil.which("WebKitWebDriver"), env=environment
    )
    driver = _retried(
      lambda: webdriver.WebKitGTK(webdriver.WebKitGTKOptions(), service)
    )
    stack.callback(driver.quit)
    driver.set_script_timeout(_PATIENCE)
    driver.set_window_size(width, height)
    driver.get(copy.as_uri())
    yield _WebKit(driver)


def _with_listener(page: str) -> str:
  """The page with `_LISTENER` first, which its policy then allows."""
  digest = base64.b64encode(hashlib.sha256(_LISTENER.encode()).digest())
  page = page.replace(
    "script-src ", f"script-src 'sha256-{digest.decode()}' ", 1
  )
  return re.sub(
    "</title>",
    lambda end: f"</title><script>{_LISTENER}</script>",
    page,
    count=1,
  )


@contextlib.contextmanager
def _screen() -> Iterator[dict[str, str]]:
  """A screen of X's without a monitor; yields the environment of its users."""
  display = f":{_free_port()}"
  with _running(["Xvfb", display, "-screen", "0", "1600x1200x24"]):
    yield {
      **os.environ,
      "DISPLAY": display,
      "LIBGL_ALWAYS_SOFTWARE": "1",
      "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1",
    }


@contextlib.contextmanager
def _running(
  command: list[str], environment: dict[str, str] | None = None
) -> Iterator[None]:
  process = subprocess.Popen(
    command,
    env=environment,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  try:
    yield
  finally:
    process.terminate()
    process.wait(_PATIENCE)


def _retried(make: Any) -> Any:
  """What `make` returns, once whom it asks has started."""
  end = time.monotonic() + 30
  while True:
    try:
      return make()
    except Exception:
      if time.monotonic() > end:
        raise
      time.sleep(0.3)


def _free_port() -> int:
  with socket.socket() as one:
    one.bind(("127.0.0.1", 0))
    return one.getsockname()[1]


# How each is opened, the programs that this takes, and the package.
_BROWSERS = {
  "firefox": (_firefox, ("firefox", "Xvfb"), "websockets"),
  "webkit": (_webkit, ("WebKitWebDriver", "Xvfb"), "selenium"),
}
NAMES = tuple(_BROWSERS)


def missing(name: str) -> str | None:
  """Why a browser cannot be opened here, or None.

  Args:
    name: the browser's name, of `NAMES`.
  """
  _, programs, package = _BROWSERS[name]
  for program in programs:
    if shutil.which(program) is None:
      return f"{program} is not installed"
  if importlib.util.find_spec(package) is None:
    return f"{package} is not installed"
  return None


@contextlib.contextmanager
def opened(
  name: str, path: pathlib.Path, *, width: int = 1280, height: int = 800
) -> Iterator[Opened]:
  """Opens the page of a head from its file; yields it once it can be turned.

  Args:
    name: the browser's name, of `NAMES`.
    path: the page's file.
    width: width of the window, pixels.
    height: height of the window, pixels.
  """
  opener, *_ = _BROWSERS[name]
  with opener(path.resolve(), width, height) as page:
    page.wait_until_it_turns()
    yield page
