"""Plots of panels say the figures that they are given."""

from xml.etree import ElementTree

from heedful.report import panel_plots


def texts(svg: str) -> list[str]:
    """All that is written in a picture, in order."""
    found = ["".join(e.itertext()) for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("}text")]
    return [" ".join(text.split()) for text in found]


def figure(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 1, "high": value + 1}


FIGURES = {
    "nats/plan/last": figure(3),
    "nats/long_memory/last": figure(5),
    "nats/places/last": figure(-2),
    "nats/plan/alone": figure(9),
    "panel/loss": figure(2),
    "text/loss": figure(4),
    "gain/panel": figure(0.5),
}


def test_fields_stand_in_the_order_of_what_they_save_and_a_loss_is_said() -> None:
    found = texts(panel_plots.nats(FIGURES))
    assert found == [
        "long memory",
        "5.00 [4.00, 6.00]",
        "plan",
        "3.00 [2.00, 4.00]",
        "places",
        "-2.00 [-3.00, -1.00]",
    ]
    assert texts(panel_plots.nats(FIGURES, "alone")) == ["plan", "9.00 [8.00, 10.00]"]


def test_every_context_has_its_loss() -> None:
    assert texts(panel_plots.losses(FIGURES)) == [
        "panel",
        "2.000 [1.000, 3.000]",
        "text",
        "4.000 [3.000, 5.000]",
    ]


def test_curves_name_their_lines_and_points() -> None:
    found = texts(panel_plots.prompts({"write": [10.0, 12.0], "plan": [5.0, 5.0]}))
    assert {"write", "plan", "passage", "tokens of a request"} <= set(found)
    points = [
        {"where": where, "temperature": t, "diversity": figure(t / 2), "faithfulness": figure(0.9)}
        for where in ("plan", "prose")
        for t in (0.0, 0.7)
    ]
    found = texts(panel_plots.curve(points))
    assert {"temperature on the plan", "temperature on the prose"} <= set(found)
    assert (found.count("0.7"), found.count("0")) == (2, 2)
