"""The paper's tables, over people who have been personalized.

A person is a folder of runs, or one run. Every measurement is kept in a file
of its own, by what it depends on: another person or another table repeats
nothing, and what was killed goes on with the measurement that it was at.

Source: My3DGen, tables 1 to 6, figures 4 and 9, appendix D.
"""

import dataclasses
import functools
import hashlib
import json
import math
import os
import pathlib
import shutil
import time
from typing import (Any, Callable, Dict, List, Mapping, NamedTuple, Optional,
                    Sequence, Tuple, Union)

from flax import traverse_util
import numpy as np

from my3dgen_jax import lora as lora_lib
from my3dgen_jax._version import __version__
from my3dgen_jax.apps.evaluation import claims, plots, protocols, tables
from my3dgen_jax.apps.rendering import render
from my3dgen_jax.apps.person import Person, load_person
from my3dgen_jax.apps.personalize import CIRCUMSTANCES
from my3dgen_jax.apps.evaluation.protocols import Protocol, Subject
from my3dgen_jax.losses.scores import IdentityScore
from my3dgen_jax.apps.evaluation.tables import Column, Table
from my3dgen_jax.data import images, provenance
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.directions import Direction
from my3dgen_jax.errors import UserError
from my3dgen_jax.losses import identity as identity_lib
from my3dgen_jax.losses import lpips as lpips_lib
from my3dgen_jax.losses import metrics
from my3dgen_jax.losses.weights import WEIGHTS_FILE
from my3dgen_jax.models.checkpoint import generator_digest
from my3dgen_jax.jobs import devices
from my3dgen_jax.training import run_folder
from my3dgen_jax.jobs.interrupts import StopRequest, stopping_gently
from my3dgen_jax.jobs.progress import duration

PRETRAINED, FULL, LORA = "pretrained", "all weights", "LoRA"
REPORT_FILE, VALUES_FILE = "RESULTS.md", "results.json"
LAYOUTS_FILE = "layouts.png"

_MEASURED = "measured"  # folder
_UNFINISHED = "unfinished"  # in it
_FORMAT = 2  # of measurements; another one whenever a protocol changes
_MAIN, _WHOLE = "lora", "full"  # run folders of a person
_PIXELS = 4  # views of the picture of layouts
_LEVEL = int(100 * tables.LEVEL)


class Variant(NamedTuple):
  """A generator of a person's.

  Attributes:
    folder: of the run.
    pretrained: the run's base, with the run's anchors.
  """

  folder: pathlib.Path
  pretrained: bool = False


class Runs(NamedTuple):
  """A person's runs.

  Attributes:
    name: of the person.
    main: the LoRA that is compared with the rest.
    full: all weights tuned, or None.
    variants: axis of `AXES` to its value to the run, the main one's too; only
      runs that differ from the main one in nothing else.
  """

  name: str
  main: pathlib.Path
  full: Optional[pathlib.Path]
  variants: Dict[str, Dict[Any, pathlib.Path]]


# What runs are compared by -> where `_content` says it.
AXES = {"rank": "settings.lora.rank", "layout": "settings.lora.conv_rank",
        "lpips_weight": "settings.loss.lpips_weight",
        "photos": "photos.train"}
# What tuning all weights may have of its own.
_OF_MODE = ("settings.tuning.", "settings.lora.")


def _content(config: Mapping[str, Any]) -> Dict[str, Any]:
  """What a run was made of, by dotted names, from its config."""
  settings = {name: value for name, value in config["settings"].items()
              if name not in CIRCUMSTANCES}
  photos = {part: tuple(sorted(names.items()))
            for part, names in config["photos"].items()}
  return traverse_util.flatten_dict({
      "settings": settings, "photos": photos, "weights": config["weights"],
      "base": config[run_folder.BASE_DIGEST]}, sep=".")


def _different(a: Mapping[str, Any], b: Mapping[str, Any]) -> List[str]:
  return sorted(name for name in {*a, *b} if a.get(name) != b.get(name))


def _value(axis: str, content: Mapping[str, Any]) -> Any:
  value = content[AXES[axis]]
  return len(value) if axis == "photos" else value


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
  """What is measured, and how.

  Attributes:
    tables: names of `TABLES`.
    protocol: how much is looked at.
    seed: of everything that is random.
    directions: that edits follow.
    lpips: folder of weights; None: each run's own.
    identity: likewise.
    dists: likewise; None: no such column.
    precision: of products, see `GeneratorConfig`; None: each run's own.
  """

  tables: Tuple[str, ...]
  protocol: Protocol = protocols.QUICK
  seed: int = 0
  directions: Tuple[Direction, ...] = ()
  lpips: Optional[str] = None
  identity: Optional[str] = None
  dists: Optional[str] = None
  precision: Optional[str] = None

  def validate(self) -> "EvaluateConfig":
    """Checks the names; raises UserError."""
    unknown = [name for name in self.tables if name not in TABLES]
    if unknown or not self.tables:
      raise UserError(f"tables: expected some of {', '.join(TABLES)}, got "
                      f"{', '.join(unknown) or 'none'}")
    return self


def find_people(places: Sequence[Union[str, os.PathLike]]) -> List[Runs]:
  """Looks up runs.

  Args:
    places: folders of runs, a person each, or runs. Of several LoRA runs of a
      person, the one in a folder called "lora" is compared with the rest.

  Returns: people, in the order given.
  Raises: UserError, CheckpointError: names the folder and what is wrong.
  """
  people = [_runs_of(pathlib.Path(place).expanduser()) for place in places]
  names = [person.name for person in people]
  for person in people:
    if names.count(person.name) > 1:
      raise UserError(f"runs: two people are called {person.name!r}; rename "
                      "a folder")
  return people


def _runs_of(place: pathlib.Path) -> Runs:
  folders = [place] if run_folder.is_run(place) else sorted(
      filter(run_folder.is_run, place.iterdir() if place.is_dir() else ()))
  configs = {folder: run_folder.read_config(folder) for folder in folders}
  mode = lambda folder: configs[folder]["settings"]["tuning"]["mode"]
  loras = [folder for folder in folders if mode(folder) == "lora"]
  wholes = [folder for folder in folders if mode(folder) == "full"]
  if not loras:
    raise UserError(f"{place}: expected a run of launch.personalize with an "
                    "adapter (--mode=lora), or a folder of runs; there is "
                    "none")
  main = _one_of(place, loras, _MAIN)
  for folder in loras + wholes:
    if not (folder / run_folder.SUMMARY_FILE).is_file():
      raise UserError(f"{folder}: is not finished; the command that began it "
                      "goes on with --resume")
  contents = {folder: _content(configs[folder]) for folder in loras + wholes}
  variants: Dict[str, Dict[Any, pathlib.Path]] = {
      axis: {_value(axis, contents[main]): main} for axis in AXES}
  for folder in loras:
    different = _different(contents[folder], contents[main])
    for axis in AXES:
      if different == [AXES[axis]]:
        value = _value(axis, contents[folder])
        if value in variants[axis]:
          raise UserError(f"{folder}: compares nothing that "
                          f"{variants[axis][value]} does not; remove one")
        variants[axis][value] = folder
  full = _one_of(place, wholes, _WHOLE) if wholes else None
  for name in _different(contents[full], contents[main]) if full else ():
    if not name.startswith(_OF_MODE):
      raise UserError(f"{full}: has another {name} than {main}, so they "
                      "cannot be compared; personalize one of them again")
  return Runs(place.name, main, full, variants)


def _one_of(place: pathlib.Path, folders: Sequence[pathlib.Path],
            name: str) -> pathlib.Path:
  called = [folder for folder in folders if folder.name == name]
  if not called and len(folders) > 1:
    raise UserError(f"{place}: has {len(folders)} runs of one kind "
                    f"({', '.join(folder.name for folder in folders)}); call "
                    f"the one that counts {name!r}")
  return (called or list(folders))[0]


# Measuring.


class Bench:
  """Measures generators, and remembers.

  A generator is loaded when something about it is not known yet.
  """

  def __init__(self, config: EvaluateConfig, out: pathlib.Path,
               stop: StopRequest, report: Callable[[str], None]):
    """Starts with nothing loaded.

    Args:
      config: what is measured.
      out: folder; measurements are kept in it.
      stop: looked at before each measurement.
      report: called with a line a measurement.
    """
    self._config, self._out = config, out / _MEASURED
    self._stop, self._report = stop, report
    self._loaded: Tuple[Optional[Variant], Optional[Subject]] = None, None
    self._seconds: Dict[pathlib.Path, float] = {}
    self.measured = 0  # just now

  @property
  def seconds(self) -> float:
    """That all measurements took, whenever that was."""
    return sum(self._seconds.values())

  def clean_up(self):
    """Removes what only unfinished measurements need."""
    shutil.rmtree(self._out / _UNFINISHED, ignore_errors=True)

  def __call__(self, name: str, variant: Variant) -> Dict[str, Any]:
    """A measurement; `name` is a function of `protocols`."""
    key = self._key(name, variant)
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str)
                            .encode()).hexdigest()[:16]
    path = self._out / f"{name}-{digest}.json"
    if not path.is_file():
      self._stop.raise_if_wanted("stopped; the same command goes on")
      began = time.monotonic()
      measure = getattr(protocols, name)
      if name == "editing":
        measure = functools.partial(measure,
                                    directions=self._config.directions)
      values = measure(self._subject(variant), self._config.protocol,
                       self._config.seed)
      seconds = time.monotonic() - began
      path.parent.mkdir(parents=True, exist_ok=True)
      run_folder.write_json(path, {"of": str(variant.folder), "key": key,
                                   "values": values, "seconds": seconds})
      self.measured += 1
      base = " (base)" if variant.pretrained else ""
      self._report(f"{variant.folder}{base}: {name}, {duration(seconds)}")
    found = run_folder.read_json(path)
    self._seconds[path] = found["seconds"]
    return found["values"]

  def _key(self, name: str, variant: Variant) -> Dict[str, Any]:
    """All that a measurement depends on."""
    protocol = dataclasses.asdict(self._config.protocol)
    return {"measure": name, "protocol": protocol, "seed": self._config.seed,
            "format": [_FORMAT, __version__], **_identity(variant),
            # Measurements of earlier versions know of none.
            **({"precision": self._config.precision}
               if self._config.precision else {}), **{
                kind: _weights_digest(folder) for kind, folder
                in _weights(self._config, variant.folder).items()},
            "directions": [] if name != "editing" else [
                (one.name, hashlib.sha256(np.ascontiguousarray(
                    one.vector)).hexdigest(), one.spread)
                for one in self._config.directions]}

  def _subject(self, variant: Variant) -> Subject:
    if self._loaded[0] != variant:
      self._loaded = None, None
      devices.forget_programs()
      self._loaded = variant, load_subject(
          variant, stop=self._stop, cache=self._out / _UNFINISHED,
          precision=self._config.precision,
          **_weights(self._config, variant.folder))
    return self._loaded[1]

  def person(self, variant: Variant) -> Person:
    """The person of a generator."""
    return self._subject(variant).person


def _identity(variant: Variant) -> Dict[str, Any]:
  """What tells a generator, its anchors and its photos from others."""
  config = run_folder.read_config(variant.folder)
  found = {"base": config[run_folder.BASE_DIGEST],
           "generator": config["generator"], "photos": config["photos"],
           "anchors": run_folder.file_digest(
               variant.folder / run_folder.ANCHORS_FILE)}
  if variant.pretrained:
    return found
  if config["settings"]["tuning"]["mode"] == "full":
    own = generator_digest(variant.folder / run_folder.GENERATOR_FOLDER)
  else:
    own = run_folder.file_digest(variant.folder / run_folder.ADAPTER_FILE)
  return {**found, "own": own}


def _weights(config: EvaluateConfig, folder: pathlib.Path
             ) -> Dict[str, Optional[str]]:
  """Folders of the networks that judge a run."""
  settings = run_folder.read_config(folder)["settings"]
  return {"lpips": config.lpips or settings["lpips"],
          "identity": config.identity or settings["identity"],
          "dists": config.dists}


def _weights_digest(folder: Optional[str]) -> Optional[str]:
  return folder and run_folder.file_digest(
      pathlib.Path(folder).expanduser() / WEIGHTS_FILE)


def load_subject(variant: Variant, *, stop: Optional[StopRequest] = None,
                 cache: Optional[pathlib.Path] = None,
                 lpips: Optional[str] = None, identity: Optional[str] = None,
                 dists: Optional[str] = None,
                 precision: Optional[str] = None) -> Subject:
  """Reads what protocols need.

  Args:
    variant: the generator.
    stop: see `Subject`.
    cache: likewise.
    lpips: folder of weights; None: the run's.
    identity: likewise.
    dists: likewise; None: none.
    precision: see `EvaluateConfig`.

  Raises: UserError, CheckpointError, AlbumError: names what is missing.
  """
  person = load_person(run=variant.folder, pretrained=variant.pretrained,
                       lpips=lpips, identity=identity, precision=precision)
  person.need_lpips()
  reference, photos = (person.photos_of(part)
                       for part in ("reference", "test"))
  score = IdentityScore.of(person.identity, reference)
  if score is None:
    raise UserError(f"{variant.folder}: has no reference photos, or no "
                    "network that compares people with them; give one by "
                    "--identity")
  if not photos:
    raise UserError(f"{variant.folder}: has no held-out photos, which are "
                    "what is inverted and enhanced; personalize with "
                    "--test=10")
  return Subject(person=person, photos=photos,
                 trained=person.photos_of("train"), score=score,
                 dists=dists and metrics.load(
                     ["dists"], {"dists": dists})["dists"],
                 stop=stop or StopRequest(), cache=cache)


def blocks(variant: Variant) -> Dict[str, float]:
  """Figure 9: how much the weights of each block have changed, per cent.

  Returns: see `lora.relative_change`.
  """
  run = run_folder.load_run(variant.folder)
  base = run.base.variables["params"]
  if run.lora_config is not None:
    _, adapter = lora_lib.split_collections(run.generator.variables)
    return lora_lib.relative_change(base, adapter, run.lora_config)
  return lora_lib.relative_difference(base, run.generator.variables["params"])


def cost(variant: Variant) -> Dict[str, float]:
  """What tuning took: "seconds", "numbers" that were tuned, "megabytes"."""
  summary = run_folder.read_json(variant.folder / run_folder.SUMMARY_FILE)
  # Earlier versions did not write the seconds of tuning alone.
  return {"seconds": summary.get("tuning_seconds", math.nan),
          "numbers": summary["adapter_numbers"],
          "megabytes": summary["adapter_bytes"] / 1e6}


# Tables.

_ID = Column("id_sim", "ID_sim", 1)
_LPIPS = Column("lpips", "LPIPS", -1)
_PSNR = Column("psnr", "PSNR", 1, 1)
_Measure = Callable[[str, Variant], Dict[str, Any]]


def _settings(runs: Runs) -> Dict[str, Optional[Variant]]:
  return {PRETRAINED: Variant(runs.main, pretrained=True),
          FULL: runs.full and Variant(runs.full), LORA: Variant(runs.main)}


def _by_setting(people: Sequence[Runs], columns: Sequence[Column],
                values: Callable[[Variant], Dict[str, Any]],
                settings: Sequence[str] = (PRETRAINED, FULL, LORA)
                ) -> Dict[str, Dict[str, List[float]]]:
  """Rows of a table: what `values` says of each person's generators."""
  return {setting: tables.merged(
      [one.name for one in columns],
      [values(variant) if variant else {}
       for variant in (_settings(runs)[setting] for runs in people)])
          for setting in settings}


def _three(name: str, title: str, measure_name: str,
           columns: Sequence[Column], notes: Sequence[str] = ()
           ) -> Callable[..., Table]:
  """A table of pretrained, all weights and LoRA."""

  def make(people: Sequence[Runs], measure: _Measure) -> Table:
    rows = _by_setting(people, columns,
                       functools.partial(measure, measure_name))
    return Table(name, title, tuple(columns), rows, tuple(notes))

  return make


def _ablation(name: str, title: str, axis: str, label: str,
              columns: Sequence[Column], measured: Mapping[str, str],
              *, with_full: bool = False, notes: Sequence[str] = ()
              ) -> Callable[..., Table]:
  """A table of the values of an axis.

  Args:
    name: of the table.
    title: of the table.
    axis: of `AXES`.
    label: of a row, with the value for `{}`.
    columns: of the table.
    measured: column's name to the protocol and its value, "protocol.value".
    with_full: all weights tuned are another row.
    notes: of the table.
  """

  def values(variant: Optional[Variant], measure: _Measure):
    found = {}
    for column, what in measured.items() if variant else ():
      protocol, value = what.split(".")
      found[column] = (cost(variant) if protocol == "cost"
                       else measure(protocol, variant))[value]
    return found

  def make(people: Sequence[Runs], measure: _Measure) -> Table:
    # People with nothing to compare would only blur the comparison.
    compared = [len(runs.variants[axis]) > 1 for runs in people]
    steps = sorted({step for runs in people for step in runs.variants[axis]})
    of = lambda runs, step: runs.variants[axis].get(step)
    rows = {label.format(step): tables.merged(
        [one.name for one in columns],
        [values(Variant(of(runs, step)) if use and of(runs, step) else None,
                measure) for runs, use in zip(people, compared)])
            for step in steps}
    if with_full:
      rows[FULL] = tables.merged(
          [one.name for one in columns],
          [values(Variant(runs.full) if use and runs.full else None, measure)
           for runs, use in zip(people, compared)])
    return Table(name, title, tuple(columns), rows, tuple(notes) + (
        f"{sum(compared)} of {len(people)} people have runs to compare.",))

  return make


def _curve(people: Sequence[Runs], measure: _Measure) -> Table:
  """Figure 4 as a table: a column for each weight."""

  def values(variant):
    found = measure("interpolation", variant)
    return {"id_sim": found["id_sim"], **{
        str(i): value for i, value in enumerate(found["curve"])}}

  count = len(measure("interpolation", Variant(people[0].main))["curve"])
  columns = (dataclasses.replace(_ID, title="mean"),) + tuple(
      Column(str(i), f"{i / (count - 1):.2g}", 1) for i in range(count))
  return Table(
      "figure4", "Figure 4: interpolation between anchors, ID_sim",
      columns, _by_setting(people, columns, values),
      ("Columns are weights of the second anchor; all weights of a pair are "
       "seen from the same random views.",))


def _blocks(people: Sequence[Runs], measure: _Measure) -> Table:
  """Figure 9 as a table: a column for each block."""
  del measure
  found = {setting: [blocks(_settings(runs)[setting])
                     if _settings(runs)[setting] else {} for runs in people]
           for setting in (FULL, LORA)}
  names = list(dict.fromkeys(
      name for rows in found.values() for row in rows for name in row))
  columns = tuple(Column(name, name.split("/")[-1], digits=1)
                  for name in sorted(names, key=_order))
  return Table("figure9", "Figure 9: change of the weights by block, per cent",
               columns, {setting: tables.merged(names, rows)
                         for setting, rows in found.items()},
               ("Mean over weight tensors W of sum |change| / sum |W|.",))


def _order(block: str) -> Tuple[Any, ...]:
  """Blocks as they follow each other: by their numbers, not as text."""
  first, *rest = block.split("/")
  order = ("backbone", "superresolution", "decoder")
  last = rest[-1] if rest else ""
  return (order.index(first) if first in order else len(order),
          int(last[1:]) if last[1:].isdigit() else 0, last)


def _cost(people: Sequence[Runs], measure: _Measure) -> Table:
  del measure
  columns = (Column("numbers", "numbers tuned", -1, 0),
             Column("megabytes", "on disk, MB", -1, 2),
             Column("seconds", "tuning, s", -1, 0))
  rows = _by_setting(people, columns, cost, (FULL, LORA))
  return Table("cost", "What a run takes", columns, rows, (
      "Seconds of tuning alone, compilation included, on the machine that ran "
      "it and beside whatever else it did.",))


# What is only read off the runs: nothing of it is measured ahead.
_READ_OFF = ("figure9", "cost")
_INVERTED = {"lpips": "inversion.lpips", "psnr": "inversion.psnr",
             "id_sim": "inversion.id_sim",
             "interpolation": "interpolation.id_sim"}
_ABLATED = (_LPIPS, _PSNR, _ID,
            Column("interpolation", "interpolation ID_sim", 1))
_STUDY = "The paper's user study needs people; it cannot be measured here."

# Name -> what makes it of people and measurements.
TABLES: Dict[str, Callable[..., Table]] = {
    "1": _three(
        "table1", "Table 1: inversion of held-out photos", "inversion",
        (Column("dists", "DISTS", -1), _LPIPS, _PSNR, _ID),
        ("ID_sim of random views; the rest of the photo's own view.",)),
    "figure4": _curve,
    "2": _three(
        "table2", "Table 2: synthesis from the hull", "synthesis",
        (_ID, Column("diversity", "diversity", 1),
         Column("groups", "groups of 3 or more", digits=1)),
        (_STUDY, "A group of fewer than three images has no spread, so with "
         "few images diversity follows how many groups are larger.")),
    "3": _three(
        "table3", "Table 3: enhancement of held-out photos, ID_sim",
        "enhancement", (Column("inpainting", "inpainting", 1),
                        Column("superresolution", "super-resolution", 1)),
        (_STUDY, "Super-resolution starts from photos 16 times smaller, but "
         "not below 16 pixels; the generator fills in what they lack.")),
    "4": _three(
        "table4", "Table 4: editing in alpha-space", "editing",
        (_ID, Column("unedited", "before the edit", 1)), (_STUDY,)),
    "5": _ablation(
        "table5", "Table 5: rank", "rank", "rank {}", _ABLATED + (
            Column("numbers", "numbers", -1, 0),),
        {**_INVERTED, "numbers": "cost.numbers"}, with_full=True),
    "6": _ablation(
        "table6", "Table 6: photos to learn from", "photos", "{} photos",
        _ABLATED[-1:], {"interpolation": "interpolation.id_sim"}),
    "figure9": _blocks,
    "layout": _ablation(
        "layout", "How convolutions are adapted", "layout", "{}", _ABLATED + (
            Column("numbers", "numbers", -1, 0),),
        {**_INVERTED, "numbers": "cost.numbers"},
        notes=("kernel: rank 3 for a 3 x 3 convolution, whose sizes the "
               "paper reports; rank: its equation 4; original: LoRA's own "
               f"layout, see {LAYOUTS_FILE}.",)),
    "lpips": _ablation(
        "lpips_weight", "Weight of LPIPS in the loss", "lpips_weight",
        "weight {}", _ABLATED, _INVERTED),
    "hull": _three(
        "hull", "Appendix D: photos looked for in the hull, weights unchanged",
        "reprojection", (_LPIPS, _PSNR, _ID)),
    "cost": _cost,
}


def evaluate(people: Sequence[Runs], config: EvaluateConfig,
             out: Union[str, os.PathLike], *, header: Sequence[str] = (),
             report: Callable[[str], None] = print) -> List[Table]:
  """Measures people into a folder; a stopped one goes on.

  Args:
    people: of `find_people`.
    config: what and how.
    out: folder; `RESULTS.md`, `results.json`, a CSV a table, and pictures.
    header: lines for the report: command, commit, machine.
    report: called with lines about what happens.

  Returns: the tables.
  Raises: UserError, CheckpointError: names what is missing, before anything
    is measured; Interrupted: SIGTERM or SIGINT.
  """
  config.validate()
  check(people, config)
  if "4" in config.tables and not config.directions:
    raise UserError("directions: table 4 edits along directions; give .npy "
                    "files, which launch.edit finds, by --directions, or "
                    "leave table 4 out")
  out = pathlib.Path(out).expanduser()
  out.mkdir(parents=True, exist_ok=True)
  began = time.monotonic()
  with stopping_gently() as stop:
    bench = Bench(config, out, stop, report)
    # Person by person, so that a generator is loaded once for all tables.
    for i, runs in enumerate(people):
      for name in config.tables:
        if name not in _READ_OFF:
          TABLES[name]([runs], bench)
      report(f"{runs.name}: {i + 1} of {len(people)} people")
    found = [_with_gaps(TABLES[name](people, bench))
             for name in config.tables]
    bench.clean_up()
    if "layout" in config.tables:
      _draw_layouts(people, bench, out)
  names = [runs.name for runs in people]
  for table in found:
    with replacing(out / f"{table.name}.csv") as file:
      file.write(tables.to_csv(table, names).encode())
    plots.draw(table, out)
  run_folder.write_json(out / VALUES_FILE, {
      "people": names, "protocol": dataclasses.asdict(config.protocol),
      "seed": config.seed, "tables": {
          table.name: {title: {name: _as_json(values)
                               for name, values in row.items()}
                       for title, row in table.rows.items()}
          for table in found}})
  lines = [*header, *_networks(people, config),
           f"{len(people)} people: {', '.join(names)}.",
           f"Protocol {config.protocol.name}: " + ", ".join(
               f"{key} {value}" for key, value
               in config.protocol.sizes().items()) + f"; seed {config.seed}.",
           f"Measuring took {duration(bench.seconds)} in all; this command "
           f"made {bench.measured} of the measurements, in "
           f"{duration(time.monotonic() - began)}."]
  with replacing(out / REPORT_FILE) as file:
    file.write(to_report(found, lines).encode())
  for table in found:
    report(tables.to_markdown(table))
  report(f"{out / REPORT_FILE}")
  return found


def _with_gaps(table: Table) -> Table:
  """Says why a column is empty."""
  if not any(column.name == "dists" for column in table.columns) or not all(
      np.isnan(row["dists"]).all() for row in table.rows.values()):
    return table
  return dataclasses.replace(table, notes=table.notes + (
      "DISTS needs its weights, by --dists.",))


def _networks(people: Sequence[Runs], config: EvaluateConfig) -> List[str]:
  """Which networks have judged."""
  folders = _weights(config, people[0].main)
  perceptual, _ = lpips_lib.load_lpips(folders["lpips"])
  judge, _ = identity_lib.load_identity(folders["identity"])
  return [f"LPIPS on {perceptual.backbone}; ID_sim by "
          f"{identity_lib.NETWORKS[judge.network].title}."]


def _as_json(values: Sequence[float]) -> List[Optional[float]]:
  """NaN is no JSON."""
  return [None if np.isnan(value) else float(value) for value in values]


def check(people: Sequence[Runs], config: EvaluateConfig):
  """Looks for all weights and libraries before anything is measured.

  Raises: UserError: what is missing, and where it can be got; or people
    whose numbers would mean different things.
  """
  if {"figure4", "figure9"} & set(config.tables):
    plots.check()
  for runs in people:
    for folder in _used(runs, config.tables):
      _check_run(folder, config)
  first = people[0].main
  for runs in people[1:]:
    for kind, folder in _weights(config, runs.main).items():
      if _weights_digest(folder) != _weights_digest(
          _weights(config, first)[kind]):
        raise UserError(f"{runs.main}: was measured by other weights of "
                        f"{kind} than {first}; give one folder for all by "
                        f"--{kind}")
    if "4" in config.tables and _base(runs.main) != _base(first):
      raise UserError(f"{runs.main}: has another base than {first}, and a "
                      "direction is of one base; measure them apart, or leave "
                      "table 4 out")


def _base(folder: pathlib.Path) -> str:
  return run_folder.read_config(folder)[run_folder.BASE_DIGEST]


def _used(runs: Runs, names: Sequence[str]) -> List[pathlib.Path]:
  """The runs of a person that tables look at."""
  axes = {"5": "rank", "6": "photos", "layout": "layout",
          "lpips": "lpips_weight"}
  compared = [folder for name in names if name in axes
              for folder in runs.variants[axes[name]].values()]
  return list(dict.fromkeys(
      [runs.main, *([runs.full] if runs.full else []), *compared]))


def _check_run(folder: pathlib.Path, config: EvaluateConfig):
  """Looks whether what a run needs is where it was."""
  content = run_folder.read_config(folder)
  weights = _weights(config, folder)
  folders = {"lpips_alex": weights["lpips"], "ir_se50": weights["identity"]}
  if weights["dists"]:
    folders["dists"] = weights["dists"]
  error = metrics.missing(list(folders), folders)
  if error is not None:
    raise UserError(f"{folder}: {error} | then give the folders by --lpips, "
                    "--identity, --dists")
  for part, remedy in (("test", "which are what is inverted and enhanced"),
                       ("reference", "which tell whether it is the person")):
    if not content["photos"][part]:
      raise UserError(f"{folder}: has no {part} photos, {remedy}; personalize "
                      f"with --{part}=10")
  for name in ("checkpoint", "album"):
    place = pathlib.Path(content["settings"][name]).expanduser()
    if not place.exists():
      raise UserError(f"{folder}: its {name}, {place}, is not there any more; "
                      "restore it")


def _draw_layouts(people: Sequence[Runs], bench: Bench, out: pathlib.Path):
  """Figure 11: the same anchors by each layout, of the first who has them."""
  for runs in people:
    layouts = runs.variants["layout"]
    if len(layouts) < 2:
      continue
    rows = []
    for _, folder in sorted(layouts.items()):
      person = bench.person(Variant(folder))
      count = min(_PIXELS, len(person.anchors.names))
      shown = render.synthesize_many(
          person.generator, person.anchors.ws[:count],
          person.anchors.c[:count], devices=person.devices, batch_size=count)
      rows.append([images.to_uint8(image) for image in shown])
    grid = images.make_grid([list(column) for column in zip(*rows)])
    provenance.write_picture(
        out / LAYOUTS_FILE, images.with_titles(grid, sorted(layouts)),
        person.made("evaluate", person=runs.name, kind="layouts"))
    return


def to_report(found: Sequence[Table], lines: Sequence[str]) -> str:
  """All tables as one text, with what they say about the paper's claims.

  Args:
    found: the tables.
    lines: about the evaluation.
  """
  parts = ["# Results", "", *(f"{line}  " for line in lines), "",
           f"Means over people with {_LEVEL} % confidence intervals "
           f"(bootstrap over people; of fewer than {tables.FEW} people it is "
           "hardly more than their range); ↑ more is better, ↓ less is. "
           "ID_sim is the largest cosine with any reference photo.", ""]
  for table in found:
    parts += [tables.to_markdown(table), ""]
    if plots.has_picture(table):
      parts += [f"![{table.title}]({table.name}.png)", ""]
    if table.name == "layout" and len(table.rows) > 1:
      parts += [f"![the same anchors by each layout]({LAYOUTS_FILE})", ""]
  parts.append(claims.to_markdown(found))
  return "\n".join(parts) + "\n"
