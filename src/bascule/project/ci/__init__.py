"""A project in CI: the pipeline file, the run of a pull request, its reports and its one comment."""

from bascule.project.ci.comment import MARKER, compose
from bascule.project.ci.job import Job, detect
from bascule.project.ci.pipelines import FORGES, write_pipeline
from bascule.project.ci.posting import Posted, post
from bascule.project.ci.readiness import Readiness, readiness
from bascule.project.ci.running import Verdict, run_ci

__all__ = [
    "FORGES",
    "MARKER",
    "Job",
    "Posted",
    "Readiness",
    "Verdict",
    "compose",
    "detect",
    "post",
    "readiness",
    "run_ci",
    "write_pipeline",
]
