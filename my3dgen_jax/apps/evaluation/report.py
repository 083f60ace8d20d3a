"""Files of an evaluation: tables as text and values, plots, layouts."""

import pathlib
from collections.abc import Sequence

import numpy as np

from my3dgen_jax.apps.evaluation import claims, plots, tables
from my3dgen_jax.apps.evaluation.cache import Bench
from my3dgen_jax.apps.evaluation.paper_tables import LAYOUTS_FILE
from my3dgen_jax.apps.evaluation.runs import Runs, Variant
from my3dgen_jax.apps.evaluation.settings import EvaluateConfig, judges_of
from my3dgen_jax.apps.evaluation.tables import Table
from my3dgen_jax.apps.rendering import render
from my3dgen_jax.config.checks import plain
from my3dgen_jax.data import images, provenance
from my3dgen_jax.jobs.progress import duration
from my3dgen_jax.losses import identity as identity_lib
from my3dgen_jax.losses import lpips as lpips_lib
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.training import run_folder

REPORT_FILE, VALUES_FILE = "RESULTS.md", "results.json"

_PIXELS = 4  # views in the picture of layouts
_LEVEL = int(100 * tables.LEVEL)


def write_values(
  found: Sequence[Table],
  people: Sequence[str],
  config: EvaluateConfig,
  out: pathlib.Path,
):
  """Writes each table's CSV and plot, and all values as JSON.

  Args:
    found: the tables.
    people: people's names, in the order of the values.
    config: what was measured.
    out: an existing folder.

  Raises: UserError: matplotlib is missing.
  """
  for table in found:
    with replacing(out / f"{table.name}.csv") as file:
      file.write(tables.to_csv(table, people).encode())
    plots.draw(table, out)
  run_folder.write_json(
    out / VALUES_FILE,
    {
      "people": people,
      "protocol": plain(config.protocol),
      "seed": config.seed,
      "tables": {
        table.name: {
          title: {name: _as_json(values) for name, values in row.items()}
          for title, row in table.rows.items()
        }
        for table in found
      },
    },
  )


def lines_about(
  people: Sequence[Runs], config: EvaluateConfig, bench: Bench, seconds: float
) -> list[str]:
  """Lines for the report: networks, people, protocol, and time.

  Args:
    people: the people measured.
    config: what was measured.
    bench: the bench that measured.
    seconds: seconds that the command took.
  """
  names = [runs.name for runs in people]
  return [
    *_networks(people, config),
    f"{len(people)} people: {', '.join(names)}.",
    f"Protocol {config.protocol.name}: "
    + ", ".join(
      f"{key} {value}" for key, value in config.protocol.sizes().items()
    )
    + f"; seed {config.seed}.",
    f"Measuring took {duration(bench.seconds)} in total; this command "
    f"made {bench.measured} of the measurements, in "
    f"{duration(seconds)}.",
  ]


def _networks(people: Sequence[Runs], config: EvaluateConfig) -> list[str]:
  """The networks that judged."""
  folders = judges_of(config, people[0].main)
  perceptual = lpips_lib.load_lpips(folders["lpips"]).module
  judge = identity_lib.load_identity(folders["identity"]).module
  return [
    f"LPIPS on {perceptual.backbone}; ID_sim by "
    f"{identity_lib.NETWORKS[judge.network].title}."
  ]


def _as_json(values: Sequence[float]) -> list[float | None]:
  """Values with None for NaN, which JSON does not have."""
  return [None if np.isnan(value) else float(value) for value in values]


def draw_layouts(people: Sequence[Runs], bench: Bench, out: pathlib.Path):
  """Figure 11: the same anchors with each layout, for one person.

  Args:
    people: the people measured.
    bench: the bench that loads their generators.
    out: an existing folder.
  """
  for runs in people:
    layouts = runs.variants["layout"]
    if len(layouts) < 2:
      continue
    rows = []
    for _, folder in sorted(layouts.items()):
      person = bench.person(Variant(folder))
      count = min(_PIXELS, len(person.anchors.names))
      shown = render.synthesize_many(
        person.generator,
        person.anchors.ws[:count],
        person.anchors.c[:count],
        devices=person.devices,
        batch_size=count,
      )
      rows.append([images.to_uint8(image) for image in shown])
    grid = images.make_grid([list(column) for column in zip(*rows)])
    provenance.write_picture(
      out / LAYOUTS_FILE,
      images.with_titles(grid, sorted(layouts)),
      person.made("evaluate", person=runs.name, kind="layouts"),
    )
    return


def to_report(found: Sequence[Table], lines: Sequence[str]) -> str:
  """All tables as Markdown, with what they say about the paper's claims.

  Args:
    found: the tables.
    lines: lines about the evaluation.
  """
  parts = [
    "# Results",
    "",
    *(f"{line}  " for line in lines),
    "",
    f"Means over people with {_LEVEL} % confidence intervals "
    f"(bootstrap over people; with fewer than {tables.FEW} people it is "
    "little more than their range); ↑ higher is better, ↓ lower is better. "
    "ID_sim is the largest cosine with any reference photo.",
    "",
  ]
  for table in found:
    parts += [tables.to_markdown(table), ""]
    if plots.has_picture(table):
      parts += [f"![{table.title}]({table.name}.png)", ""]
    if table.name == "layout" and len(table.rows) > 1:
      parts += [f"![the same anchors with each layout]({LAYOUTS_FILE})", ""]
  parts.append(claims.to_markdown(found))
  return "\n".join(parts) + "\n"
