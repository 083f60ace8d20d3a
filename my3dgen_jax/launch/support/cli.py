"""Starts every command, and turns its errors into one line."""

import contextlib
import functools
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
from absl import app, flags, logging

from my3dgen_jax.errors import FlagError, Interrupted, one_line, UserError
from my3dgen_jax.jobs import clusters, devices, processes
from my3dgen_jax.jobs.progress import compiling
from my3dgen_jax.launch.support import (
  flagfiles,
  programs,
  renamed_flags,
  terminal,
)
from my3dgen_jax.launch.support import help as helps
from my3dgen_jax.tracing import platforms

# Commands declare their flags with these. Two commands may use the same name,
# as only one runs; and a flag belongs to its command, not to this file.
_DEFINERS: list[Any] = [
  functools.partial(define, allow_override=True)
  for define in (
    flags.DEFINE_string,
    flags.DEFINE_integer,
    flags.DEFINE_float,
    flags.DEFINE_bool,
    flags.DEFINE_enum,
    flags.DEFINE_list,
    flags.DEFINE_multi_enum,
  )
]
string, integer, number, boolean, enum, listing, multi_enum = _DEFINERS
flags.disclaim_key_flags()

_CPU_DEVICES = "cpu_devices"
_COORDINATOR, _COUNT, _INDEX, _TIMEOUT = _OF_PROCESSES = (
  "coordinator",
  "num_processes",
  "process_id",
  "connect_timeout",
)
_AUTO = "auto"
_PROGRAM_CACHE = "program_cache"
_PRECISION = "precision"
_INTERRUPTED = "interrupted"
_told: list[str] = []  # the action given to this process's command
_MOST_NUMBERS = 100_000  # a typing error should not fill the memory


def run(
  main: Callable[[], None], *, actions: Sequence[str] = (), default: str = ""
):
  """Runs a command.

  Args:
    main: the function to call once flags are parsed. `UserError` and `OSError`
      are printed as one line on stderr, with exit code 1; `FlagError`, also
      from parsing, with exit code 2. Any other exception is a bug and is
      raised.
    actions: words allowed as the first argument, which `action` returns; empty:
      the command takes only flags.
    default: the action if the first argument is a flag; "": an error.
  """

  def guarded(argv: Sequence[str]):
    try:
      if len(argv) > 1:
        raise FlagError(
          f"unexpected argument {argv[1]!r}; settings are given as --FLAG=VALUE, "
          "--help lists the flags"
        )
      if _CPU_DEVICES in flags.FLAGS and flags.FLAGS[_CPU_DEVICES].value:
        jax.config.update(
          "jax_num_cpu_devices", flags.FLAGS[_CPU_DEVICES].value
        )
      _start_processes()
      devices.trim_after_compiling()
      platforms.trace_for_cpu_alone()
      programs.keep_programs(flags.FLAGS[_PROGRAM_CACHE].value)
      main()
      processes.finish()
    except FlagError as error:
      _fail(error, 2)
    except (UserError, OSError, MemoryError) as error:
      _fail(error, 1)
    except jax.errors.JaxRuntimeError as error:
      if KeyboardInterrupt.__name__ in str(error):  # raised within a callback
        _fail(_INTERRUPTED, 128 + signal.SIGINT)
      if "RESOURCE_EXHAUSTED" not in str(error):
        # If another process has died, its reason is printed instead.
        processes.await_end_of_others()
        _end_others(error)
        raise
      _fail(
        "not enough memory on the device; use a smaller batch or fewer people at a "
        "time",
        1,
      )
    except Interrupted as error:
      print(error, file=sys.stderr)
      processes.abandon(128 + error.signal, str(error), signal=error.signal)
      sys.exit(128 + error.signal)
    except KeyboardInterrupt:
      _fail(_INTERRUPTED, 128 + signal.SIGINT)
    except Exception as error:
      _end_others(error)
      if (reason := _why_no_backend()) is not None:
        _fail(reason, 1)
      raise

  # Declared here, as every command has them.
  string(
    _PROGRAM_CACHE,
    None,
    "Folder to keep compiled programs in, for later commands to reuse; empty: "
    "keep none. Default: JAX_COMPILATION_CACHE_DIR, else the user's cache "
    "folder.",
  )
  enum(
    _PRECISION,
    None,
    ["default", "high", "highest"],
    "Precision of matrix products on an accelerator: highest: float32; "
    "default: TF32 on a GPU, as in the original. Default: default on an "
    "accelerator, else the checkpoint's.",
  )
  terminal.guard()
  _hurry_when_asked_twice()
  try:
    app.run(
      guarded,
      flags_parser=functools.partial(
        _parse, main=main, actions=actions, default=default
      ),
    )
  except BrokenPipeError:  # as `--helpshort | head` closes it
    # Else Python would try to flush the rest, and print an error.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + signal.SIGPIPE)


def _hurry_when_asked_twice():
  """Makes a second Ctrl-C exit at once, without cleanup.

  Libraries that are interrupted during shutdown print long tracebacks.
  """
  if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
    return  # already handled, by nohup or a test

  def end(*_):
    signal.signal(signal.SIGINT, hurry)
    raise KeyboardInterrupt

  def hurry(*_):
    os.write(2, f"error: {_INTERRUPTED}\n".encode())
    os._exit(128 + signal.SIGINT)

  signal.signal(signal.SIGINT, end)


def _why_no_backend() -> str | None:
  """Why JAX cannot start its platform, and what to do; None: it can."""
  try:
    jax.default_backend()
  except (AssertionError, RuntimeError) as error:
    wanted = jax.config.jax_platforms
    return (
      f"JAX cannot start the platform {wanted!r} "
      f"({one_line(error) or 'no such device'}); set JAX_PLATFORMS=cpu, or "
      'install JAX for that platform, for a GPU pip install "jax[cuda12]"'
    )
  return None


def precision(begun: Callable[[], str | None] = lambda: None) -> str | None:
  """The precision of --precision, or the device's default; None: as stored.

  The library uses its configs' precision; commands prefer a fast one.

  Args:
    begun: returns the precision that resumed work began with, or None; called
      if the flag is not set.
  """
  found = flags.FLAGS[_PRECISION].value or begun()
  # CUDA starts slowly if its libraries are not in the disk cache yet.
  with compiling("devices", doing="starting", done="started"):
    suiting = devices.suiting_precision()
  return found or suiting


def start_worker(program_cache: str | None, cpu_devices: int | None):
  """Sets up a worker process as `run` sets up a command's.

  Args:
    program_cache: value of the command's --program_cache.
    cpu_devices: value of its --cpu_devices.
  """
  if cpu_devices:
    jax.config.update("jax_num_cpu_devices", cpu_devices)
  devices.trim_after_compiling()
  platforms.trace_for_cpu_alone()
  programs.keep_programs(program_cache)


def worker_start() -> Callable[[], None]:
  """`start_worker` with the flags' values; can be pickled."""
  value = lambda name: flags.FLAGS[name].value if name in flags.FLAGS else None
  return functools.partial(
    start_worker, value(_PROGRAM_CACHE), value(_CPU_DEVICES)
  )


@contextlib.contextmanager
def given(values: Mapping[str, str]) -> Iterator[None]:
  """Overrides flags within a block, as if they were given last.

  Args:
    values: the flags' new values as text, by name.

  Raises: FlagError: a value cannot be parsed; names the flag.
  """
  known = {name: flags.FLAGS[name] for name in values}
  before = {
    name: (flag.value, flag.present, flag.using_default_value)
    for name, flag in known.items()
  }
  try:
    for name, flag in known.items():
      flag.present = 0  # else values are appended to lists
      text = values[name]
      try:
        # pylint: disable-next=isinstance-second-argument-not-valid-type
        flag.parse(text.split() if isinstance(flag, flags.MultiFlag) else text)
      except flags.Error as error:
        raise FlagError(str(error)) from None
      flag.using_default_value = False
    yield
  finally:
    for name, flag in known.items():
      flag.value, flag.present, flag.using_default_value = before[name]


def define_cpu_devices():
  """Declares --cpu_devices for a command that splits its work over devices."""
  integer(
    _CPU_DEVICES,
    None,
    "Number of devices that JAX sees on the CPU and splits the work over, 1 to "
    "256. One per core suits small models; memory use grows with it. Default: "
    "1.",
    lower_bound=1,
    upper_bound=256,
  )


def define_processes():
  """Declares the flags of a command that can run as several processes."""
  string(
    _COORDINATOR,
    None,
    "HOST:PORT of process 0, the same for all processes of a job; auto: taken "
    "from SLURM or Open MPI. Default: a single process.",
  )
  integer(_COUNT, None, "Number of processes of the job, >= 1.", lower_bound=1)
  integer(
    _INDEX,
    None,
    "Number of this process, from 0; process 0 writes the files.",
    lower_bound=0,
  )
  number(
    _TIMEOUT,
    clusters.CONNECT_SECONDS,
    "Seconds to wait for all processes to start, >= 1.",
    lower_bound=1.0,
  )


def _start_processes():
  """Connects to the job's other processes, if the flags ask for several."""
  if _COORDINATOR not in flags.FLAGS:
    return
  values = {
    name: flags.FLAGS[name].value for name in (_COORDINATOR, _COUNT, _INDEX)
  }
  coordinator, count, index = values.values()
  if all(value is None for value in values.values()):
    return
  local = None
  if coordinator == _AUTO:
    if count is not None or index is not None:
      raise FlagError(
        "--coordinator=auto sets --num_processes and --process_id; drop them"
      )
    coordinator, count, index, local = clusters.detect()
  for name, value in (
    (_COORDINATOR, coordinator),
    (_COUNT, count),
    (_INDEX, index),
  ):
    if value is None:
      raise FlagError(
        f"--{name} is missing; several processes need "
        "--coordinator, --num_processes and --process_id"
      )
  processes.start(
    coordinator,
    count=count,
    index=index,
    local_devices=local,
    timeout=flags.FLAGS[_TIMEOUT].value,
  )


def _end_others(error: Exception):
  """Prints a bug's traceback and stops the other processes, if any."""
  if processes.count() > 1:
    traceback.print_exception(error)
    processes.abandon(1, f"{type(error).__name__}: {one_line(error)}")


def action() -> str:
  """The action that the command line names; see `run`."""
  return _told[-1]


def _parse(
  argv: list[str],
  *,
  main: Callable[[], None],
  actions: Sequence[str] = (),
  default: str = "",
) -> list[str]:
  try:
    helps.install(main)
    command, *arguments = argv
    if default and (not arguments or arguments[0].startswith("-")):
      _told.append(default)
      actions = ()
    if actions and not {"--help", "--helpshort", "--helpfull", "-?"} & set(
      arguments
    ):
      if not arguments or arguments[0] not in actions:
        raise FlagError(
          f"expected an action ({', '.join(actions)}) before all flags, got "
          f"{arguments[0] if arguments else 'nothing'!r}"
        )
      _told.append(arguments.pop(0))
    arguments = renamed_flags.renamed(flagfiles.expanded(arguments))
    rest = flags.FLAGS([command, *arguments])
    if flags.FLAGS["verbosity"].using_default_value:
      # At absl's default level, Orbax logs a page of its internals.
      flags.FLAGS.verbosity = logging.WARNING
    return rest
  except FlagError as error:
    return _fail(error, 2)
  except flags.UnrecognizedFlagError as error:
    # absl would suggest flags of its own, too.
    meant = helps.nearest(error.flagname, helps.ours(flags.FLAGS), "--")
    return _fail(
      f"Unknown command line flag {error.flagname!r}{meant or ';'} "
      "--help lists the flags",
      2,
    )
  except flags.Error as error:
    return _fail(f"{error} (--help lists the flags)", 2)


def flags_as_text(skip: Sequence[str] = ()) -> str:
  """The flags on the command line, as the text of a flagfile."""
  lines = []
  for name, flag in sorted(flags.FLAGS._flags().items()):  # pylint: disable=protected-access
    if (
      flag.using_default_value
      or name in skip
      or name in ("flagfile", "verbosity", *_OF_PROCESSES)
    ):
      continue
    lines.append(flag.serialize())
  return "\n".join(dict.fromkeys(line for line in lines if line)) + "\n"


def _fail(error: object, code: int):
  print(f"error: {one_line(error)}", file=sys.stderr)
  processes.abandon(code, one_line(error))
  sys.exit(code)


def numbers(name: str, values: Sequence[str], bound: float) -> list[float]:
  """Reads a list flag of numbers between -bound and bound.

  Raises: FlagError: names the flag.
  """
  try:
    result = [float(value) for value in values]
  except ValueError:
    result = []
  if not result or not all(abs(value) <= bound for value in result):
    raise FlagError(
      f"--{name}: expected numbers between {-bound:.4g} and "
      f"{bound:.4g}, separated by commas, got "
      f"{','.join(values)!r}"
    )
  return result


def whole_numbers(name: str, values: Sequence[str]) -> list[int]:
  """Reads a list flag of whole numbers >= 0 and ranges: 1,4-6 is 1,4,5,6.

  Raises: FlagError that names the flag.
  """
  result = []
  for value in values:
    match = re.fullmatch(r"\s*(\d{1,10})(?:-(\d{1,10}))?\s*", value)
    first, last = (
      map(int, (match[1], match[2] or match[1])) if match else (1, 0)
    )
    if not first <= last < 2**32:
      raise FlagError(
        f"--{name}: expected whole numbers or ranges like 0-3, "
        f"separated by commas, got {value!r}"
      )
    if len(result) + last - first >= _MOST_NUMBERS:
      raise FlagError(f"--{name}: expected at most {_MOST_NUMBERS} numbers")
    result.extend(range(first, last + 1))
  if not result:
    raise FlagError(f"--{name}: expected at least one whole number")
  return result
