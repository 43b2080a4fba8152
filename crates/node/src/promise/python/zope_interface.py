"""Stand-in for the little of zope.interface that promise plugins use."""


class Interface(object):
    pass


def implementer(*interfaces):
    def decorate(cls):
        cls.__implemented_interfaces__ = interfaces
        return cls
    return decorate
