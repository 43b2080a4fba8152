"""Stand-in for the little of zope.interface that promise plugins use."""


class Interface(object):
    @classmethod
    def implementedBy(cls, other):
        """Whether a class, or one it is derived from, is declared to provide this."""
        return any(
            isinstance(found, type) and issubclass(found, cls)
            for base in other.__mro__
            for found in base.__dict__.get("__implemented_interfaces__", ()))


def implementer(*interfaces):
    def decorate(cls):
        cls.__implemented_interfaces__ = interfaces
        return cls
    return decorate
