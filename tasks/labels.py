"""The labels that people gave, from wherever they lie: a label set's folder, or a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetycatch.data.label_files import Labelled, read_labels
from safetycatch.errors import UsageError
from safetycatch.judging.people import with_whole
from safetycatch.store.label_sets import LabelSet

if TYPE_CHECKING:
    from pathlib import Path

    from safetycatch.judge_settings import JudgeSettings


def labelled(path: Path, settings: JudgeSettings | None = None) -> Labelled:
    """Return the items and labels of a label set's folder, or of a file (`read_labels`).

    With `settings`, labels are verdicts of its scale; the whole answer passes where one person passed every criterion.
    Raises: UsageError for a folder that is no label set, or whose answers are judged on another scale; DataError;
    StoreError when a set was altered.
    """
    if not path.is_dir():
        found = read_labels(path, settings)
        criteria = settings.criteria if settings is not None else ()
        return Labelled(found.items, with_whole(found.labels, criteria), found.notes)
    opened = LabelSet.open(path)
    if settings is not None and opened.settings.verdicts != settings.verdict_labels:
        raise UsageError(
            f"its answers are judged {', '.join(opened.settings.verdicts)}",
            where=str(path),
            expected=f"labels of the judge's scale: {', '.join(settings.verdict_labels)}",
            fix="judge: {labels: …} with a set of this scale, or the judge's scale as in the set",
        )
    return Labelled(opened.items(), opened.labels(), tuple(opened.notes))
