"""Keeps the adapters of any number of people of one base in one folder.

    my3dgen bank add --bank=people.bank --run=runs/obama
    my3dgen bank add --bank=people.bank --runs=runs --replace
    my3dgen bank list --bank=people.bank
    my3dgen bank export --bank=people.bank --person=obama --out=adapters
    my3dgen bank remove --bank=people.bank --person=obama,beyonce
    my3dgen bank compact --bank=people.bank
    my3dgen bank verify --bank=people.bank

`my3dgen bank` is `python -m my3dgen_jax.launch.bank`. add: runs, adapters'
files (.safetensors) or folders of them, all or none; --person names them, else
they are called as their folders. remove: nobody finds them any more, but their
numbers are in the files until compact, which writes these anew. verify reads
everything and names what is damaged; remove --damaged takes those people out.
export: files as launch.personalize writes them. Then:

    my3dgen render --bank=people.bank --person=obama \\
        --checkpoint=checkpoints/ffhq --seeds=0-3 --out=out
"""

import sys

from my3dgen_jax import lora
from my3dgen_jax.apps import banks
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, config_flags

_BANK = cli.string("bank", None, "Folder of the bank; add makes it.")
_RUN = cli.string("run", None, "add: folder of a run of launch.personalize.")
_RUNS = cli.listing(
  "runs", [], "add: runs, folders of runs, adapters' files or folders of them."
)
_PERSON = cli.listing("person", [], "Ids, separated by commas.")
_ALL = cli.boolean("all", False, "export: everybody.")
_DAMAGED = cli.boolean("damaged", False, "remove: whom verify calls damaged.")
_OUT = cli.string("out", None, "export: folder to write.")
_ADD = config_flags.define(banks.AddConfig)


def main():
  if not _BANK.value:
    raise FlagError("--bank is missing: the folder of the bank")
  _ACTIONS[cli.action()](lora.Bank(_BANK.value))


def _add(bank: lora.Bank):
  places = [*filter(None, [_RUN.value]), *_RUNS.value]
  if not places:
    raise FlagError("give a run by --run, or several by --runs")
  ids = banks.add(bank, places, _ADD(), names=_PERSON.value)
  print(f"{bank.folder}: added {', '.join(ids)}")


def _remove(bank: lora.Bank):
  if bool(_PERSON.value) == _DAMAGED.value:
    raise FlagError("give those to remove by --person, or --damaged")
  ids = _PERSON.value or banks.damaged(bank)
  print(
    f"{bank.folder}: removed {bank.remove(ids)} people; their numbers are in "
    "the files until bank compact"
  )


def _compact(bank: lora.Bank):
  gone = bank.compact()
  print(
    f"{bank.folder}: {gone} rows of numbers of people removed or replaced are "
    "gone from all its files"
  )


def _verify(bank: lora.Bank):
  faults = bank.verify()
  for fault in faults:
    print(f"error: {fault.line}", file=sys.stderr)
  if faults:
    sys.exit(1)
  print(f"{bank.folder}: all {len(bank)} people are as they were added")


def _export(bank: lora.Bank):
  if not _OUT.value:
    raise FlagError("--out is missing: the folder to write")
  if bool(_PERSON.value) == _ALL.value:
    raise FlagError("give those to write by --person, or --all")
  for path in banks.export(bank, _PERSON.value or bank.ids(), _OUT.value):
    print(path)


_ACTIONS = {
  "add": _add,
  "list": lambda bank: print(*banks.lines(bank), sep="\n"),
  "remove": _remove,
  "compact": _compact,
  "verify": _verify,
  "export": _export,
}


if __name__ == "__main__":
  cli.run(main, actions=tuple(_ACTIONS))
