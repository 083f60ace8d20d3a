"""Checks of config values, with one-line errors."""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Union

from my3dgen_jax.errors import UserError

# Far above any model, and low enough that a damaged or hostile config.json
# causes an error instead of an endless loop over layers or a full memory.
MAX_SIZE = 2**16
MAX_RESOLUTION = 2**12
MAX_LAYERS = 64

REQUIRED = dataclasses.MISSING  # the default of fields without one


class ConfigError(UserError):
  """An invalid setting; the message starts with the field's name."""


def require(condition: bool, field: str, expected: str, value: Any):
  """Raises a ConfigError that names the field unless the condition holds."""
  if not condition:
    raise ConfigError(f"{field}: expected {expected}, got {value!r}")


def is_power_of_two(value: int) -> bool:
  """Whether a whole number is 1, 2, 4, …"""
  return value > 0 and value & (value - 1) == 0


def is_number(value: Any) -> typing.TypeGuard[float]:
  """Whether a value is a finite number that a float can hold."""
  # JSON can hold integers that no float can.
  return (
    isinstance(value, (int, float))
    and not isinstance(value, bool)
    and abs(value) < 1e300
  )


def is_positive(value: Any) -> bool:
  """Whether a value is a number > 0."""
  return is_number(value) and value > 0


def is_size(value: Any, *, low: int = 1, high: int = MAX_SIZE) -> bool:
  """Whether a value is a whole number within bounds, both included."""
  return (
    isinstance(value, int)
    and not isinstance(value, bool)
    and low <= value <= high
  )


def require_fields(
  config: Any,
  prefix: str,
  condition: Callable[[Any], bool],
  expected: str,
  *names: str,
):
  """Requires the same condition for several fields of a config."""
  for name in names:
    require(
      condition(getattr(config, name)),
      prefix + name,
      expected,
      getattr(config, name),
    )


def is_not_negative(value: Any) -> bool:
  """Whether a value is a number >= 0."""
  return is_number(value) and value >= 0


def check_numbers(config: Any, may_be_zero: Sequence[str]):
  """Checks a config whose fields are all numbers.

  Args:
    config: a dataclass.
    may_be_zero: names of the fields that are >= 0; the others are > 0.

  Raises: ConfigError: names the first field that is out of range.
  """
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    low = 0 if field.name in may_be_zero else 1e-9
    if not low <= value < MAX_SIZE * 100:
      raise ConfigError(
        f"{field.name}: expected a number "
        f"{'>= 0' if low == 0 else '> 0'}, got {value}"
      )


def later(default: Any) -> Any:
  """A field that files written earlier do not have."""
  return dataclasses.field(default=default, metadata={"later": True})


def plain(config: Any) -> dict[str, Any]:
  """A config as plain data, the inverse of `build`.

  Fields made by `later` are omitted if they have their default, so that hashes
  of older configs do not change.
  """
  result = {}
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if dataclasses.is_dataclass(value):
      result[field.name] = plain(value)
    elif not field.metadata.get("later") or value != field.default:
      result[field.name] = value
  return result


def build(cls, data: Any, prefix: str):
  """Builds the dataclass `cls` from plain data; errors name the field."""
  where = prefix.rstrip(".") or "generator"
  require(isinstance(data, Mapping), where, "a table of settings", data)
  hints = typing.get_type_hints(cls)
  unknown = sorted(set(data) - set(hints))
  if unknown:
    raise ConfigError(
      f"{prefix}{unknown[0]}: unknown setting; known are "
      + ", ".join(sorted(hints))
    )
  values = {}
  for name, value in data.items():
    if dataclasses.is_dataclass(hints[name]):
      values[name] = build(hints[name], value, f"{prefix}{name}.")
    else:
      values[name] = tuple(value) if isinstance(value, list) else value
  return cls(**values)


def check_types(config: Any, prefix: str):
  """Raises a ConfigError for the first value not of its annotated type."""
  for name, hint in typing.get_type_hints(type(config)).items():
    value = getattr(config, name)
    if dataclasses.is_dataclass(hint):
      require(isinstance(value, hint), prefix + name, hint.__name__, value)
      check_types(value, f"{prefix}{name}.")
    else:
      require(_has_type(value, hint), prefix + name, _describe(hint), value)


def _has_type(value: Any, hint: Any) -> bool:
  origin, args = typing.get_origin(hint), typing.get_args(hint)
  if origin in (Union, types.UnionType):
    return any(_has_type(value, arg) for arg in args)
  if origin is Literal:
    return isinstance(value, str) and value in args
  if origin is tuple:
    if args[-1] is ...:
      args = args[:1] * len(value) if isinstance(value, tuple) else ()
    return (
      isinstance(value, tuple)
      and len(value) == len(args)
      and all(map(_has_type, value, args))
    )
  if hint is float:
    return is_number(value)
  if hint is int:
    return isinstance(value, int) and not isinstance(value, bool)
  return isinstance(value, hint)


def _describe(hint: Any) -> str:
  origin, args = typing.get_origin(hint), typing.get_args(hint)
  if origin in (Union, types.UnionType):
    return " or ".join(map(_describe, args))
  if origin is Literal:
    return "one of " + ", ".join(map(repr, args))
  if origin is tuple:
    count = "several" if args[-1] is ... else len(args)
    return f"{count} values of type {_describe(args[0])}"
  return {
    float: "a finite number",
    int: "a whole number",
    bool: "a boolean",
    str: "a text",
    type(None): "null",
  }.get(hint, str(hint))


def setting(
  default: Any,
  text: str,
  *,
  low: float | None = None,
  high: float | None = None,
  choices: Sequence[str] = (),
  later: bool = False,
) -> Any:
  """A config field that a command's flag can set.

  Args:
    default: the field's default; `REQUIRED`: none, and the flag's is None.
    text: the flag's help: a noun, then its unit and range.
    low: the smallest number that the flag accepts; None: no bound.
    high: the largest number that the flag accepts; None: no bound. A list of
      numbers has low = -high.
    choices: the values that the flag accepts, if the annotation is not a
      `Literal`. File suffixes are given on the command line without the dot.
    later: whether files written earlier lack the field, see `plain`.
  """
  return dataclasses.field(
    default=default,
    metadata={
      "help": text,
      "low": low,
      "high": high,
      "choices": tuple(choices),
      "later": later,
    },
  )


def part(default: Any, prefix: str = "", fields: Sequence[str] = ()) -> Any:
  """A field that holds a nested config.

  Args:
    default: the nested config.
    prefix: prefix of its fields' flags.
    fields: names of the fields that get a flag; empty: all.
  """
  return dataclasses.field(
    default=default, metadata={"prefix": prefix, "fields": tuple(fields)}
  )
