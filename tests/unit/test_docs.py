"""The documentation against the code: what it shows works, what it names is there."""

from __future__ import annotations

import ast
import csv
import gzip
import importlib
import io
import json
import pickle
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch
from torch.distributed.run import get_args_parser

from ulmfit import cli
from ulmfit.arguments import SHORT, parse_arguments
from ulmfit.cli import COMMANDS, settings_of
from ulmfit.config import artefact
from ulmfit.config.artefact import Member, Task
from ulmfit.config.model import ClassifierHeadConfig, Direction, Dropout, EncoderConfig
from ulmfit.config.settings import RECIPES, recipes
from ulmfit.config.text import TokenizerConfig
from ulmfit.data.hub import is_on_hub
from ulmfit.errors import ConfigError
from ulmfit.interop.fastai_names import to_fastai_2
from ulmfit.models import folder as model_folder
from ulmfit.models.language_model import LanguageModel, save_language_models
from ulmfit.models.networks import ClassifierNetwork, LanguageModelNetwork
from ulmfit.models.text_classifier import ClassifierMember, TextClassifier
from ulmfit.text.tokenizer import Tokenizer

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "ulmfit"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "benchmarks" / "README.md",
    ROOT / "examples" / "data" / "sms-spam" / "README.md",
]
DIRECTIONS: tuple[Direction, ...] = ("forward", "backward")
TEXTS = [f"{word} text number {n}, which is {word}." for n in range(12) for word in ("good", "bad")]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a page in a language."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text("utf-8"), re.M | re.S)
    return [body for found, body in fenced if found == language]


def every_block(language: str) -> list[Any]:
    return [
        pytest.param(path, body, id=f"{named(path)}-{number}")
        for path in PAGES
        for number, body in enumerate(blocks(path, language), 1)
    ]


def prose(path: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.M | re.S)


def code_spans(path: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(path))


def table_below(path: Path, heading: str) -> dict[str, list[str]]:
    """Rows of the first table below a heading by their first cell; code marks are left out."""
    text = path.read_text("utf-8")
    assert heading in text, f"{named(path)} has no {heading}"
    lines = text[text.index(heading) :].splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.replace("`", "").strip("|").split(" | ")]
        rows.append([cell.strip() for cell in cells])
    return {row[0]: row[1:] for row in rows[2:]}


# Commands


def command_lines(block: str) -> Iterator[list[str]]:
    """Words of each command of a shell block, pipes and redirections cut off."""
    for line in block.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word in ("|", ";", "&&", ">", "<"):
                if words:
                    yield words
                words = []
            else:
                words.append(word)


def write_configurations(path: Path, where: Path) -> None:
    """Write the TOML blocks of a page, each under the name in its first line."""
    for body in blocks(path, "toml"):
        name = body.splitlines()[0].removeprefix("# ")
        assert name.endswith(".toml")
        tomllib.loads(body)
        (where / name).write_text(body, "utf-8")


def check_command(words: Sequence[str]) -> None:
    program, *rest = words
    if program == "ulmfit":
        if rest[0] in ("--help", "--version"):
            return
        assert rest[0] in COMMANDS, rest[0]
        if rest[1:] != ["--help"]:
            parse_arguments(settings_of(rest[0]), rest[0], rest[1:])
    elif program == "torchrun":
        launch = get_args_parser().parse_args(rest)
        assert launch.module
        check_command([launch.training_script, *launch.training_script_args])
    elif program == "make":
        assert re.search(rf"^{rest[0]}:", (ROOT / "Makefile").read_text("utf-8"), re.M), rest
    elif program.endswith("python"):
        assert (ROOT / rest[0]).is_file(), rest[0]
    elif program.startswith("."):
        assert (ROOT / program).is_file(), program
    else:
        assert program in ("cd", "echo", "source", "zcat"), program


@pytest.mark.parametrize(("path", "block"), every_block("sh"))
def test_commands_parse(
    path: Path, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_configurations(path, tmp_path)
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    monkeypatch.chdir(tmp_path)
    commands = list(command_lines(block))
    assert commands
    for words in commands:
        check_command(words)


@pytest.mark.parametrize("name", recipes())
def test_shipped_recipes_parse(name: str) -> None:
    first, _ = (RECIPES / f"{name}.toml").read_text("utf-8").split("\n", 1)
    command = re.match(r"# ulmfit (\w+): ", first)
    assert command is not None
    arguments = ["--config", name, "--output", "folder"]
    data = {"train": ["--data", "labelled.csv"], "finetune": ["--texts", "a.txt"]}
    config, _ = parse_arguments(
        settings_of(command[1]), command[1], [*arguments, *data.get(command[1], [])]
    )
    if command[1] == "pretrain":
        assert all(is_on_hub(text) for text in config.texts)


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks" / "configs").iterdir()))
def test_shipped_configurations_parse(path: Path) -> None:
    arguments = ["--config", str(path), "--output", "folder"]
    command = "finetune" if path.stem.endswith("further") else "pretrain"
    parse_arguments(settings_of(command), command, arguments)


def test_there_are_commands_in_every_guide() -> None:
    for name in ("README.md", "docs/how-to.md", "docs/command-line.md", "docs/distributed.md"):
        assert any("ulmfit " in block for block in blocks(ROOT / name, "sh")), name


def every_option(cls: Any, prefix: str = "--") -> Iterator[str]:
    for name, hint in get_type_hints(cls).items():
        option = prefix + name.replace("_", "-")
        yield from every_option(hint, f"{option}.") if is_dataclass(hint) else [option]


OURS = PAGES[:2] + [path for path in PAGES if path.parent.name == "docs"]
LAUNCHERS = {
    option
    for action in get_args_parser()._actions
    for option in (*action.option_strings, "--num_processes", "--multi_gpu")
} | {"--nodes", "--ntasks-per-node", "--gpus-per-node", "--requeue"}
ELSEWHERE = LAUNCHERS | {
    "--help",
    "--version",
    "--config",
    "--quiet",
    "--a.b-c",
    "--reading.no-strict",
    *SHORT,
}


@pytest.mark.parametrize("path", OURS, ids=named)
def test_options_that_are_named_are_there(path: Path) -> None:
    known = {option for name in COMMANDS for option in every_option(settings_of(name))} | ELSEWHERE
    shown = {o for span in code_spans(path) for o in re.findall(r"(?<!\S)--[a-z][\w.-]*", span)}
    assert not shown - known


# Python


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files and models that the examples speak of, all tiny."""
    where = tmp_path_factory.mktemp("examples")
    rows = [f'"{text}",{"neg" if "bad" in text else "pos"}\n' for text in TEXTS]
    (where / "labelled.csv").write_text("text,label\n" + "".join(rows), "utf-8")
    for name in ("unlabelled.csv", "new.csv"):
        (where / name).write_text("text\n" + "".join(f'"{text}"\n' for text in TEXTS), "utf-8")
    (where / "new.txt").write_text("\n".join(TEXTS), "utf-8")
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(TEXTS, TokenizerConfig(vocab_size=300))
    size = tokenizer.vocab_size
    shape = EncoderConfig(vocab_size=size, embedding_size=6, hidden_size=8, layers=2)
    head = ClassifierHeadConfig(hidden_sizes=(5,))
    models, members = [], []
    for direction in DIRECTIONS:
        member = Member(direction=direction, prefix=direction)
        models.append(LanguageModel(LanguageModelNetwork(shape, Dropout()), tokenizer, member))
        models[-1].save_pretrained(where / f"{direction}-model")
        network = ClassifierNetwork(shape, Dropout(), head, 2)
        members.append(ClassifierMember(member, network))
    save_language_models(models, where / "shipped" / "wikipedia-en-small")
    classifier = TextClassifier(members, tokenizer, Task(labels=("neg", "pos")), head=head)
    classifier.save_pretrained(where / "my-model")
    to_onnx = ["convert", str(where / "my-model"), "--to", "onnx"]
    assert cli.main([*to_onnx, "--output", str(where / "my-onnx-model")]) == 0
    new, found = str(where / "new.csv"), str(where / "predictions.csv")
    predict = ["predict", "--model", str(where / "my-model"), "--data", new, "--output", found]
    assert cli.main(predict) == 0
    return where


TUTORIAL, YOUR_TABLE = ROOT / "docs" / "tutorial.md", ROOT / "docs" / "your-table.md"
"""Their blocks go together, and are run in their order."""


def run_in_order(page: Path, where: Path, shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run all blocks of a page in the folder `where`; the shipped model is a tiny one."""
    monkeypatch.chdir(where)
    monkeypatch.setattr(model_folder, "SHIPPED", shipped)
    write_configurations(page, where)
    for language, body in re.findall(
        r"^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S
    ):
        assert language in ("python", "sh", "toml")
        if language == "python":
            exec(compile(body, named(page), "exec"), {"__name__": "example"})
        for program, *rest in command_lines(body) if language == "sh" else ():
            if program not in ("source", "cd"):
                assert program == "ulmfit" and cli.main(rest) == 0, rest


def test_the_tutorial_runs(
    workspace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = ROOT / "examples" / "data" / "sms-spam"
    for name, lines in (("labelled", 101), ("unlabelled", 60), ("test", 80)):
        with (data / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))[:lines]
        with (tmp_path / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
    run_in_order(TUTORIAL, tmp_path, workspace / "shipped", monkeypatch)
    assert "Traceback" not in capsys.readouterr().err
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert len((tmp_path / "predictions.csv").read_text("utf-8").splitlines()) == 60


def test_the_way_of_a_table_runs(
    workspace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def write(name: str, columns: Sequence[str], count: int, labelled: int = 0) -> None:
        with (tmp_path / name).open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(columns)
            for number in range(count):
                text = TEXTS[number % len(TEXTS)]
                team = "accounts" if "bad" in text else "orders"
                cells = [number, text, team if number < labelled else ""]
                rows.writerow(cells[: len(columns)])

    write("tickets.csv", ("id", "body", "team"), 500, labelled=300)
    write("incoming.csv", ("id", "body"), 30)
    run_in_order(YOUR_TABLE, tmp_path, workspace / "shipped", monkeypatch)
    said = capsys.readouterr().err
    assert "Traceback" not in said and said.count("not calibrated") == 1  # of the second
    assert "180 labelled documents to train on, 60 held out" in said
    assert "440 documents, 200 of them without a label" in said
    found = list(csv.DictReader((tmp_path / "predictions.csv").read_text("utf-8").splitlines()))
    assert list(found[0]) == ["row", "id", "label", "p_accounts", "p_orders"]
    assert [row["id"] for row in found] == [str(number) for number in range(30)]
    assert "second-model" in (tmp_path / "both.html").read_text("utf-8")
    assert (tmp_path / "report.html").stat().st_size > 10_000


GUIDES = ["README.md", "docs/how-to.md", "docs/command-line.md", "docs/format.md", "docs/fastai.md"]
NOT_RUN = {
    "docs/distributed.md": "torchrun; tests/recipes/test_processes.py does the same with gloo",
    "benchmarks/README.md": "hours",
    "CONTRIBUTING.md": "make",
}
"""Pages whose commands are parsed and not run, and why."""

NEEDS_THE_HUB = "wikipedia-small"
SHAPE = ["--embedding-size", "6", "--hidden-size", "8", "--layers", "2"]
SMALL = [*SHAPE, "--tokenizer.vocab-size", "300"]
FEW = ["--vocab-size", "300", "--batch-size", "2", "--documents", "2", "--bptt", "5"]
FEW += ["--words", "20", "--sampled-words", "100", "--rounds", "1", "--steps", "1"]


@pytest.mark.recipes
@pytest.mark.parametrize("page", GUIDES)
def test_the_commands_of_a_guide_run(
    page: str,
    workspace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In their order, on tiny files and models; an output that is there is replaced."""
    where = tmp_path / "guide"
    shutil.copytree(workspace, where)
    write_guide_files(where)
    if page == "docs/command-line.md":  # whose table has other columns and labels
        rows = [f'"a title","{text}",{"spam" if "bad" in text else "ham"}' for text in TEXTS]
        for name in ("labelled", "unlabelled"):
            (where / f"{name}.csv").write_text(
                "\n".join(["title,body,label", *rows]) + "\n", "utf-8"
            )
    write_configurations(ROOT / page, where)
    monkeypatch.chdir(where)
    monkeypatch.setattr(model_folder, "SHIPPED", where / "shipped")
    piped = b""
    for body in blocks(ROOT / page, "sh"):
        for program, *rest in command_lines(body):
            if program == "echo":
                piped = f"{rest[0]}\n".encode()
            if program == "zcat":
                piped = gzip.decompress(Path(rest[0]).read_bytes())
            if program != "ulmfit" or NEEDS_THE_HUB in rest:
                continue
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped)))
            assert run_command(rest) == 0, (rest, capsys.readouterr().err)


def test_every_block_of_commands_is_run_or_said_why_not() -> None:
    run = {*GUIDES, named(TUTORIAL), named(YOUR_TABLE)}
    for path in PAGES:
        languages = set(re.findall(r"^```(\w+)$", path.read_text("utf-8"), re.M))
        known = {"sh", "python", "toml", "text"} | ({"bash"} if named(path) in NOT_RUN else set())
        assert languages <= known, path
        assert "sh" not in languages or named(path) in {*run, *NOT_RUN}, path


def run_command(words: Sequence[str]) -> int:
    """Run a command of a guide, with models as small as can be; what is there is replaced."""
    command, *_ = words
    if command in ("--help", "--version") or "--help" in words:
        try:
            return cli.main(words)
        except SystemExit as left:
            return int(left.code or 0)
    more = ["--overwrite"] if hasattr(settings_of(command), "overwrite") else []
    if command == "bench":
        words = [
            word for word in words if word not in ("--preset", "base", "--vocab-size", "60000")
        ]
        more += [*SHAPE, *FEW]
    if command == "pretrain":
        more += SHAPE if "--tokenizer-folder" in words else SMALL
        more += ["--training.batch-size", "2"] if "-" in words else []
    return cli.main([*words, *more])


def write_guide_files(where: Path) -> None:
    """Write what the guides speak of besides the examples: further tables, files of fastai's."""
    labelled = (where / "labelled.csv").read_text("utf-8")
    for name in ("test", "held-out", "topics", "moods"):
        rows = labelled.splitlines() * (3 if name == "held-out" else 1)
        lines = [rows[0], *(row for row in rows if row != rows[0])]
        (where / f"{name}.csv").write_text("\n".join(lines) + "\n", "utf-8")
    for name in ("comments", "test-comments"):
        (where / f"{name}.csv").write_text(labelled.replace("pos", "pos|calm"), "utf-8")
    pairs = [f'"{text}","it is so",{"no" if "bad" in text else "yes"}' for text in TEXTS]
    (where / "pairs.csv").write_text(
        "\n".join(["premise,hypothesis,label", *pairs]) + "\n", "utf-8"
    )
    (where / "wikipedia").mkdir()
    articles = "\n".join(json.dumps({"text": text}) for text in TEXTS * 4)
    for path in (where / "wikipedia" / "a.jsonl", where / "held-out-articles.jsonl"):
        path.write_text(articles, "utf-8")
    (where / "articles.txt.gz").write_bytes(gzip.compress("\n".join(TEXTS).encode()))
    words = ["xxunk", "xxpad", "xxbos", "xxeos", *sorted({w for t in TEXTS for w in t.split()})]
    shape = EncoderConfig(vocab_size=len(words), embedding_size=6, hidden_size=8, layers=3)
    for name in ("lstm_fwd.pth", "lstm_bwd.pth"):
        state = LanguageModelNetwork(shape, Dropout()).state_dict()
        torch.save({to_fastai_2(key): value for key, value in state.items()}, where / name)
    (where / "itos_wt103.pkl").write_bytes(pickle.dumps(words))


@pytest.mark.parametrize(
    ("path", "block"),
    [each for each in every_block("python") if each.values[0] not in (TUTORIAL, YOUR_TABLE)],
)
def test_python_runs(
    path: Path,
    block: str,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names)
    monkeypatch.chdir(workspace)
    monkeypatch.setattr(model_folder, "SHIPPED", workspace / "shipped")
    write_configurations(path, workspace)
    exec(compile(block, named(path), "exec"), {"__name__": "example"})
    assert "Traceback" not in capsys.readouterr().err


# What is named is there


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        found = path.parent / name if name else path
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text("utf-8"), re.M)
            anchors = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
            assert anchor in anchors, target


@pytest.mark.parametrize("path", OURS, ids=named)
def test_files_that_are_named_are_there(path: Path) -> None:
    places = (ROOT, SOURCE, path.parent)
    for span in code_spans(path):
        inside = re.fullmatch(r"(?:[\w.-]+/)+[\w.-]*", span)
        if inside is None or span in ("OWNER/NAME", "OUTPUT.run/log.jsonl"):
            continue
        if not span.startswith((".venv/", "../")):
            assert any((place / span).exists() for place in places), span


def resolve(dotted: str) -> object:
    """What a dotted name from `src/ulmfit` on stands for."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        if (SOURCE.joinpath(*parts[:cut]).with_suffix(".py")).is_file():
            found: object = importlib.import_module(".".join(["ulmfit", *parts[:cut]]))
            for part in parts[cut:]:
                found = getattr(found, part)
            return found
    raise AssertionError(f"no module for {dotted}")


def test_functions_that_are_named_are_there() -> None:
    floors = "text|config|data|nn|training|models|stages|interop|explain|report"
    dotted = [
        span
        for span in code_spans(ROOT / "docs" / "concepts.md")
        if re.fullmatch(rf"(?:{floors})(?:\.\w+){{2,}}", span)
    ]
    assert len(dotted) > 30
    for name in dotted:
        assert resolve(name) is not None


# Tables that repeat what the code says


def test_the_page_of_settings_is_made_anew() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "make_settings.py"))["page"]
    found = (ROOT / "docs" / "settings.md").read_text("utf-8")
    assert found == page(), "run docs/make_settings.py"


def test_the_commands_and_exit_codes_are_these() -> None:
    page = ROOT / "docs" / "command-line.md"
    commands = table_below(page, "# The command line")
    assert list(commands) == list(COMMANDS)
    for name, (_, needs, _) in commands.items():
        if needs == "nothing":
            parse_arguments(settings_of(name), name, [])
            continue
        with pytest.raises(ConfigError, match=f"needs {needs.replace(', ', ' and ')};"):
            parse_arguments(settings_of(name), name, [])
    codes = {int(code): text for code, (text,) in table_below(page, "## Exit codes").items()}
    assert codes == cli.exit_codes()


@pytest.mark.parametrize(
    "name",
    [
        "ArtefactConfig",
        "TokenizerConfig",
        "EncoderConfig",
        "ClassifierHeadConfig",
        "Task",
        "Member",
        "FileRecord",
    ],
)
def test_the_fields_of_the_format_are_these(name: str) -> None:
    cls: Any = getattr(artefact, name)
    rows = table_below(ROOT / "docs" / "format.md", f": `{name}`")
    assert list(rows) == [field.name for field in fields(cls)]


def test_the_tensors_of_the_format_are_these() -> None:
    shape = EncoderConfig(vocab_size=5, embedding_size=2, hidden_size=3, layers=2)
    networks = (
        LanguageModelNetwork(shape, Dropout()),
        ClassifierNetwork(shape, Dropout(), ClassifierHeadConfig(), 2),
    )
    names = {re.sub(r"\b\d\b(?=\.)", "N", n) for net in networks for n in net.state_dict()}
    names = {re.sub(r"blocks\.N\.N", "blocks.N.0", n) for n in names}
    listed = "\n".join(blocks(ROOT / "docs" / "format.md", "text"))
    shown = {line.split()[0] for line in listed.splitlines() if line}
    assert {re.sub(r"blocks\.N\.\d", "blocks.N.0", n) for n in shown} == names


def test_every_dependency_has_its_line() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    page = ROOT / "docs" / "dependencies.md"
    for heading, wanted in (
        ("# Dependencies", project["dependencies"]),
        ("For development", project["optional-dependencies"]["dev"]),
    ):
        names = [re.split(r"[<>=]", requirement)[0] for requirement in wanted]
        assert list(table_below(page, heading)) == names


# The README


def test_the_readme_has_the_two_commands_that_are_run_from_it() -> None:
    def section(heading: str) -> str:
        text = (ROOT / "README.md").read_text("utf-8")
        return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]

    for heading, command in (("Try it", "make demo"), ("Run the tests", "make test")):
        assert re.findall(r"```\w*\n(.*?)```", section(heading), re.S) == [f"{command}\n"]
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    program = re.search(r"awk '(.*?)'", script, re.S)
    assert program is not None
    done = subprocess.run(
        ["awk", program[1], "README.md"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "make test\n"
