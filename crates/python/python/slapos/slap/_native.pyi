"""The native half: what does the talking. Programs use `slapos.slap` instead."""
from os import PathLike
from typing import Any

def loads(document: bytes) -> Any: ...
def dumps(value: Any) -> bytes: ...

class Connection:
    def __init__(
        self,
        master_url: str,
        *,
        key_file: str | PathLike[str] | None = None,
        cert_file: str | PathLike[str] | None = None,
        ca_file: str | PathLike[str] | None = None,
        verify: bool = True,
        timeout: float | None = None,
        rest_url: str | None = None,
    ) -> None: ...
    @property
    def master_url(self) -> str: ...
    def ask(self, call: str, fields: list[tuple[str, str]]) -> str: ...
    def tell(
        self,
        call: str,
        fields: list[tuple[str, str]],
        partition: tuple[str, str] | None = None,
    ) -> str: ...
    def request(
        self,
        release: str,
        title: str,
        *,
        parameters: dict[str, Any] | None = None,
        software_type: str | None = None,
        sla: dict[str, Any] | None = None,
        state: str | None = None,
        shared: bool | None = None,
    ) -> Any: ...
    def token(self) -> str: ...
    def catalogue(self) -> dict[str, str] | None: ...
    def changes(self, title: str, pause: float) -> Waiting: ...
    def instance_trees(self) -> list[tuple[str, str]]: ...
    def instance_tree(self, title: str) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]: ...
    def nodes(self) -> list[tuple[str, str]]: ...
    def node(self, reference: str) -> tuple[str, str]: ...


class Waiting:
    def wait(self, most: float) -> None: ...
