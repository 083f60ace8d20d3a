"""What has to be ready before anything else is imported.

Imports nothing but Python's own: a command says in one line that a package is
missing, and that somebody has pressed Ctrl-C while others were imported.
"""

import importlib.util
import pathlib
import sys
from types import TracebackType

_PACKAGE = __name__.partition(".")[0]
_COMMAND = "my3dgen"  # of the console
_CONVERTERS = ("_to_flax.py", "_to_npy.py", "_to_torch.py")
# What is imported without asking, of the packages that we depend on.
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
  """Whether a process is one of our commands.

  Args:
    arguments: `sys.orig_argv`, those of Python included.
  """
  rest = list(arguments[1:])
  while rest:
    argument = rest.pop(0)
    if argument.startswith("-m"):
      module = argument[2:] or (rest[0] if rest else "")
      return module.partition(".")[0] in (_PACKAGE, "converters")
    if argument in ("-X", "-W"):  # of which the value comes next
      rest = rest[1:]
    elif not argument.startswith("-"):
      path = pathlib.PurePath(argument)
      return path.stem == _COMMAND or path.name.endswith(_CONVERTERS)
  return False


def begin():
  """Makes commands end in one line where they would in a hundred.

  Raises: ModuleNotFoundError: a package is missing; says what to do.
  """
  if is_command(sys.orig_argv):
    sys.excepthook = _say
    sys.unraisablehook = _say_unraisable
  for name in REQUIRED:
    if importlib.util.find_spec(name) is None:
      raise _Missing(
        f"the package {name} is not installed for {sys.executable}; activate "
        "the environment that has it (source .venv/bin/activate), or install "
        "this one as README says",
        name=name,
      )


class _Missing(ModuleNotFoundError):
  """A package that we need; the message says what to do."""


def _say(
  kind: type[BaseException], error: BaseException, trace: TracebackType | None
):
  """Python's last words."""
  if issubclass(kind, KeyboardInterrupt):
    print("error: interrupted", file=sys.stderr)
  elif issubclass(kind, _Missing):
    print(f"error: {error}", file=sys.stderr)
  else:
    sys.__excepthook__(kind, error, trace)


def _say_unraisable(unraisable):
  """Where nobody can catch it, as while memory is tidied."""
  if not isinstance(unraisable.exc_value, KeyboardInterrupt):
    sys.__unraisablehook__(unraisable)


begin()
