"""Which acknowledgements a batch needs, while its deliveries are in order and while some are late."""

from genlock.consumers.commands.settlement import LateDeliveries


def late(*tags: int) -> LateDeliveries:
    deliveries = LateDeliveries()
    deliveries.add(tags)
    return deliveries


def test_a_batch_in_order_is_acknowledged_by_its_last_delivery() -> None:
    assert list(late().acknowledgements([1, 2, 3])) == [(3, True)]


def test_each_delivery_is_acknowledged_by_itself_while_another_is_late() -> None:
    deliveries = late(2)
    assert list(deliveries.acknowledgements([1, 3])) == [(1, False), (3, False)]
    assert list(deliveries.acknowledgements([4])) == [(4, False)]
    assert len(deliveries) == 1


def test_a_batch_with_the_last_late_delivery_is_acknowledged_at_once() -> None:
    assert list(late(2, 5).acknowledgements([8, 5])) == [(8, False), (5, False)]
    assert list(late(5).acknowledgements([8, 5])) == [(8, True)]


def test_a_delivery_that_was_acknowledged_by_itself_is_late_no_longer() -> None:
    deliveries = late(2)
    deliveries.remove(2)
    deliveries.remove(3)
    assert list(deliveries.acknowledgements([3, 4])) == [(4, True)]


def test_nothing_is_acknowledged_of_a_batch_that_is_held_as_a_whole() -> None:
    assert list(late(1, 2).acknowledgements([])) == []
