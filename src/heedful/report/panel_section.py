"""The page's section about panels: what they save, and how well they were read round after round."""

from collections.abc import Mapping

from heedful.report import panel_plots, plots
from heedful.report.run import Stages
from heedful.report.view import Plot, Section, View


def section(view: View) -> Section | None:
    """The study's losses and nats, and F1 and loss by rounds; None where no stage of panels lies in the run."""
    made = [*study(view), *rounds(view)]
    words = view.words
    return Section("panels", words("panels"), words("panels_note"), tuple(made)) if made else None


def study(view: View) -> list[Plot]:
    """The newest study."""
    words = view.words
    newest = _studies(view.run.panels)
    if not newest:
        return []
    figures = newest[max(newest)]
    losses, nats = words("panels_losses"), words("panels_nats")
    return [
        Plot(
            losses,
            panel_plots.loss_bars(figures, losses, lambda name: words.named("context", name)),
            words("panels_losses_caption"),
        ),
        Plot(
            nats,
            panel_plots.field_bars(figures, "last", nats, lambda name: words.named("field", name)),
            words("panels_nats_caption"),
        ),
    ]


def rounds(view: View) -> list[Plot]:
    """F1 of what was read, and, of several studies, the loss of the passages under a panel: a bar a round."""
    words, made = view.words, []
    f1 = {
        number: stages["panel_extract"].result["scores"]["all"]["f1"]
        for number, stages in view.run.panels.items()
        if "panel_extract" in stages and stages["panel_extract"].result.get("scores")
    }
    loss = {n: figures["panel/loss"]["value"] for n, figures in _studies(view.run.panels).items()}
    for name, found in (("panels_f1", f1), ("panels_loss", loss if len(loss) > 1 else {})):
        if found:
            rows = [
                (words("round_label", number=n) if n else words("panels_first"), value, f"{value:.3f}")
                for n, value in sorted(found.items())
            ]
            title = words(name)
            made.append(Plot(title, plots.bars(name, rows, title), words(f"{name}_caption")))
    return made


def _studies(panels: Mapping[int, Stages]) -> dict[int, panel_plots.Figures]:
    return {
        number: stages["panel_study"].result["figures"]
        for number, stages in panels.items()
        if "panel_study" in stages and "figures" in stages["panel_study"].result
    }
