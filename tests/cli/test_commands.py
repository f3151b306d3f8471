"""The commands `doctor` and `prepare`, help, and no command at all."""

from __future__ import annotations

import pytest

from base_repo import write_base_repo
from jina_vllm_integrations.cli import doctor, main
from jina_vllm_integrations.model.checkpoints import Checkpoint
from machines import CPU_MACHINE


def test_the_doctor_tells_problems_by_its_status(monkeypatch, capsys, tmp_path):
    """0 where all is well, 1 with each problem and its remedy on stdout."""
    monkeypatch.setattr(doctor, "examine", lambda: CPU_MACHINE)
    assert main(["doctor"]) == 0
    assert "vLLM" in capsys.readouterr().out
    assert main(["doctor", "--model", str(tmp_path / "missing")]) == 1
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()].count("problem") == 1
    assert "missing" in out
    assert err == ""


@pytest.mark.parametrize("arguments", [[], ["demo"], ["embed"], ["explain"], ["bench"], ["doctor"]])
def test_help(monkeypatch, capsys, arguments):
    """Every command explains itself and its options within a terminal's width."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--help"])
    assert caught.value.code == 0
    usage, description, *_ = capsys.readouterr().out.split("\n\n")
    assert usage.startswith(" ".join(["usage: jina-vllm", *arguments]))
    assert description.endswith(".")


def test_no_command(capsys):
    """The bare command says that it wants one."""
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "required: COMMAND" in capsys.readouterr().err


def test_prepare_makes_a_directory_that_can_be_served(tmp_path, capsys):
    """The command makes a checkpoint of the base repository, says so, and does nothing the second time."""
    repo, out = write_base_repo(tmp_path / "repo"), tmp_path / "out"
    assert main(["prepare", str(repo), str(out), "--task", "code", "--quiet"]) == 0
    assert capsys.readouterr().out == f"{out} is ready for code\n"
    assert Checkpoint.read(out).tasks == ("code",)
    written = (out / "config.json").stat().st_mtime_ns
    assert main(["prepare", str(repo), str(out), "--task", "code", "--quiet"]) == 0
    assert (out / "config.json").stat().st_mtime_ns == written


def test_prepare_says_what_is_wrong(tmp_path, capsys):
    """Another repository, another task in the same place, or no task: each is a message, not a traceback."""
    repo, out = write_base_repo(tmp_path / "repo"), tmp_path / "out"
    assert main(["prepare", str(tmp_path), str(out), "--task", "code", "--quiet"]) == 2
    assert "jina-vllm: " in capsys.readouterr().err
    assert main(["prepare", str(repo), str(out), "--all-tasks", "--quiet"]) == 0
    assert capsys.readouterr().out == f"{out} is ready for all tasks\n"
    assert main(["prepare", str(repo), str(out), "--task", "code", "--quiet"]) == 2
    assert "differs in tasks" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["prepare", str(repo), str(out)])
