"""Statistics as text for a terminal."""

from heedful.people.figures import Statistics
from heedful.stats.coded import Agreement
from heedful.stats.estimate import Estimate

FIGURES = (
    ("percent", "same answer"),
    ("leave_one_out", "one against the others"),
    ("cohen", "Cohen's kappa"),
    ("fleiss", "Fleiss' kappa"),
    ("alpha_nominal", "alpha, nominal"),
    ("alpha_ordinal", "alpha, ordinal"),
    ("alpha_interval", "alpha, interval"),
)


def shown(one: Estimate, form: str = ".3f") -> str:
    """A figure with its interval, or why there is none."""
    if one.value is None:
        return f"- ({one.reason})"
    interval = "" if one.low is None or one.high is None else f" [{one.low:{form}}, {one.high:{form}}]"
    return f"{one.value:{form}}{interval} n={one.n}"


def printed(found: Statistics) -> str:
    """Every figure, a line each."""
    kinds = ", ".join(f"{n} {kind}" for kind, n in found.kinds.items()) or "no judgements"
    lines = [f"as of event {found.as_of}: {kinds}"]
    for kind, agreement in found.agreement.items():
        lines += ["", f"agreement, {kind}", *_agreement(agreement)]
    lines += ["", "leanings"]
    lines.append(f"  the side shown first   {shown(found.position)}")
    lines.append(f"  the longer answer      {shown(found.length)}")
    if found.models:
        lines += ["", f"policies (ties weigh {found.tie or 0:.2f}; length adds {shown(found.length_effect)})"]
    for model in found.models:
        lines.append(
            f"  {model.policy}: Elo {model.elo or 0:.0f}, Bradley-Terry {shown(model.points, '.0f')}"
        )
        lines.append(f"    at equal length (nats) {shown(model.length_adjusted)}")
    if found.annotators:
        lines += ["", "annotators"]
    for one in found.annotators:
        accuracy = "-" if one.accuracy is None else f"{one.accuracy:.2f}"
        bias = ", ".join(f"{word} {by:+.2f}" for word, by in one.bias.items())
        time = "-" if one.seconds_median is None else f"{one.seconds_median:.1f} s"
        lines.append(f"  {one.name}: {one.judgements} judgements, median {time}, accuracy {accuracy}")
        lines.append(
            f"    bias {bias or '-'}; first side {shown(one.first_side)}; longer {shown(one.longer)}"
        )
    for kind, times in found.times.items():
        lines.append(f"seconds, {kind}: median {times.median:.1f}, 90 % under {times.p90:.1f}, n={times.n}")
    if found.adjudication:
        lines += ["", "most disputed"]
    for row in found.adjudication[:10]:
        said = ", ".join(f"{name} {value:+d}" for name, value in row.labels.items())
        lines.append(f"  {row.disagreement:.2f} {row.kind} of {row.prompt_id}: {said}")
    return "\n".join([*lines, *found.notes])


def _agreement(agreement: Agreement) -> list[str]:
    return [f"  {words:<22} {shown(getattr(agreement, name))}" for name, words in FIGURES]
