"""The table of enhanced recommenders: each reader beside the same model that has read nothing."""

from collections.abc import Mapping, Sequence

from fathom.evaluation.evaluate import Evaluation
from fathom.evaluation.results import Difference, Row
from fathom.pipeline.enhanced.workshop import ITEMS, PEOPLE, EnhancedWorkshop
from fathom.pipeline.sequential.table import SequentialTable
from fathom.prompting.describe import Described


class EnhancedTable(SequentialTable):
    """As for sequences; readers' rows tell what was written for them and what that cost."""

    work: EnhancedWorkshop

    @property
    def needs(self) -> Mapping[str, tuple[str, ...]]:  # type: ignore[override]
        readers = self.work.recipe.readers
        return {name: (name, "asked") if name in readers else (name,) for name in self.protagonists}

    def rows(self, evaluations: Mapping[str, Evaluation]) -> tuple[list[Row], list[Difference]]:
        """Readers' rows also have what all the writing took, for all items and people together: `questions`, the share of answers that were
        `unreadable`, `tokens_read`, `tokens_written`, `seconds_of_writing`; with an endpoint the `money`."""
        rows, more = super().rows(evaluations)
        work = self.work
        said: Sequence[Described] = [*work.said(ITEMS, Described), *work.said(PEOPLE, Described)]
        read, written, unreadable = (sum(one.tally[kind] for one in said) for kind in ("read", "written", "unreadable"))
        cost = {
            "questions": float(len(said)),
            "unreadable": unreadable / len(said),
            "tokens_read": float(read),
            "tokens_written": float(written),
            "seconds_of_writing": sum(one.seconds for one in said),
        }
        if work.recipe.endpoint is not None:
            cost["money"] = work.recipe.endpoint.price(read, written)
        return [row.model_copy(update={"metrics": row.metrics | cost}) if row.model in work.recipe.readers else row for row in rows], more
