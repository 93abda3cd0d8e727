"""Pictures of an experiment: error versus configuration, contours, one metric against another. PNG, 1600 × 1000."""

from __future__ import annotations

from optml_queue.plots.contour import contour_plot
from optml_queue.plots.error import POINTS_MAX, error_plot
from optml_queue.plots.pareto import pareto_plot

__all__ = ["POINTS_MAX", "contour_plot", "error_plot", "pareto_plot"]
