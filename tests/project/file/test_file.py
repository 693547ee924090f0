"""Reading a project file, and what is said about a wrong one."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from tests.project.file.conftest import WriteProject

from bascule.errors import InputError, ProjectFileError
from bascule.project import (
    Entity,
    FeatureView,
    Model,
    Project,
    ProjectFile,
    Source,
    Split,
    Training,
    find_project_file,
    load_project,
    parse_project,
)
from bascule.project.file import NAMED, SINGLE
from bascule.project.sections import ProjectSections


def test_what_a_section_may_hold_is_looked_up_once(
    write_project: WriteProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each setting it was the better part of the start of every command."""
    path = write_project()
    first = load_project(path)
    monkeypatch.setattr(msgspec.structs, "fields", lambda kind: pytest.fail(f"looks at {kind} again"))
    assert load_project(path).project == first.project


def test_a_project_is_read_whole(write_project: WriteProject) -> None:
    project = load_project(write_project())
    assert project.project.name == "shop"
    assert project.source["orders"] == Source(path="data/orders/*.csv", key=("order_id",), mode="append")
    assert project.source["customers"].mode == "replace"
    assert list(project.views()) == ["customer", "spending"]
    assert list(project.request_views()) == ["request"]
    assert project.training is not None
    assert project.training.split == Split(validation="30d", test="30d")
    assert project.deployment is not None
    assert project.deployment.steps == (10, 50, 100)
    assert project.workspace.url == ".bascule"
    assert project.sql("features", "spending", "sql").startswith("select customer_id, ordered_at")


def test_it_is_found_from_a_folder_below(write_project: WriteProject) -> None:
    file = write_project()
    below = file.parent / "features"
    assert find_project_file(below) == file
    assert load_project(below).folder == file.parent


def test_no_project_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no bascule\.toml") as told:
        load_project(tmp_path)
    assert "bascule init" in told.value.hint
    with pytest.raises(InputError, match="There is no file or folder"):
        load_project(tmp_path / "nowhere")


@pytest.mark.slow
def test_a_moment_may_be_written_without_quotes() -> None:
    moment = parse_project(
        '[project]\nname = "a"\n[training]\nlabel = "x"\npopulation = "p.sql"\ncut_off = 2013-07-01\n'
    )
    assert moment.training is not None
    assert moment.training.cut_off == "2013-07-01"


def test_the_same_project_in_python(write_project: WriteProject) -> None:
    folder = write_project().parent
    project = ProjectFile(
        project=Project(name="shop"),
        source={"orders": Source(path="data/orders/*.csv")},
        entity={"customer": Entity(keys=("customer_id",))},
        features={"customer": FeatureView(sql="features/customer.sql", entity="customer")},
        training=Training(population="features/population.sql", label="returned", features=("customer",)),
        model=Model(name="returns"),
        folder=folder,
    )
    project.check()
    wrong = msgspec.structs.replace(project, entity={})
    with pytest.raises(ProjectFileError, match=r"bascule.toml: \[features.customer.entity\] there is no"):
        wrong.check()


FORGET = """
[forget]
policy = "schedule"
within = "10d"

[forget.link.orders]
subject = "people"
table = "orders"
columns = { customer = "id" }

[forget.link.photos]
subject = "people"
files = "photos"
path = "by-id/{id}/**"
"""


def test_what_forgetting_means_is_read(write_project: WriteProject) -> None:
    file = write_project()
    file.write_text(file.read_text("utf-8") + FORGET, "utf-8")
    read = load_project(file).forget
    assert (read.policy, read.within) == ("schedule", "10d")
    assert read.link["orders"].columns == {"customer": "id"}
    assert read.link["photos"].path == "by-id/{id}/**"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('table = "orders"', 'tabel = "orders"', "'tabel' is not a key here"),
        ('subject = "people"\ntable', "table", "lacks the key 'subject'"),
        ('columns = { customer = "id" }', "", "all rows would be the subject's"),
        ("by-id/{id}/**", "by-id/**", "all files would be the subject's"),
        ('files = "photos"', 'files = "photos"\ntable = "orders"', "one of the two"),
        ('"schedule"', '"shedule"', "one of"),
    ],
)
def test_what_is_wrong_with_forgetting_is_told_at_its_line(
    write_project: WriteProject, old: str, new: str, said: str
) -> None:
    file = write_project()
    assert old in FORGET
    file.write_text(file.read_text("utf-8") + FORGET.replace(old, new), "utf-8")
    with pytest.raises(ProjectFileError, match=re.escape(said)) as caught:
        load_project(file)
    assert caught.value.line is not None


def test_every_section_of_a_project_can_be_written() -> None:
    assert {*SINGLE, *NAMED} == set(ProjectSections.__struct_fields__)


@pytest.mark.parametrize(
    ("old", "new", "at", "key", "said", "hint"),
    [
        (
            'name = "shop"',
            'name = "shop"\nkind = "tabluar"',
            "tabluar",
            "project.kind",
            'one of "tabular"',
            "'tabular'",
        ),
        ('name = "shop"', "name = 7", "name = 7", "project.name", "is the number 7; it must be a name", ""),
        ('name = "shop"', "", "[project]", "project", "lacks the key 'name'", "Write name"),
        ("[features.customer]", "[feature.customer]", "[feature.", "feature", "not a section", "'features'"),
        ('mode = "append"', "mode = true", "mode", "source.orders.mode", 'is true; it must be one of "append"', ""),
        ('mode = "append"', 'moed = "append"', "moed", "source.orders.moed", "not a key", "'mode'"),
        ('["6h", "7d"]', '["6h",\n"7 days"]', "7 days", "features.spending.windows[1]", "a span of time", ""),
        ('"30d" }', "30 }", "30 }", "training.split.test", "or a number between 0 and 1", ""),
        ("[10, 50, 100]", '[10, "50"]', '"50"', "deployment.steps[1]", "whole number from 1 to 100", ""),
        ("trials = 4", "trails = 4", "trails", "model.search.trails", "not a key", "'trials'"),
        (", minimum = 0.5", "", "slice_floor", "gates.slice_floor", "of auc needs minimum and no", "a number"),
        ("[entity.customer]", '[entity."my customer"]', "my customer", 'entity."my customer"', "not a name", "letter"),
        (
            "[gates]",
            '[model.steps]\nbefore = "s:f"\ntakes = { photo = "blob", at = "timestamp" }\n\n[gates]',
            "timestamp",
            "model.steps.takes.at",
            'is the text "timestamp"; it must be one of "varchar"',
            "",
        ),
        ("[model]", '[model]\ntrainer = "my train"', "my train", "model.trainer", "module:function", ""),
    ],
)
def test_what_is_wrong_is_told(
    write_project: WriteProject, old: str, new: str, at: str, key: str, said: str, hint: str
) -> None:
    file = write_project(old, new)
    line = next(number for number, text in enumerate(file.read_text().splitlines(), 1) if at in text)
    with pytest.raises(ProjectFileError) as told:
        load_project(file)
    error = told.value
    assert (error.line, error.key) == (line, key)
    assert error.message.startswith(f"{file}:{line}: [{key}] ")
    assert said in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    ("text", "line"),
    [('[project]\nname = "a', 2), ("[project\n", 1), ("[project]\nname = 1\nname = 2", 3), ("a", 1), ("", None)],
)
def test_what_is_not_toml_is_told(text: str, line: int | None) -> None:
    with pytest.raises(ProjectFileError) as told:
        parse_project(text, "bascule.toml")
    assert told.value.line == line


def test_bytes_that_are_no_text_are_told(write_project: WriteProject) -> None:
    file = write_project()
    file.write_bytes(b'[project]\nname = "caf\xe9"\n')
    with pytest.raises(ProjectFileError, match="is not UTF-8 text"):
        load_project(file)
    (write_project().parent / "features/customer.sql").write_bytes(b"select '\xe9'")
    with pytest.raises(ProjectFileError, match="not UTF-8") as told:
        load_project(file)
    assert told.value.key == "features.customer.sql"
