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
  bank, action = lora.Bank(_BANK.value), cli.action()
  places = [*filter(None, [_RUN.value]), *_RUNS.value]
  if action == "add" and not places:
    raise FlagError("give a run by --run, or several by --runs")
  if action == "remove" and bool(_PERSON.value) == _DAMAGED.value:
    raise FlagError("give those to remove by --person, or --damaged")
  if action == "export" and not _OUT.value:
    raise FlagError("--out is missing: the folder to write")
  if action == "export" and bool(_PERSON.value) == _ALL.value:
    raise FlagError("give those to write by --person, or --all")
  if action == "add":
    lines = banks.add(bank, places, _ADD(), names=_PERSON.value)
  elif action == "remove":
    lines = banks.remove(bank, _PERSON.value or banks.damaged(bank))
  elif action == "export":
    lines = banks.export(bank, _PERSON.value or bank.ids(), str(_OUT.value))
  elif action == "verify":
    lines = banks.verify(bank)
  else:
    lines = {"list": banks.listed, "compact": banks.compact}[action](bank)
  for line in lines:
    print(line)


if __name__ == "__main__":
  cli.run(main, actions=banks.ACTIONS)
