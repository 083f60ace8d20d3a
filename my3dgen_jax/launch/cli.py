"""How every command starts, and how it ends when it is given bad input."""

import re
import sys
from typing import Callable, List, Sequence

import jax
from absl import app, flags, logging

from my3dgen_jax.errors import FlagError, UserError, one_line

_MOST_NUMBERS = 100_000  # a slip of the finger should not fill the memory


def run(main: Callable[[], None]):
  """Runs a command.

  Args:
    main: called once flags are parsed. A `UserError` or `OSError` that it
      raises ends in one line on stderr and exit code 1, a `FlagError` (also
      from parsing) in exit code 2; anything else is a bug and shows itself.
  """
  def guarded(argv: Sequence[str]):
    try:
      if len(argv) > 1:
        raise FlagError(f"unexpected argument {argv[1]!r}; every setting is "
                        "a flag, --helpshort lists them")
      main()
    except FlagError as error:
      _fail(error, 2)
    except (UserError, OSError, MemoryError) as error:
      _fail(error, 1)
    except jax.errors.JaxRuntimeError as error:
      if "RESOURCE_EXHAUSTED" not in str(error):
        raise
      _fail("not enough memory on the device; try fewer or smaller images", 1)
    except KeyboardInterrupt:
      _fail("interrupted", 130)

  app.run(guarded, flags_parser=_parse)


def _parse(argv: List[str]) -> List[str]:
  try:
    rest = flags.FLAGS(argv)
    if flags.FLAGS["verbosity"].using_default_value:
      # Orbax tells a page of its inner life at the level absl would choose.
      flags.FLAGS.verbosity = logging.WARNING
    return rest
  except flags.Error as error:
    return _fail(f"{error} (--helpshort lists the flags)", 2)


def _fail(error: object, code: int):
  print(f"error: {one_line(error)}", file=sys.stderr)
  sys.exit(code)


def numbers(name: str, values: Sequence[str], bound: float) -> List[float]:
  """Reads a list flag of numbers between -bound and bound.

  Raises: FlagError that names the flag.
  """
  try:
    result = [float(value) for value in values]
  except ValueError:
    result = []
  if not result or not all(abs(value) <= bound for value in result):
    raise FlagError(f"--{name}: expected numbers between {-bound:.4g} and "
                    f"{bound:.4g}, separated by commas, got "
                    f"{','.join(values)!r}")
  return result


def whole_numbers(name: str, values: Sequence[str]) -> List[int]:
  """Reads a list flag of whole numbers >= 0 and ranges: 1,4-6 is 1,4,5,6.

  Raises: FlagError that names the flag.
  """
  result = []
  for value in values:
    match = re.fullmatch(r"\s*(\d{1,10})(?:-(\d{1,10}))?\s*", value)
    first, last = map(int, (match[1], match[2] or match[1])) if match else (
        1, 0)
    if not first <= last < 2**32:
      raise FlagError(f"--{name}: expected whole numbers or ranges like 0-3, "
                      f"separated by commas, got {value!r}")
    if len(result) + last - first >= _MOST_NUMBERS:
      raise FlagError(f"--{name}: at most {_MOST_NUMBERS} at a time")
    result.extend(range(first, last + 1))
  if not result:
    raise FlagError(f"--{name}: expected at least one whole number")
  return result
