"""reludyn: training dynamics of ReLU networks whose two layers learn a linear model jointly."""

__version__ = "0.1.0"
