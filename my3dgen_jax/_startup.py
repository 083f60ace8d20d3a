"""Checks that run before anything else is imported.

Imports only the standard library, so that a missing package, or Ctrl-C during
imports, ends a command with one line.
"""

import importlib.util
import pathlib
import sys
from types import TracebackType

_PACKAGE = __name__.partition(".")[0]
_COMMAND = "my3dgen"  # the console script
_CONVERTERS = ("_to_flax.py", "_to_npy.py", "_to_torch.py")
# Packages that are always imported.
REQUIRED = (
  "absl",
  "chex",
  "einops",
  "flax",
  "jax",
  "numpy",
  "optax",
  "orbax",
  "PIL",
  "safetensors",
)


def is_command(arguments: list[str]) -> bool:
  """Whether this process runs one of the project's commands.

  Args:
    arguments: `sys.orig_argv`, with Python's own arguments.
  """
  rest = list(arguments[1:])
  while rest:
    argument = rest.pop(0)
    if argument.startswith("-m"):
      module = argument[2:] or (rest[0] if rest else "")
      return module.partition(".")[0] in (_PACKAGE, "converters")
    if argument in ("-X", "-W"):  # the value follows
      rest = rest[1:]
    elif not argument.startswith("-"):
      path = pathlib.PurePath(argument)
      return path.stem == _COMMAND or path.name.endswith(_CONVERTERS)
  return False


def begin():
  """Checks packages, and shortens tracebacks of commands to one line.

  Raises: ModuleNotFoundError: a package is missing; says how to install it.
  """
  if is_command(sys.orig_argv):
    sys.excepthook = _say
    sys.unraisablehook = _say_unraisable
  for name in REQUIRED:
    if importlib.util.find_spec(name) is None:
      raise _Missing(
        f"the package {name} is not installed for {sys.executable}; activate "
        "the environment that has it (source .venv/bin/activate), or install "
        "my3dgen_jax as described in README.md",
        name=name,
      )


class _Missing(ModuleNotFoundError):
  """A required package is missing; the message says what to do."""


def _say(
  kind: type[BaseException], error: BaseException, trace: TracebackType | None
):
  """Prints an uncaught exception; as one line where we know the reason."""
  if issubclass(kind, KeyboardInterrupt):
    print("error: interrupted", file=sys.stderr)
  elif issubclass(kind, _Missing):
    print(f"error: {error}", file=sys.stderr)
  else:
    sys.__excepthook__(kind, error, trace)


def _say_unraisable(unraisable):
  """Ignores Ctrl-C where it cannot be caught, as in garbage collection."""
  if not isinstance(unraisable.exc_value, KeyboardInterrupt):
    sys.__unraisablehook__(unraisable)


begin()
