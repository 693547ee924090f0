"""A program that MLflow's own client traces; run in an environment of its own, it prints what it read back as JSON."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

from mlflow.entities import AssessmentSource

import mlflow
from mlflow import MlflowClient


@mlflow.trace(span_type="TOOL", attributes={"depth": 2})
def look_up(word: str) -> dict[str, Any]:
    span = mlflow.get_current_active_span()
    span.set_attribute("mlflow.chat.tokenUsage", {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7})
    return {"word": word, "found": [1, 2.5, None, True], "ünï": "ç"}


@mlflow.trace
def answer(question: str) -> str:
    mlflow.update_current_trace(tags={"stage": "try"}, metadata={"release": "7"}, client_request_id="c-1")
    return str(look_up(question)["word"]).upper()


@mlflow.trace
def fail() -> None:
    raise ValueError("no luck")


def main(address: str) -> dict[str, Any]:
    mlflow.set_tracking_uri(address)
    client = MlflowClient()
    experiment = mlflow.set_experiment("traced").experiment_id
    with mlflow.start_run() as run:
        said = answer("why")
    answer("alone")
    with contextlib.suppress(ValueError):
        fail()
    mlflow.flush_trace_async_logging()

    def ids(filter_string: str, **more: Any) -> list[str]:
        found = mlflow.search_traces([experiment], filter_string, return_type="list", **more)
        return sorted(str(one.data.spans[0].inputs) for one in found)

    (mine,) = mlflow.search_traces(locations=[experiment], run_id=run.info.run_id, return_type="list")
    trace = mlflow.get_trace(mine.info.trace_id)
    client.set_trace_tag(mine.info.trace_id, "kept", "yes")
    client.delete_trace_tag(mine.info.trace_id, "stage")
    human = AssessmentSource(source_type="HUMAN", source_id="ana")
    feedback = mlflow.log_feedback(trace_id=mine.info.trace_id, name="good", value=4.5, source=human, rationale="short")
    mlflow.log_expectation(trace_id=mine.info.trace_id, name="right", value={"a": 1}, source=human)
    other = mlflow.log_feedback(trace_id=mine.info.trace_id, name="gone", value=True, source=human)
    mlflow.delete_assessment(trace_id=mine.info.trace_id, assessment_id=other.assessment_id)
    again = mlflow.get_trace(mine.info.trace_id)
    lonely = mlflow.search_traces([experiment], "status = 'ERROR'", return_type="list")[0]
    client.link_traces_to_run([lonely.info.trace_id], run.info.run_id)
    told = {
        "said": said,
        "state": str(trace.info.state.value),
        "preview": [trace.info.request_preview, trace.info.response_preview],
        "spans": [(one.name, one.span_type, one.inputs, one.outputs) for one in trace.data.spans],
        "depth": trace.data.spans[1].get_attribute("depth"),
        "client": trace.info.client_request_id,
        "release": trace.info.trace_metadata.get("release"),
        "usage": trace.info.token_usage,
        "place": trace.info.tags["mlflow.trace.spansLocation"],
        "tags": {key: again.info.tags.get(key) for key in ("stage", "kept")},
        "assessments": sorted((one.name, str(one.value)) for one in again.info.assessments),
        "rationale": mlflow.get_assessment(mine.info.trace_id, feedback.assessment_id).rationale,
        "error": [one.name for one in lonely.data.spans[0].events],
        "linked": len(mlflow.search_traces(locations=[experiment], run_id=run.info.run_id, return_type="list")),
        "by": {
            text: ids(text)
            for text in (
                "trace.status = 'OK'",
                "name LIKE 'ans%' AND tag.kept IS NULL",
                "metadata.release = '7'",
                "span.name = 'look_up' AND span.type = 'TOOL'",
                "span.attributes.depth = '2'",
                "text ILIKE '%WHY%'",
                "tag.kept RLIKE '^y.s$'",
                "feedback.good > 4",
                "feedback.good IS NOT NULL",
                "execution_time_ms >= 0 AND timestamp_ms > 0",
                "client_request_id = 'c-1'",
            )
        },
        "page": ids("", max_results=2, order_by=["timestamp_ms ASC"]),
    }
    told["deleted"] = client.delete_traces(experiment, trace_ids=[lonely.info.trace_id])
    told["left"] = ids("")
    return told


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
