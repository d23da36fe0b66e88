"""Whatever is wrong on the command line is one message on the error channel and exit code 2, never a traceback."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from fathom import cli
from fathom.cli import main
from fathom.data.dataset import Dataset

RECIPE = """\
name: small
world: {films: 50, users: 24, events: 9}
encoder: hashing
"""


@dataclass(frozen=True)
class Answer:
    """What a command did."""

    code: object
    out: str
    error: str


class Shell:
    """Runs the command's entry point in this process: importing everything anew for each command would take minutes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *words: object) -> Answer:
        self._monkeypatch.setattr(sys, "argv", ["fathom", *map(str, words)])
        self._monkeypatch.setenv("COLUMNS", "250")
        self._capsys.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        told = self._capsys.readouterr()
        return Answer(code, told.out, told.err)

    def refused(self, *words: object) -> str:
        """The message of a command that must fail."""
        answer = self(*words)
        assert answer.code == 2, answer
        assert answer.error.startswith("error "), answer
        assert "Traceback" not in answer.error
        return " ".join(answer.error.split())


@pytest.fixture
def fathom(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs on different data, of which only the rows that need no training are judged."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "small.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FATHOM_CACHE", str(folder / "cache"))
        for name, users in (("one", 24), ("two", 25)):
            for words in (
                ["run", folder / "small.yaml", "--out", folder / name, "--set", f"world.users={users}", "--until", "dataset"],
                ["evaluate", folder / name, "--model", "popularity", "--model", "oracle"],
            ):
                patch.setattr(sys, "argv", ["fathom", *map(str, words)])
                with pytest.raises(SystemExit) as ended:
                    main()
                assert ended.value.code == 0
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A run of one's own to break."""
    return Path(shutil.copytree(made / "one", tmp_path / "run"))


def test_the_program_itself_ends_with_2_and_one_message(recipe: Path) -> None:
    command = [sys.executable, "-m", "fathom.cli", "run", str(recipe.with_name("smal.yaml"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"error {recipe.with_name('smal.yaml')}: there is no such recipe; did you mean '{recipe}'?\n"


def test_an_unknown_setting_is_told_with_its_line_and_the_nearest_one(fathom: Shell, recipe: Path) -> None:
    recipe.write_text(RECIPE + "stage2:\n  stpes: 3\n")
    assert fathom.refused("run", recipe) == f"error {recipe} line 5: unknown setting 'stage2.stpes'; did you mean 'steps'?"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("stage2.steps", "expected key.path=value, for example --set stage2.steps=10"),
        ("=3", "expected key.path=value"),
        ("name.x=3", "'name' holds a single value"),
        ("stage2.steps=[", "the value is not valid YAML"),
        ("stage2.stpes=3", "unknown setting 'stage2.stpes'; did you mean 'steps'?"),
        ("stage2.steps=many", "stage2.steps: Input should be a valid integer"),
        ("stage2.steps=0", "stage2.steps: Input should be greater than or equal to 1 (given: 0)"),
    ],
)
def test_a_broken_change_of_a_setting_is_told(fathom: Shell, recipe: Path, override: str, said: str) -> None:
    assert said in fathom.refused("run", recipe, "--set", override)


def test_an_unknown_stage_is_told_with_the_nearest_one(fathom: Shell, recipe: Path, tmp_path: Path) -> None:
    told = fathom.refused("run", recipe, "--out", tmp_path / "run", "--until", "agent-stag1")
    assert told == "error --until agent-stag1: there is no such stage; did you mean 'agent-stage1'?"


def test_a_place_where_no_folder_can_be_is_told(fathom: Shell, recipe: Path) -> None:
    assert "a run cannot be kept there (File exists)" in fathom.refused("run", recipe, "--out", recipe)
    assert "a run cannot be kept there (Not a directory)" in fathom.refused("run", recipe, "--out", recipe / "run")


def test_a_missing_data_set_is_told_with_what_gets_it(fathom: Shell, recipe: Path, tmp_path: Path) -> None:
    recipe.write_text("name: small\nsource: {name: nowhere}\n")
    told = fathom.refused("run", recipe, "--out", tmp_path / "run")
    assert "the data set 'nowhere' is neither at nowhere nor at" in told
    assert "fathom data get nowhere" in told


def test_a_misspelled_data_set_and_a_wrong_set_are_told_as_they_were_given(
    fathom: Shell, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data" / "clicks").mkdir(parents=True)
    monkeypatch.setenv("FATHOM_DATA", str(tmp_path / "data"))
    recipe.write_text("name: small\nsource: {name: clikcs}\n")
    assert "did you mean 'clicks'?" in fathom.refused("run", recipe, "--out", tmp_path / "run")
    assert "--set stage2.step=3: unknown setting 'stage2.step'; did you mean 'steps'?" in fathom.refused(
        "run", recipe, "--set", "stage2.step=3"
    )
    recipe.write_text("name: small\nworld: {}\nstage2: {steps: 3}\n")
    assert "--set stage2={steps: x}: stage2.steps: " in fathom.refused("run", recipe, "--set", "stage2={steps: x}")


@pytest.mark.parametrize(
    "words", [["evaluate"], ["recommend", "--history", "a"], ["trace"], ["report"], ["export", "--to", "x"], ["lend", "retriever"]]
)
def test_a_folder_that_is_no_run_is_told(fathom: Shell, tmp_path: Path, words: list[str]) -> None:
    assert f"{tmp_path}: not the folder of a run" in fathom.refused(*words, tmp_path)


def test_a_run_without_results_cannot_be_compared(fathom: Shell, tmp_path: Path) -> None:
    assert f"{tmp_path / 'x'}: there is no results.json in it" in fathom.refused("compare", tmp_path / "x")


def test_an_unknown_model_is_told_with_the_nearest_one(fathom: Shell, run: Path) -> None:
    title = Dataset.load(run / "dataset").catalog.titles[0]
    told = fathom.refused("recommend", run, "--history", title, "--model", "retriver")
    assert told == "error --model retriver: a run has no such model; did you mean 'retriever'?"
    assert "did you mean 'popularity'?" in fathom.refused("evaluate", run, "--model", "popularty")
    assert "it recommends without a word" in fathom.refused("trace", run, "--model", "sasrec")


@pytest.mark.parametrize("model", ["sasrec", "retriever", "lm", "mix", "agent-warm", "agent"])
def test_a_model_that_is_not_trained_yet_is_told_with_what_trains_it(fathom: Shell, run: Path, model: str) -> None:
    title = Dataset.load(run / "dataset").catalog.titles[0]
    stage = "retriever" if model in ("mix", "agent-warm", "agent") else model
    said = f"'{model}' is not trained yet, it needs stage '{stage}': fathom run {run}/recipe.yaml --out {run} --until {stage}"
    assert said in fathom.refused("recommend", run, "--history", title, "--model", model)
    assert said in fathom.refused("evaluate", run, "--model", model)


def test_an_unknown_title_is_told_with_the_nearest_one_or_a_few(fathom: Shell, run: Path) -> None:
    titles = Dataset.load(run / "dataset").catalog.titles
    ask = ("recommend", run, "--model", "popularity", "--history")
    assert f"has no '{titles[3][:-2]}'; did you mean '{titles[3]}'?" in fathom.refused(*ask, f"{titles[0]}; {titles[3][:-2]}")
    told = fathom.refused(*ask, "qqq")
    assert f"has no 'qqq'; there is for example '{titles[0]}'" in told
    assert len(told) < 300
    assert "--history is empty" in fathom.refused(*ask, " ; ")


def test_a_known_title_is_answered(fathom: Shell, run: Path) -> None:
    titles = Dataset.load(run / "dataset").catalog.titles
    answer = fathom("recommend", run, "--model", "popularity", "--history", titles[0], "--k", "3")
    assert answer.code == 0
    assert sum(title in answer.out for title in titles) == 3
    assert titles[0] not in answer.out


def test_an_unknown_user_is_told_before_anything_is_loaded(fathom: Shell, run: Path) -> None:
    users = Dataset.load(run / "dataset").interactions.users
    assert re.search(
        r"--user nobody: no test user has this name; (did you mean|there is for example) '",
        fathom.refused("trace", run, "--user", "nobody"),
    )
    assert "'agent' is not trained yet" in fathom.refused("trace", run, "--user", users[0])


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "not valid JSON"), ("[]", "valid dictionary"), ('{"schema": "fathom-results/9"}', "schema: Input should be 'fathom-results/1'")],
)
def test_unreadable_results_are_told_with_their_file(fathom: Shell, run: Path, text: str, said: str) -> None:
    (run / "results.json").write_text(text)
    for verb in ("report", "compare"):
        told = fathom.refused(verb, run)
        assert f"{run / 'results.json'}: " in told
        assert said in told


def test_runs_on_different_data_are_not_compared(fathom: Shell, made: Path) -> None:
    told = fathom.refused("compare", made / "one", made / "two")
    assert f"{made / 'two'} is about other data" in told
    assert "only runs on the same data can be compared" in told


def test_runs_of_the_same_name_are_told_apart(fathom: Shell, made: Path, run: Path) -> None:
    again = Path(shutil.copytree(run, run.parent / "copy" / "one"))
    answer = fathom("compare", made / "one", again)
    assert answer.code == 0, answer
    assert f"{again}/popularity" in answer.out.replace("\n", "")
    assert len(re.findall(r"^oracle ", answer.out, re.MULTILINE)) == 1


def test_an_unknown_figure_is_told_with_the_nearest_one(fathom: Shell, run: Path) -> None:
    assert "--metric ndgc@10: the rows have no such figure; did you mean 'ndcg@10'?" in fathom.refused(
        "compare", run, "--metric", "ndgc@10"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run"], "Missing argument"),
        (["run", "--nope"], "No such option"),
        (["nope"], "No such command"),
        (["recommend"], "Missing argument"),
        (["recommend", "x", "--history", "a", "--k", "0"], "Invalid value for '--k'"),
        (["run", "x", "--tracker", "paper"], "'tensorboard'"),
    ],
)
def test_a_wrong_use_ends_with_2_too(fathom: Shell, words: list[str], said: str) -> None:
    answer = fathom(*words)
    assert answer.code == 2
    assert said in answer.error
    assert "Traceback" not in answer.error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB. GPU 0 has ..."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate ..."),
        MemoryError(),
    ],
)
def test_running_out_of_memory_is_one_message(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("error out of memory (")
    assert "write a smaller micro_batch" in told


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        main()


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("transformers", "llm"),
        ("sentence_transformers.models", "llm"),
        ("sklearn", "llm"),
        ("trl", "rl"),
        ("fastapi", "serve"),
        ("mcp", "serve"),
    ],
)
def test_a_package_of_an_extra_that_is_missing_is_told_with_its_extra(
    module: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise ModuleNotFoundError(f"No module named '{module}'", name=module)

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert f"pip install 'fathom-rec[{extra}]'" in " ".join(capsys.readouterr().err.split())


def test_a_module_that_no_extra_brings_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise ModuleNotFoundError("No module named 'fathom.nowhere'", name="fathom.nowhere")

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(ModuleNotFoundError):
        main()
