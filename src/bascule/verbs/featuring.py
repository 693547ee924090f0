"""Features, as Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bascule.verbs.bound import Bound

if TYPE_CHECKING:
    from bascule.project.impact import Alike, Impact
    from bascule.project.viewing import FeatureInfo, ServiceInfo


class FeatureVerbs(Bound):
    """Features: each method is the command of that name."""

    def feature_views(self, *, tag: str | None = None, owner: str | None = None) -> list[FeatureInfo]:
        """Return the branch's feature views: what they give, who owns them, how fresh they are served.

        Args:
            tag: only those with this tag.
            owner: only those of this owner.
        """
        from bascule.project.viewing import list_features

        return list_features(self.place, tag, owner)

    def read_feature_view(self, name: str) -> FeatureInfo:
        """Return one feature view of the branch, with its definition."""
        from bascule.project.viewing import read_feature

        return read_feature(self.place, name)

    def feature_services(self) -> list[ServiceInfo]:
        """Return the branch's feature services, with their versions."""
        from bascule.project.viewing import list_services

        return list_services(self.place)

    def feature_impact(self, column: str) -> list[Impact]:
        """Return what breaks when a column changes: features, training sets, models and deployments that read it.

        Args:
            column: TABLE.COLUMN, or TABLE for any column of it.
        """
        from bascule.project.impact import impact

        return impact(self.place, column)

    def unused_features(self) -> list[str]:
        """Return the features that no model, no service and no expression reads, as `view.feature`."""
        from bascule.project.impact import unused

        return unused(self.place)

    def duplicate_features(self) -> list[Alike]:
        """Return the features that compute the same thing under several names."""
        from bascule.project.impact import duplicates

        return duplicates(self.place)
