"""Agreement, aggregation and intervals: numpy and scipy, no torch."""

from heedful.stats.aggregate import DawidSkene, Majority, dawid_skene, majority
from heedful.stats.agreement import (
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    leave_one_out,
    percent_agreement,
    vote_agreement,
)
from heedful.stats.calibration import (
    Bin,
    accuracy,
    auc,
    brier,
    calibration_curve,
    expected_calibration_error,
)
from heedful.stats.estimate import Estimate
from heedful.stats.intervals import (
    PairedDifference,
    WinRate,
    bootstrap,
    mean_interval,
    paired_difference,
    wilson,
    win_rate,
)
from heedful.stats.labels import Label, Labels, count_table, encode, latest, matrix_labels, scores, votes
from heedful.stats.qualify import Qualification, qualify, verdict
from heedful.stats.strength import BradleyTerry, bradley_terry, elo, elo_points, win_table

__all__ = [
    "Bin",
    "BradleyTerry",
    "DawidSkene",
    "Estimate",
    "Label",
    "Labels",
    "Majority",
    "PairedDifference",
    "Qualification",
    "WinRate",
    "accuracy",
    "auc",
    "bootstrap",
    "bradley_terry",
    "brier",
    "calibration_curve",
    "cohen_kappa",
    "count_table",
    "dawid_skene",
    "elo",
    "elo_points",
    "encode",
    "expected_calibration_error",
    "fleiss_kappa",
    "krippendorff_alpha",
    "latest",
    "leave_one_out",
    "majority",
    "matrix_labels",
    "mean_interval",
    "paired_difference",
    "percent_agreement",
    "qualify",
    "scores",
    "verdict",
    "vote_agreement",
    "votes",
    "wilson",
    "win_rate",
    "win_table",
]
