"""Where torch keeps what it compiles."""

import os
from pathlib import Path

from eutectic import files


def keep_compiled(cache: Path) -> None:
    """Have torch keep what it compiles beside the tokens, or where TORCHINDUCTOR_CACHE_DIR says, where it also finds,
    unpickles and runs it. Raises UserError where others could write there."""
    files.keep_others_out()
    chosen = Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR", cache / "compiled"))
    compiled = files.own_folder(chosen, "set TORCHINDUCTOR_CACHE_DIR to a folder of your own")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(compiled)
