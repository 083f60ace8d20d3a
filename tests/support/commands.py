"""Commands of `my3dgen_jax.launch` as processes, without their imports' time.

A server process imports JAX and the applications once, and forks for each
command: a process of its own with its own signals, memory and exit code, whose
JAX has not started before. What is about imports or JAX's own environment
starts `python -m` instead.
"""

import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Ended(NamedTuple):
  """What is left of a command, named as `subprocess` does."""

  returncode: int
  stdout: str
  stderr: str


class Command:
  """A command that runs; the part of `subprocess.Popen` that tests need."""

  def __init__(
    self,
    name: str,
    *flags: str,
    cwd: str | os.PathLike,
    environment: Mapping[str, str | None] | None = None,
  ):
    """Starts it.

    Args:
      name: of the module in `my3dgen_jax.launch`.
      *flags: of the command line.
      cwd: where it runs.
      environment: variables to set, or to remove where they are None.
    """
    self._output = tempfile.TemporaryDirectory()
    self._files = [
      pathlib.Path(self._output.name) / stream for stream in ("out", "err")
    ]
    variables: dict[str, str | None] = {
      name: None for name in _server().known if name not in os.environ
    }
    variables.update(os.environ)
    variables.update(environment or {})
    self.returncode: int | None = None
    self.pid = _server().ask(
      start=[f"my3dgen_jax.launch.{name}", *flags],
      cwd=str(cwd),
      environment=variables,
      files=[str(file) for file in self._files],
    )

  def poll(self) -> int | None:
    """The exit code, negative for a signal; None: it runs."""
    if self.returncode is None:
      self.returncode = _server().ask(poll=self.pid)
    return self.returncode

  def send_signal(self, number: int):
    """Sends a signal to it, unless it has ended."""
    if self.poll() is None:
      os.kill(self.pid, number)

  def kill(self):
    """Ends it at once."""
    self.send_signal(signal.SIGKILL)

  def communicate(self, timeout: float = 600) -> tuple[str, str]:
    """Waits for its end; what it wrote to stdout and stderr.

    Raises: subprocess.TimeoutExpired.
    """
    deadline = time.monotonic() + timeout
    while self.poll() is None:
      if time.monotonic() > deadline:
        raise subprocess.TimeoutExpired(str(self.pid), timeout)
      time.sleep(0.01)
    if self._files[0].exists():
      self._said = tuple(file.read_text() for file in self._files)
      self._output.cleanup()
    return self._said


def run(
  name: str,
  *flags: str,
  cwd: str | os.PathLike,
  environment: Mapping[str, str | None] | None = None,
  timeout: float = 600,
) -> Ended:
  """Runs a command to its end, see `Command`; it is killed after `timeout`."""
  command = Command(name, *flags, cwd=cwd, environment=environment)
  try:
    out, err = command.communicate(timeout)
  finally:
    command.kill()
  return Ended(command.returncode, out, err)


def wait_until(
  happened: Callable[[], bool],
  processes: Sequence[Command],
  timeout: float = 240,
):
  """Waits for what running commands do.

  Raises: AssertionError: a command ended before, or it takes too long; all
    commands are killed then.
  """
  deadline = time.monotonic() + timeout
  try:
    while not happened():
      for process in processes:
        if process.poll() is not None:
          raise AssertionError(f"ended too early: {process.communicate()}")
      if time.monotonic() > deadline:
        raise AssertionError(f"not within {timeout} s")
      time.sleep(0.005)
  except BaseException:
    for process in processes:
      process.kill()
    raise


class _Server:
  """The process that forks."""

  def __init__(self):
    environment = {
      **os.environ,
      "JAX_PLATFORMS": "cpu",
      "PYTHONPATH": str(ROOT),
    }
    self.known = set(environment)
    # Its end of the pipe closes with this process, and so it ends.
    self._process = subprocess.Popen(
      [sys.executable, "-m", "tests.support.commands"],
      cwd=ROOT,
      env=environment,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )

  def ask(self, **request):
    """One line of JSON there and back."""
    self._process.stdin.write(json.dumps(request) + "\n")
    self._process.stdin.flush()
    return json.loads(self._process.stdout.readline())


@functools.cache
def _server() -> _Server:
  return _Server()


def _serve():
  """Answers requests until nobody is there to ask."""
  # pylint: disable=import-outside-toplevel,unused-import
  import optax  # noqa: F401
  import PIL.Image  # noqa: F401

  from my3dgen_jax.apps import personalize  # noqa: F401
  from my3dgen_jax.apps.rendering import output  # noqa: F401
  from my3dgen_jax.launch.support import cli  # noqa: F401

  ended: dict[int, int] = {}
  for line in sys.stdin:
    request = json.loads(line)
    if "start" in request:
      answer = os.fork()
      if not answer:
        _become(**request)
    else:
      pid = request["poll"]
      if pid not in ended:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
          ended[pid] = os.waitstatus_to_exitcode(status)
      answer = ended.get(pid)
    print(json.dumps(answer), flush=True)


def _become(start, cwd, environment, files):
  """Turns this process into a command; does not return."""
  # pylint: disable-next=import-outside-toplevel
  import runpy

  code = 1
  try:
    for number, file in enumerate(["/dev/null", *files]):
      flags = os.O_WRONLY | os.O_CREAT if number else os.O_RDONLY
      opened = os.open(file, flags, 0o600)
      os.dup2(opened, number)
      os.close(opened)
    sys.stdin = open(0, closefd=False)
    sys.stdout = open(1, "w", closefd=False)
    sys.stderr = open(2, "w", buffering=1, closefd=False)
    for name, value in environment.items():
      if value is None:
        os.environ.pop(name, None)
      else:
        os.environ[name] = value
    os.chdir(cwd)
    sys.argv = list(start)
    sys.path[:] = [str(ROOT), *(path for path in sys.path if path)]
    runpy.run_module(start[0], run_name="__main__", alter_sys=True)
    code = 0
  except SystemExit as ended:
    code = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    if isinstance(ended.code, str):
      print(ended.code, file=sys.stderr)
  except BaseException:  # pylint: disable=broad-exception-caught
    sys.excepthook(*sys.exc_info())
  finally:
    # As at Python's end: what was asked to be done, then what was printed.
    # pylint: disable-next=import-outside-toplevel
    import atexit

    atexit._run_exitfuncs()  # pylint: disable=protected-access
    for stream in (sys.stdout, sys.stderr):
      try:
        stream.flush()
      except OSError:
        pass
    os._exit(code)


if __name__ == "__main__":
  _serve()
