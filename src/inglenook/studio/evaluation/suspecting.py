# SPDX-License-Identifier: Apache-2.0
"""What evaluations suspect of labels, as the data set's checks are told. Blocks."""

from contextlib import suppress

from inglenook.base.errors import InglenookError
from inglenook.studio.checks.service import ChecksService
from inglenook.studio.evaluation.documents import EvaluationDocuments


def finding_source(evaluation_id: str) -> str:
    """Under which name the checks know what an evaluation has found."""
    return f"evaluation {evaluation_id}"


def tell_checks(documents: EvaluationDocuments, checks: ChecksService, project: str, experiment: str) -> None:
    """Of an experiment, what its newest evaluation with results suspects is what counts.

    Raises Failed, Unavailable: it cannot be written. As `EvaluationDocuments.all`.
    """
    from inglenook.studio.evaluation.noise import suspects
    from inglenook.studio.evaluation.stored import read_table

    known = documents.all(project, experiment)
    for one in known:
        checks.drop(project, finding_source(one.id))
    newest = next((one for one in reversed(known) if one.status == "completed"), None)
    if newest is None:
        return
    key = (project, experiment, newest.id)
    figures = documents.aggregate(key)
    if figures is None:
        return
    with suppress(InglenookError):  # results that cannot be read any more suspect nothing
        table, _ = read_table(documents.folder(key), figures.classes)
        findings = suspects(table, finding_source(newest.id))
        if findings:
            checks.put(project, finding_source(newest.id), findings)
