"""Taking a guard away: for the time of the context, in every module that imports it, and never in vain."""

import re

import pytest

from genlock.schemas.decode import Command, Undecodable, decode
from genlock.service.deciding import decide, store
from genlock.service.deciding import table as tables
from genlock.service.ledger import ledger
from tests.guards.removal import GUARDS, Edit, without
from tests.support.factories import envelope, json_bytes


@pytest.mark.parametrize("guard", GUARDS)
def test_text_of_a_guard_is_in_the_product_and_it_is_noticed_when_nothing_comes_past_it(guard: str) -> None:
    with pytest.raises(AssertionError, match="nothing came past"), without(guard):
        pass


def test_text_that_is_there_no_longer_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GUARDS, "moved", (Edit("service/ledger/sql/find_decided.sql", "WHERE key ="),))
    with pytest.raises(AssertionError, match=re.escape("find_decided.sql has no longer")), without("moved"):
        pass


def test_statement_is_without_its_guard_in_all_modules_until_the_context_ends() -> None:
    def texts() -> set[str]:
        return {vars(module)["statement"]("lock_documents") for module in (decide, ledger, store, tables)}

    with without("one order of row locks"):
        assert ["ORDER BY id DESC" in text for text in texts()] == [True]
    assert ["ORDER BY id DESC" in text for text in texts()] == [False]


def test_function_is_without_its_guard_until_the_context_ends() -> None:
    body = json_bytes(envelope("document.put", "x", {"expected_generation": None, "body": {"a": "HERE"}}))
    body = body.replace(b"HERE", b"\xff")
    with without("strict UTF-8"):
        assert isinstance(decode(body, "document.put"), Command)
    assert isinstance(decode(body, "document.put"), Undecodable)
