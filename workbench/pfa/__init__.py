"""Principal Filter Analysis as pure functions of NumPy float64 arrays.

    responses -> StreamingCovariance -> spectrum -> keep count     (how many filters)
                                     -> correlation -> selection   (which filters)

The package does not depend on networks, files or torch, so each step can be tested against a
closed form.
"""

from workbench.pfa.cost_aware import log_energy_gains as log_energy_gains
from workbench.pfa.cost_aware import worth_keep_count as worth_keep_count
from workbench.pfa.cost_aware import worth_thresholds as worth_thresholds
from workbench.pfa.covariance import StreamingCovariance as StreamingCovariance
from workbench.pfa.covariance import correlation as correlation
from workbench.pfa.covariance import inactive_filters as inactive_filters
from workbench.pfa.divergences import DIVERGENCES as DIVERGENCES
from workbench.pfa.divergences import MAPS as MAPS
from workbench.pfa.divergences import divergence_keep_count as divergence_keep_count
from workbench.pfa.divergences import divergence_ratio as divergence_ratio
from workbench.pfa.energy import energy_keep_count as energy_keep_count
from workbench.pfa.energy import energy_thresholds as energy_thresholds
from workbench.pfa.energy import kept_energy as kept_energy
from workbench.pfa.kl import divergence as divergence
from workbench.pfa.kl import kl_keep_count as kl_keep_count
from workbench.pfa.reconstruction import RIDGES as RIDGES
from workbench.pfa.reconstruction import choose_ridge as choose_ridge
from workbench.pfa.reconstruction import predict_removed as predict_removed
from workbench.pfa.reconstruction import squared_error as squared_error
from workbench.pfa.selection import select_filters as select_filters
from workbench.pfa.spectrum import spectrum as spectrum

__all__ = [
    "DIVERGENCES",
    "MAPS",
    "RIDGES",
    "StreamingCovariance",
    "choose_ridge",
    "correlation",
    "divergence",
    "divergence_keep_count",
    "divergence_ratio",
    "energy_keep_count",
    "energy_thresholds",
    "inactive_filters",
    "kept_energy",
    "kl_keep_count",
    "log_energy_gains",
    "predict_removed",
    "select_filters",
    "spectrum",
    "squared_error",
    "worth_keep_count",
    "worth_thresholds",
]
