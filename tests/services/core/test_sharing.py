import pytest

from align2llava.services.core.sharing import SharedClock


def test_charges_of_overlapping_users_add_up_to_the_busy_time():
    now = [0.0]
    clock = SharedClock(now_s=lambda: now[0])
    first = clock.enter()
    now[0] = 1.0
    second = clock.enter()
    now[0] = 3.0
    charge_of_first = clock.leave_ms(first)
    now[0] = 4.0
    charge_of_second = clock.leave_ms(second)
    now[0] = 9.0
    third = clock.enter()
    now[0] = 9.5
    assert charge_of_first == pytest.approx(2000)
    assert charge_of_second == pytest.approx(2000)
    assert clock.leave_ms(third) == pytest.approx(500)
