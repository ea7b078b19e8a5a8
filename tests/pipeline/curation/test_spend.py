from pipeline.curation.spend import StageTime, stage_times


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
