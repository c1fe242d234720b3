"""jetspect: visual defect inspection on embedded GPU devices, from a trained model to a published verdict."""

__version__ = "0.1.0"
