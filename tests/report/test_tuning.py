from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from tvm_kp.report import html, task_table, tuning_sections, tuning_table
from tvm_kp.report.tuning import totals


@dataclass(frozen=True)
class Row:
    """Has what a session says of a kernel."""

    name: str = "cell"
    calls: int = 10
    default: float | None = 200.0
    best: float | None = 100.0
    tried: int = 7
    failures: dict[str, int] = field(default_factory=dict)
    curve: tuple[tuple[int, float], ...] = ((1, 200.0), (7, 100.0))

    @property
    def task(self) -> SimpleNamespace:
        label = f"{self.name}: 1x6 float32"
        return SimpleNamespace(name=self.name, calls=self.calls, ways=range(9), label=label)

    @property
    def way(self) -> SimpleNamespace | None:
        choices = {"rows": 2, "loop": "wide"}
        return None if self.best is None else SimpleNamespace(rule="matmul_c", choices=choices)

    @property
    def speed_up(self) -> float | None:
        return None if not self.default or not self.best else self.default / self.best


FAILED = Row("broken", default=None, best=None, tried=2, failures={"wrong": 1, "hang": 1}, curve=())
HEAD = Row("head", calls=1, default=50.0, best=50.0, tried=1, curve=((1, 50.0),))


def entries(rows: list[Row]) -> list[dict]:
    table = tuning_table(rows)
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_tasks_have_the_numbers_that_the_command_takes() -> None:
    table = task_table([Row().task, HEAD.task])
    assert table.rows == (
        (0, "cell", 10, 9, "cell: 1x6 float32"),
        (1, "head", 1, 9, "head: 1x6 float32"),
    )


def test_kernels_and_the_whole_inference() -> None:
    cell, head, all_ = entries([Row(), HEAD])
    assert (cell["default"], cell["best"], cell["speed-up"]) == (200, 100, 2.0)
    assert (cell["tried"], cell["of"], cell["failed"]) == (7, 9, "")
    assert cell["way"] == "matmul_c rows 2, loop wide"
    assert head["speed-up"] == 1.0
    assert (all_["default"], all_["best"], all_["tried"], all_["of"]) == (2050, 1050, 8, 18)
    assert all_["speed-up"] == round(2050 / 1050, 3)


def test_a_kernel_of_which_nothing_works() -> None:
    (broken,) = entries([FAILED])
    assert broken["failed"] == "1 hang, 1 wrong"
    assert broken["default"] == broken["best"] == broken["speed-up"] == broken["way"] == "–"
    assert totals([FAILED, HEAD]) == (50.0, 50.0)


@pytest.mark.parametrize("rows", [[], [FAILED], [HEAD]], ids=["none", "broken", "one try"])
def test_without_curves_there_is_no_chart(rows: list[Row]) -> None:
    (section,) = tuning_sections(rows, "about")
    assert section.charts == ()
    assert "about" in html([section])


def test_curves_are_relative_to_the_default() -> None:
    (section,) = tuning_sections([HEAD, Row(), FAILED], "about")
    (chart,) = section.charts
    assert chart.series == {"cell": ((1, 1.0), (7, 0.5))}
    assert "<svg" in html([section])


def test_curves_of_the_costliest_kernels_are_drawn() -> None:
    rows = [Row(f"k{calls}", calls=calls) for calls in range(1, 20)]
    (section,) = tuning_sections(rows, "about")
    assert next(iter(section.charts[0].series)) == "k19"
    assert html([section]).count("<svg") == 1
