"""What `--help` prints: a command's purpose, then its flags by importance."""

import difflib
import pathlib
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from absl import flags

# The flags that matter most for each command, in reading order.
FIRST: Mapping[str, Sequence[str]] = {
  "bank": ("bank", "run", "runs", "person", "out"),
  "edit": (
    *("run", "direction", "start", "strengths", "out"),
    *("write_samples", "samples", "labels", "without", "edge"),
  ),
  "enhance": ("run", "album", "task", "out", "mask", "factor", "small"),
  "evaluate": ("runs", "out", "protocol", "tables", "directions", "dists"),
  "fleet": (
    *("manifest", "out", "checkpoint", "lpips", "workers", "address"),
    *("steps", "retry_failed"),
  ),
  "info": ("preset", "checkpoint", "adapter", "run"),
  "interpolate": ("run", "anchors", "camera", "out", "frames", "spherical"),
  "invert": ("run", "album", "way", "out", "photos", "encoder"),
  "mesh": (
    *("run", "latents", "seeds", "checkpoint", "out"),
    *("resolution", "level", "texture"),
  ),
  "personalize": (
    *("checkpoint", "album", "lpips", "out", "test", "steps"),
    *("learning_rate", "batch_size", "lora_rank", "resume", "demo_person"),
  ),
  "prepare": ("photos", "out", "domain", "identity", "test", "mark"),
  "pretrain_demo": ("out", "people", "image_steps", "crop_steps"),
  "render": (
    *("run", "checkpoint", "latents", "seeds", "out", "camera"),
    *("yaw", "pitch", "format", "kinds", "grid", "truncation_psi"),
  ),
  "report": ("run", "scrub"),
  "share": (
    *("run", "latents", "seeds", "out", "between", "direction"),
    *("strengths", "content", "title"),
  ),
  "splats": (
    *("run", "latents", "seeds", "checkpoint", "out"),
    *("steps", "views", "background", "up"),
  ),
  "synthesize": ("run", "count", "only", "seed", "out", "mixed"),
  "train_demo_networks": (
    *("out", "people", "photos"),
    *("identity_steps", "feature_steps"),
  ),
  "train_encoder": (
    *("checkpoint", "lpips", "out", "steps", "samples", "batch_size"),
    *("space", "resume"),
  ),
  "viewer": (
    *("run", "runs", "bank", "checkpoint", "out", "open"),
    *("port", "host", "share", "token"),
  ),
}
_MATTER = "Flags that matter most"
_OTHERS = "Other settings"
# Where the other flags belong: names, and prefixes that end in "_".
GROUPS: Mapping[str, Sequence[str]] = {
  "Person and networks": (
    *("run", "runs", "bank", "person", "checkpoint", "pretrained"),
    *("encoder", "lpips", "identity", "dists", "demo_person", "segmenter"),
  ),
  "Photos": (
    *("album", "albums", "photos", "camera_convention", "detections"),
    *("domain", "duplicate", "frames", "keep", "mirror", "max_roll", "min_"),
    *("test", "reference", "train", "validation", "split_seed"),
  ),
  "Adapter": ("lora_", "adapter_"),
  "Anchors": ("anchor_",),
  "Projection (--way=w, w+ and pivot)": ("latent_",),
  "Personal hull": ("hull_",),
  "Tuning to one photo (--way=pivot)": ("tuning_",),
  "Second look": ("look_",),
  "Optimization": (
    *("mode", "steps", "batch_size", "accumulation", "learning_rate"),
    *("decay", "beta1", "beta2", "lazy_interval", "patience"),
    *("validate_every", "stratified", "seed", "neural_rendering_resolution"),
  ),
  "Losses": (
    *("lpips_weight", "mse_weight", "raw_weight", "identity_weight"),
    *("symmetry_weight", "density_", "w_weight", "metric_"),
  ),
  "Cameras": ("camera", "yaw", "pitch", "focal", "view_", "views", "turn"),
  "Files": (
    *("out", "format", "video", "fps", "crf", "side", "kinds", "grid"),
    *("strip", "sheet", "pictures", "report", "dtype", "mesh"),
  ),
  "Machine": (
    *("devices", "cpu_devices", "workers", "group", "precision", "cache"),
    *("program_cache", "save_every", "log_every", "resume", "coordinator"),
    *("num_processes", "process_id", "connect_timeout", "retries"),
    *("retry_failed", "address", "together"),
  ),
}
_FLAGFILES = (
  "--flagfile=FILE reads flags from a file, one per line; # begins a comment. "
  "Later flags override earlier ones. FILE is looked for in the current "
  "folder, then in launch/ of this project."
)
_MORE = "--helpshort shows fewer flags, --helpfull those of absl as well."
_WIDTH = 80
_VALUES = {"int": "INTEGER", "float": "NUMBER", "string": "TEXT"}


class _HelpFlag(flags.BooleanFlag):
  """A flag that prints help and ends the command."""

  def __init__(self, name: str, show: Callable[[], str], **options: Any):
    super().__init__(
      name, False, "Show this help.", allow_override=True, **options
    )
    self._show = show

  def parse(self, argument: Any):
    super().parse(argument)
    if self.value:
      print(self._show())
      sys.stdout.flush()
      sys.exit(0)


def install(main: Callable[[], None]):
  """Replaces absl's --help and --helpshort.

  Args:
    main: the command's function; its module's docstring is what help shows.
  """
  module = sys.modules[main.__module__]
  show = lambda **options: (
    lambda: of_command(
      pathlib.Path(module.__file__ or "").stem,
      module.__doc__ or "",
      flags.FLAGS,
      **options,
    )
  )
  flags.DEFINE_flag(_HelpFlag("help", show(), short_name="?"))
  flags.DEFINE_flag(_HelpFlag("helpshort", show(short=True)))


def of_command(
  command: str, docstring: str, values: flags.FlagValues, *, short: bool = False
) -> str:
  """A command's help.

  Args:
    command: name of its module.
    docstring: what it does; a line, examples, then the rest.
    values: its flags.
    short: only the flags that matter most.
  """
  names = sorted(ours(values))
  first = [name for name in FIRST.get(command, ()) if name in names]
  sections = {_MATTER: first, **_grouped(set(names) - set(first))}
  if short:
    sections = {_MATTER: first or names}
  return "\n".join(
    [
      docstring.strip(),
      *_sections(sections, values),
      "",
      *textwrap.wrap(f"{_FLAGFILES} {_MORE}", _WIDTH),
    ]
  )


def of_converter(docstring: str, values: flags.FlagValues) -> str:
  """A converter's help; arguments as `of_command`'s."""
  return "\n".join(
    [docstring.strip(), *_sections({"Flags": sorted(ours(values))}, values)]
  )


def ours(values: flags.FlagValues) -> set[str]:
  """Names of the flags that are the project's, not those of absl and others."""
  return {
    flag.name
    for module, found in values.flags_by_module_dict().items()
    if module.partition(".")[0] not in ("absl", "chex", "jax", "etils")
    for flag in found
    if flag.name not in ("help", "helpshort")
  }


def nearest(word: str, known: Iterable[str], prefix: str = "") -> str:
  """`; did you mean …?` for a mistyped word, "" if nothing is similar.

  Args:
    word: what was typed.
    known: what could have been meant.
    prefix: text before each suggestion.
  """
  found = difflib.get_close_matches(word, sorted(known), 3, 0.7)
  if not found:
    return ""
  return f"; did you mean {' or '.join(prefix + name for name in found)}?"


def _grouped(names: set[str]) -> dict[str, list[str]]:
  """Names by group; each in the first that fits it."""
  result: dict[str, list[str]] = {title: [] for title in (_OTHERS, *GROUPS)}
  for name in sorted(names):
    title = next(
      (
        title
        for title, members in GROUPS.items()
        if name in members
        or any(
          name.startswith(member) for member in members if member[-1] == "_"
        )
      ),
      _OTHERS,
    )
    result[title].append(name)
  return result


def _sections(
  sections: Mapping[str, Sequence[str]], values: flags.FlagValues
) -> Iterable[str]:
  """Lines of several groups of flags; empty groups are left out."""
  for title, names in sections.items():
    if names:
      yield f"\n{title}:"
    for name in names:
      yield from _flag(values[name])


def _flag(flag: flags.Flag) -> list[str]:
  """Lines of one flag: name and value, default, help."""
  head = f"  --{flag.name}={_value(flag)}"
  if flag.boolean:
    head = f"  --[no]{flag.name}"
  default, text = (flag.default_as_str or "").strip("'\""), flag.help
  # absl puts an enum's values before the help, and a remark after a list's.
  text = text.removeprefix(f"<{_value(flag)}>: ")
  if isinstance(flag, flags.MultiFlag):
    default = ",".join(map(str, flag.default or ()))
    text = text.partition(";\n")[0] + " Can be repeated."
  if default:
    head += f"  (default: {default})"
  indent = " " * 6
  return [
    head,
    *textwrap.wrap(
      text,
      _WIDTH,
      initial_indent=indent,
      subsequent_indent=indent,
      break_on_hyphens=False,
    ),
  ]


def _value(flag: flags.Flag) -> str:
  """What a flag's value looks like: choices, bounds or a word."""
  choices = getattr(flag.parser, "enum_values", None)
  if choices:
    return "|".join(choices)
  if isinstance(flag.parser, flags.ListParser):
    return "A,B,…"
  word = _VALUES.get(flag.flag_type(), "TEXT")
  low, high = (
    getattr(flag.parser, name, None) for name in ("lower_bound", "upper_bound")
  )
  if low is None and high is None:
    return word
  if high is None:
    return f"{word}>={low:g}"
  return f"{word}<={high:g}" if low is None else f"{low:g}..{high:g}"
