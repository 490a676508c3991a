"""A worker's own errors are its run's; a run it has lost is another's, whatever happens to it here."""

from pathlib import Path

import pytest

from eutectic.config import RunConfig
from eutectic.sweeps.ledger import Ledger
from eutectic.sweeps.worker import Place, work
from eutectic.train import loop
from eutectic.train.shards import Manifest


@pytest.mark.parametrize(("lost", "status"), [(False, "failed"), (True, "running")])
def test_an_error_marks_the_run_only_while_it_is_ours(
    lost: bool, status: str, small_run: RunConfig, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(config: RunConfig, manifest: Manifest, folder: Path, *_: object) -> None:
        if lost:
            (folder / "claim-1.json").write_text('{"host": "elsewhere"}')
        raise ValueError("broken")

    monkeypatch.setattr(loop, "train", broken)
    ledger = Ledger(tmp_path)
    ledger.add([small_run])
    work(tmp_path, [small_run.run_id], Place("cpu", Path(manifest.folder).parents[1]))
    assert ledger.status(small_run.run_id) == status
    assert ledger.failure(small_run.run_id) == ("" if lost else "ValueError: broken")


def test_tokens_that_are_gone_fail_the_run_with_a_sentence(small_run: RunConfig, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.add([small_run])
    work(tmp_path, [small_run.run_id], Place("cpu", tmp_path / "none"))
    assert "run the sweep again to make them" in ledger.failure(small_run.run_id)
