"""Keeps the adapters of many people in one folder.

    my3dgen bank add --bank=people.bank --run=runs/obama
    my3dgen bank list --bank=people.bank
    my3dgen render --bank=people.bank --person=obama \\
        --checkpoint=checkpoints/ffhq --seeds=0-3 --out=out

All people of a bank share one base generator. Actions:

    add --run=RUN, or --runs=A,B   adds runs, adapter files (.safetensors) or
                                   folders of either: all of them, or none.
                                   --person sets ids; default: the folder names.
    list                           lists the people in the bank
    export --person=A,B --out=DIR  writes adapter files, as my3dgen personalize
                                   does; --all exports everyone
    remove --person=A,B            hides people at once; their numbers stay in
                                   the files until compact. --damaged removes
                                   everyone that verify reports.
    compact                        rewrites the files without removed people
    verify                         reads everything and names what is damaged
"""

from my3dgen_jax import lora
from my3dgen_jax.apps import banks
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, config_flags

_BANK = cli.string("bank", None, "Folder of the bank; add creates it.")
_RUN = cli.string("run", None, "Folder of a run to add.")
_RUNS = cli.listing(
  "runs", [], "Runs, adapter files, or folders of either, to add."
)
_PERSON = cli.listing("person", [], "Ids of people, separated by commas.")
_ALL = cli.boolean("all", False, "Export everyone in the bank.")
_DAMAGED = cli.boolean(
  "damaged", False, "Remove everyone that verify reports as damaged."
)
_OUT = cli.string("out", None, "Folder to export to.")
_ADD = config_flags.define(banks.AddConfig)


def main():
  if not _BANK.value:
    raise FlagError("--bank is missing: the folder of the bank")
  bank, action = lora.Bank(_BANK.value), cli.action()
  places = [*filter(None, [_RUN.value]), *_RUNS.value]
  if action == "add" and not places:
    raise FlagError("nothing to add; give --run, or several with --runs")
  if action == "remove" and bool(_PERSON.value) == _DAMAGED.value:
    raise FlagError("no one to remove; give either --person or --damaged")
  if action == "export" and not _OUT.value:
    raise FlagError("--out is missing: the folder to write")
  if action == "export" and bool(_PERSON.value) == _ALL.value:
    raise FlagError("no one to export; give either --person or --all")
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
