import pytest

from align2llava.pipeline.curation.figures.spend import (
    MAX_STEPS,
    PaceStep,
    StageTime,
    coarser,
    service_paces,
    stage_times,
)


def ended(stage: str, seconds: float, num_records: int) -> dict[str, object]:
    return {
        "event": "stage_finished",
        "stage": stage,
        "seconds": seconds,
        "num_records": num_records,
    }


def test_seconds_of_all_starts_add_up_in_the_order_of_stages():
    events = [
        {"event": "run_started"},
        ended("question", 4.0, 100),
        {"event": "run_started", "resumed": True},
        ended("question", 0.5, 100),
        ended("answer", 2.0, 30),
    ]
    assert stage_times(events) == [
        StageTime(stage="question", seconds=4.5, num_records=100),
        StageTime(stage="answer", seconds=2.0, num_records=30),
    ]


def test_run_without_events_has_no_times():
    assert stage_times([]) == []


def answered(elapsed_s: float, num_items: int, service: str = "question-reward") -> dict:
    return {
        "event": "answered",
        "service": service,
        "elapsed_s": elapsed_s,
        "num_items": num_items,
        "num_calls": 2,
        "device_ms": 500.0,
    }


def test_pace_is_items_over_the_time_since_the_event_before():
    (pace,) = service_paces([answered(2.0, 100), answered(4.0, 300)])
    assert [(step.start_s, step.end_s, step.rate) for step in pace.steps] == [
        (0.0, 2.0, 50.0),
        (2.0, 4.0, 150.0),
    ]
    assert (pace.num_items, pace.num_calls, pace.seconds, pace.device_s) == (400, 4, 4.0, 1.0)


@pytest.mark.parametrize("second", [1.0, 9.0], ids=["shorter", "longer"])
def test_starts_of_a_run_follow_each_other(second: float):
    events = [{"event": "run_started"}, answered(4.0, 100), {"event": "run_started"}]
    (pace,) = service_paces([*events, answered(second, 50)])
    assert pace.seconds == 4.0 + second
    assert pace.steps[-1].start_s == 4.0
    assert pace.steps[-1].rate == 50 / second


def test_each_service_has_a_pace_of_its_own():
    paces = service_paces([answered(1.0, 10), answered(1.0, 30, "inner-llm"), answered(2.0, 10)])
    assert [(one.service, one.num_items) for one in paces] == [
        ("question-reward", 20),
        ("inner-llm", 30),
    ]


def test_long_runs_are_shown_in_few_steps_that_hold_everything():
    (pace,) = service_paces([answered(float(second), second) for second in range(1, 1000)])
    assert MAX_STEPS // 2 < len(pace.steps) <= MAX_STEPS
    assert sum(step.num_items for step in pace.steps) == sum(range(1000))
    ends = [step.end_s for step in pace.steps]
    assert [step.start_s for step in pace.steps] == [0.0, *ends[:-1]]


def test_what_came_in_an_instant_is_no_rate_of_its_own():
    (pace,) = service_paces([answered(2.0, 100), answered(4.0, 100), answered(4.01, 60)])
    assert [round(step.rate) for step in pace.steps] == [50, 80]
    assert sum(step.num_items for step in pace.steps) == pace.num_items == 260


def test_run_of_an_instant_has_no_rate():
    step = PaceStep(start_s=1.0, end_s=1.0, num_items=5, device_s=0.0)
    (joined,) = coarser([step, step])
    assert (joined.num_items, joined.rate) == (10, 0.0)
    assert service_paces([{"event": "run_started"}]) == []
