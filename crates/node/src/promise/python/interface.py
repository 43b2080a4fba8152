"""Stand-in for slapos.grid.promise.interface."""
from zope.interface import Interface


class IPromise(Interface):
    """A check of an instance."""

    def anomaly():
        """An AnomalyResult: whether something became wrong."""

    def sense():
        """Looks at the instance and logs what it finds."""

    def test():
        """A TestResult: whether the instance works."""
