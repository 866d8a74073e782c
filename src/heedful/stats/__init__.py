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
from heedful.stats.blocks import block_sums, bootstrap_sums
from heedful.stats.calibration import (
    Bin,
    accuracy,
    auc,
    brier,
    calibration_curve,
    expected_calibration_error,
)
from heedful.stats.coded import Agreement, Coded, agreements
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
from heedful.stats.strength import (
    Adjusted,
    BradleyTerry,
    bradley_terry,
    bradley_terry_adjusted,
    clustered_covariance,
    elo,
    elo_points,
    win_table,
)

__all__ = [
    "Adjusted",
    "Agreement",
    "Bin",
    "BradleyTerry",
    "Coded",
    "DawidSkene",
    "Estimate",
    "Label",
    "Labels",
    "Majority",
    "PairedDifference",
    "Qualification",
    "WinRate",
    "accuracy",
    "agreements",
    "auc",
    "block_sums",
    "bootstrap",
    "bootstrap_sums",
    "bradley_terry",
    "bradley_terry_adjusted",
    "brier",
    "calibration_curve",
    "clustered_covariance",
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
