"""Declares a flag for each field of a config, with its bounds and help."""

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from absl import flags

from my3dgen_jax.config import REQUIRED
from my3dgen_jax.launch.support import cli

# The flags belong to the command that declares them.
flags.disclaim_key_flags()

_SCALARS = {
  int: cli.integer,
  float: cli.number,
  bool: cli.boolean,
  str: cli.string,
}


def define(
  config_class: Any,
  prefix: str = "",
  *,
  only: Sequence[str] = (),
  skip: Sequence[str] = (),
  names: Mapping[str, str] | None = None,
  parse: Mapping[str, Callable[[str], Any]] | None = None,
  **defaults: Any,
) -> Callable[..., Any]:
  """Declares a flag for each `setting` of a config and of its parts.

  Args:
    config_class: a dataclass.
    prefix: prefix of the flags' names.
    only: names of the fields that get a flag; empty: all fields.
    skip: names of the fields that get none.
    names: flag names by field name, where they differ.
    parse: functions from a flag's text to the field's value, by field name.
    **defaults: defaults of flags that differ from the fields'.

  Returns: a function that builds the config from the parsed flags. Its keyword
    arguments set fields directly, without their flags. It raises FlagError,
    naming the flag, if a value cannot be parsed.
  """
  hints, names, parse = (
    typing.get_type_hints(config_class),
    names or {},
    (parse or {}),
  )
  readers = {}
  for field in dataclasses.fields(config_class):
    if field.name in skip or only and field.name not in only:
      continue
    default = defaults.get(field.name, field.default)
    if "prefix" in field.metadata:
      readers[field.name] = _define_part(default, **field.metadata)
    elif "help" in field.metadata:
      readers[field.name] = _define_field(
        prefix + names.get(field.name, field.name),
        hints[field.name],
        None if default is REQUIRED else default,
        field.metadata,
        parse.get(field.name),
      )

  def read(**fields: Any) -> Any:
    return config_class(
      **fields,
      **{
        name: reader() for name, reader in readers.items() if name not in fields
      },
    )

  return read


def names_of(
  config_class: Any,
  prefix: str = "",
  *,
  only: Sequence[str] = (),
  skip: Sequence[str] = (),
) -> set[str]:
  """Names of the flags that `define` declares, given the same arguments."""
  found = set()
  for field in dataclasses.fields(config_class):
    if field.name in skip or only and field.name not in only:
      continue
    if "prefix" in field.metadata:
      found |= names_of(
        type(field.default),
        field.metadata["prefix"],
        only=field.metadata["fields"],
      )
    elif "help" in field.metadata:
      found.add(prefix + field.name)
  return found


def _define_part(
  default: Any, prefix: str, fields: Sequence[str]
) -> Callable[[], Any]:
  """Declares the flags of a nested config; returns its reader."""
  rest = {
    name: value
    for name, value in vars(default).items()
    if fields and name not in fields
  }
  return functools.partial(
    define(type(default), prefix, only=fields, **vars(default)), **rest
  )


def _define_field(
  name: str,
  hint: Any,
  default: Any,
  metadata: Mapping[str, Any],
  parse: Callable[[str], Any] | None,
) -> Callable[[], Any]:
  """Declares one flag; returns the reader of the field's value."""
  text, choices = metadata["help"], metadata["choices"]
  if parse:
    holder = cli.string(name, None if default is None else str(default), text)
    return lambda: parse(holder.value) if holder.value else holder.value
  hint = _without_none(hint)
  if typing.get_origin(hint) is tuple:
    return _define_tuple(name, typing.get_args(hint)[0], default, metadata)
  if typing.get_origin(hint) is Literal:
    choices = typing.get_args(hint)
  if choices:
    dot = "." * all(choice.startswith(".") for choice in choices)
    shown = [choice.removeprefix(dot) for choice in choices]
    holder = cli.enum(name, default and default.removeprefix(dot), shown, text)
    return lambda: holder.value and dot + holder.value
  bounds = (
    {}
    if hint in (bool, str)
    else {"lower_bound": metadata["low"], "upper_bound": metadata["high"]}
  )
  holder = _SCALARS[hint](name, default, text, **bounds)
  return lambda: holder.value


def _define_tuple(
  name: str, item: Any, default: Any, metadata: Mapping[str, Any]
) -> Callable[[], Any]:
  """Declares the flag of a tuple field with items of type `item`."""
  text = metadata["help"]
  if metadata["choices"]:
    holder = cli.multi_enum(name, list(default), metadata["choices"], text)
  else:
    holder = cli.listing(
      name,
      default
      if default is None
      else [f"{value:g}" if item is float else str(value) for value in default],
      text,
    )
  if item is str:
    return lambda: None if holder.value is None else tuple(holder.value)

  def read() -> Any:
    if holder.value == default or not holder.value and default == ():
      return default
    if item is int:
      return tuple(cli.whole_numbers(name, holder.value))
    return tuple(cli.numbers(name, holder.value, metadata["high"]))

  return read


def _without_none(hint: Any) -> Any:
  """The type X of an annotation X | None."""
  if typing.get_origin(hint) not in (typing.Union, types.UnionType):
    return hint
  (found,) = (one for one in typing.get_args(hint) if one is not type(None))
  return found
