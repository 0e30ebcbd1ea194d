"""The bytes that a consumer holds, and the deliveries for which there was no room."""

from genlock.consumers.commands.room import Room


def test_messages_are_held_up_to_the_limit_and_one_of_any_size_alone() -> None:
    room = Room(100)
    assert room.has(1_000)
    room.take(1, 60)
    assert room.has(40)
    assert not room.has(41)
    room.leave([1])
    assert room.has(1_000)


def test_refused_deliveries_come_back_in_their_order_as_room_is_left() -> None:
    room = Room(100)
    room.take(1, 60)
    room.take(2, 30)
    room.refuse(3, 50)
    room.refuse(4, 20)
    room.refuse(5, 40)
    assert room.returned(everything=False) == []
    room.leave([1])
    assert room.returned(everything=False) == [3, 4]
    assert room.lacking == 1


def test_the_first_refused_delivery_comes_back_to_a_consumer_that_holds_nothing() -> None:
    room = Room(100)
    room.take(1, 60)
    room.refuse(2, 1_000)
    room.leave([1])
    assert room.returned(everything=False) == [2]


def test_all_refused_deliveries_go_back_where_none_are_delivered() -> None:
    room = Room(100)
    room.take(1, 60)
    room.refuse(2, 1_000)
    room.refuse(3, 1_000)
    assert room.returned(everything=True) == [2, 3]
    assert room.lacking == 0


def test_late_acknowledgement_of_an_unknown_tag_changes_nothing() -> None:
    room = Room(100)
    room.take(1, 60)
    room.leave([7])
    assert not room.has(41)
