"""What all commands share: exit codes, streams, repeated options, missing extras, completion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sal_cli.app import COMMANDS
from sal_cli.completion import complete_recipe, complete_words
from sal_train.recipe import RECIPES
from tests.command_line import check_one_error, run_sal
from tests.runtime.gallery_images import make_folder
from tests.runtime.tiny_bundle import make_tiny_bundle

REPOSITORY = Path(__file__).parents[2]
Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """A search that finds something."""
    monkeypatch.setenv("SAL_BUNDLE", str(make_tiny_bundle(tmp_path / "tiny")))
    return ("search", "-a", "male", "-g", str(make_folder(tmp_path / "crops")))


def run_process(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which `$SAL` is the command."""
    sal = f"{sys.executable} -m sal_cli"
    return subprocess.run(
        ["bash", "-c", command],
        cwd=REPOSITORY,
        env={**os.environ, "SAL": sal, **environment},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def test_ctrl_c_is_one_line_and_exit_code_130(
    search: tuple[str, ...], capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sal_runtime.matching.open_and_ask.search", interrupted)
    assert run_sal(capsys, *search) == (130, "", "sal: interrupted\n")


@pytest.mark.parametrize(
    ("more", "option"),
    [
        (("-a", "hat"), "--attrs"),
        (("--attrs", "hat"), "--attrs"),
        (("-g", "other"), "--gallery"),
        (("-k", 3, "--top", 4), "--top"),
        (("--json", "--json"), "--json"),
    ],
)
def test_an_option_that_takes_one_value_is_given_once(
    search: tuple[str, ...], more: tuple[object, ...], option: str, capsys: Capsys
) -> None:
    check_one_error(run_sal(capsys, *search, *more), 2, f"{option} is given 2 times")


def test_options_that_collect_values_are_given_often(
    search: tuple[str, ...], tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for camera, image in (("yard", "red.jpg"), ("door", "green.PNG")):
        recorded = ("--camera", camera, "--meta", "a=1", "--meta", "b=2")
        assert run_sal(capsys, "gallery", "add", "y.sal", f"crops/{image}", *recorded)[0] == 0
    filters = ("--camera", "yard", "--camera", "door", "--meta", "a=1", "--meta", "b=2")
    code, out, _ = run_sal(capsys, "search", "-a", "male", "-g", "y.sal", *filters, "--json")
    assert (code, len(json.loads(out)["hits"])) == (0, 2)


@pytest.mark.parametrize(("module", "extra"), [("torch", "train"), ("scipy", "train"), ("onnxscript", "export")])
def test_a_missing_extra_is_one_line_with_the_pip_command(
    module: str, extra: str, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_extra(*_: object) -> None:
        raise ModuleNotFoundError(f"No module named '{module}.nn'", name=f"{module}.nn")

    monkeypatch.setattr("sal_train.datasets.synthetic.write_dataset", without_extra)
    outcome = run_sal(capsys, "data", "synth", "--out", "x")
    check_one_error(outcome, 1, f'{module} is not installed; in the checkout of sal: `pip install ".[{extra}]"`')
    assert "--debug" not in outcome[2]


def test_training_without_pytorch_names_the_extra(tmp_path: Path) -> None:
    """In a process in which PyTorch cannot be found at all."""
    code = "import sys; sys.modules['torch'] = None; from sal_cli.app import main; main(sys.argv[1:])"
    for command in (("train", "--dataset", "x", "--out", "y"), ("export", "--run", "x", "--out", "y")):
        done = subprocess.run(
            [sys.executable, "-c", code, *command], cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == 'sal: error: torch is not installed; in the checkout of sal: `pip install ".[train]"`\n'


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_terminal_without_unicode_gets_question_marks(search: tuple[str, ...], encoding: str) -> None:
    done = run_process(f"$SAL {' '.join(search)}", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert "male ?" in done.stdout


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_closed_streams_are_no_error(search: tuple[str, ...], closed: str) -> None:
    assert run_process(f"$SAL {' '.join(search)} {closed}").returncode == 0


@pytest.mark.parametrize(
    ("line", "position", "expected"),
    [
        ("sal ", 1, list(COMMANDS)),
        ("sal gallery re", 2, ["remove", "reindex", "restore"]),
        ("sal search --dev", 2, ["--device"]),
        ("sal search --device ", 3, ["cpu", "cuda", "trt", "auto"]),
        ("sal bench engine --precision fp", 4, ["fp32", "fp16"]),
        ("sal data check --dataset s", 4, ["street", "street+pa100k", "street-pa100k"]),
    ],
)
def test_shells_complete_commands_options_and_choices(line: str, position: int, expected: list[str]) -> None:
    done = run_process("$SAL", _SAL_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(position))
    assert done.stdout.split() == expected


def test_descriptions_and_recipes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAL_BUNDLE", str(make_tiny_bundle(tmp_path / "tiny")))
    assert complete_words("mal") == ["male"]
    assert complete_words("male,!h") == ["male,!hat"]
    assert "upper=red|blue" in complete_words("upper=red|b")
    assert complete_words("male,nothing") == []
    monkeypatch.setenv("SAL_BUNDLE", str(tmp_path / "nowhere"))
    assert complete_words("mal") == []
    assert complete_recipe("") == ["auto", *sorted(RECIPES)]


def test_all_modules_import_without_any_extra() -> None:
    optional = (
        "faiss matplotlib model_signing onnx onnxruntime onnxscript pyarrow pymilvus ray safetensors scipy tensorboard "
        "tensorrt tensorrt_rtx torch usearch"
    )
    code = (
        "import pkgutil, sys\nfrom importlib import import_module\nimport sal_cli\n"
        f"sys.modules.update(dict.fromkeys({optional!r}.split()))\n"
        "for module in pkgutil.walk_packages(sal_cli.__path__, 'sal_cli.'):\n    import_module(module.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_loads_no_numpy() -> None:
    code = (
        "import sys\nfrom sal_cli.app import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print({'numpy', 'cv2', 'sqlite3'} & set(sys.modules))"
    )
    for command in ("search", "train", "eval", "export", "doctor", "gallery", "data", "bundle", "bench"):
        done = subprocess.run(
            [sys.executable, "-c", code, command, "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "set()", command
