"""The SLAP library: ask a SlapOS Master for instances, software and nodes.

    import slapos.slap

    slap = slapos.slap.slap()
    slap.initializeConnection("https://master.example.com/",
                              key_file="client.key", cert_file="client.crt",
                              master_ca_file="ca.crt")
    instance = slap.registerOpenOrder().request(
        "https://example.com/software.cfg", "my instance")
    instance.wait(timeout=600)
    print(instance.getConnectionParameter("url"))

A request may be repeated at will: what is left out stays as it is. Every object may be used from
several threads, and other threads run while one waits for the Master.
"""
from .exception import (
    AuthenticationError,
    RefusedError,
    SlapException,
    TLSError,
)
from .slap import *
from .slap import __all__ as _classes

__all__ = _classes + ["AuthenticationError", "RefusedError", "SlapException", "TLSError"]
