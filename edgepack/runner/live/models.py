"""The model in service (`stable`) and the one on trial (`canary`), by version and by label.

It is not aware of HTTP or of how a release is loaded. Only the event loop changes it. Used by
the server's routes.
"""

from __future__ import annotations

from typing import Literal

from edgepack.runner.live.model import LiveModel

Label = Literal["stable", "canary"]


class LiveModels:
    """At most two releases of one model.

    Attributes:
        name: The model's name.
        stable: What answers when nothing else is asked for.
        canary: The release on trial, or None.
    """

    def __init__(self, stable: LiveModel, canary: LiveModel | None = None) -> None:
        self.name = stable.name
        self.stable = stable
        self.canary = canary

    def all(self) -> list[tuple[Label, LiveModel]]:
        """Returns what is there, `stable` first."""
        found: list[tuple[Label, LiveModel]] = [("stable", self.stable)]
        if self.canary is not None:
            found.append(("canary", self.canary))
        return found

    def labelled(self, label: str) -> LiveModel | None:
        """Returns the release with a label, or None."""
        return next((live for name, live in self.all() if name == label), None)

    def versioned(self, version: str) -> LiveModel | None:
        """Returns the release of a version, or None.

        Args:
            version: As the model writes it (`1.2.0`) or as a whole number (`1002000`). Two
                releases of the same version are told apart by their labels only; `stable` is
                the one that is found here.
        """
        for _, live in self.all():
            if version in (live.version, str(live.number)):
                return live
        return None

    def replace(self, stable: LiveModel, canary: LiveModel | None) -> list[LiveModel]:
        """Puts other releases into service; requests that run keep the one they began with.

        Args:
            stable: The release in service from now on; may be the present one.
            canary: The release on trial from now on, or None.

        Returns:
            The releases that are in service no more, for the caller to unload.
        """
        before = [live for _, live in self.all()]
        self.stable, self.canary = stable, canary
        return [each for each in before if each is not stable and each is not canary]
