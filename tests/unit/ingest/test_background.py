"""Work on other threads: in order, no further ahead than it may be, and no error lost."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event, get_ident

import pytest

from fleetopt.ingest.background import Background, in_order, one_ahead


def test_results_come_in_order_and_tasks_are_taken_no_further_than_ahead():
    taken = []

    def tasks():
        for number in range(10):
            taken.append(number)
            yield partial(int, number)

    with ThreadPoolExecutor(2) as pool:
        results = in_order(pool, tasks(), ahead=3)
        assert next(results) == 0
        assert taken == [0, 1, 2, 3]
        assert list(results) == list(range(1, 10))


def test_a_result_that_was_given_is_not_held():
    with ThreadPoolExecutor(1) as pool:
        results = in_order(pool, [set, set], ahead=1)
        held = weakref.ref(next(results))
        gc.collect()
        assert held() is None
        results.close()


def test_the_next_item_is_made_while_one_is_looked_at():
    is_second_made = Event()

    def items():
        yield get_ident()
        is_second_made.set()
        yield get_ident()

    found = one_ahead(items())
    first = next(found)
    assert is_second_made.wait(10)
    assert [*found] == [first]
    assert first != get_ident()


def test_an_error_comes_at_its_place():
    def items():
        yield 1
        raise OSError("disk")

    found = one_ahead(items())
    assert next(found) == 1
    with pytest.raises(OSError, match="disk"):
        next(found)


def test_a_task_in_the_background_waits_for_the_one_before_and_its_error_is_raised_once():
    done = []

    def fail():
        done.append("failed")
        raise OSError("disk")

    background = Background()
    background.run(partial(done.append, "first"))
    background.run(fail)
    with pytest.raises(OSError, match="disk"):
        background.run(partial(done.append, "never"))
    background.wait()
    background.close()
    assert done == ["first", "failed"]
