"""export."""

from eutectic.arguments import Options
from eutectic.cli import print_json
from eutectic.commands.console import out
from eutectic.commands.loading import trained
from eutectic.errors import UserError


def export(options: Options) -> int:
    """Make a folder of a run that needs neither its sweep nor the cache."""
    from eutectic.inference.export import Exported, write

    found = trained(options.checkpoint, "cpu")
    if found.run is None:
        raise UserError(f"{options.checkpoint} is not of a run that eutectic trained; it needs no export.")
    write(Exported(found.run, found.model.state_dict(), found.tokenizer), options.folder)
    if options.json:
        print_json(str(options.folder))
    else:
        out().print(str(options.folder), soft_wrap=True)
    return 0
