"""The forms of `commit_batch`: none leaves out what a batch writes."""

import re

import pytest

from core.postgres.forms import Form, form_of, preparation
from core.postgres.statements import prepared

NOTHING = dict.fromkeys(
    ("opened", "changed", "state_started", "flows", "orders_intended", "orders_changed", "proposals", "fills"), ()
)
EMPTY = r"^(\w+) AS \(SELECT WHERE FALSE\)"


def left_out(form: Form) -> set[str]:
    return set(re.findall(EMPTY, preparation(form), re.MULTILINE))


@pytest.mark.parametrize(
    "written, form",
    [
        ([], Form.BARS),
        (["opened"], Form.TRADES),
        (["changed"], Form.TRADES),
        (["opened", "changed"], Form.TRADES),
        (["state_started"], Form.WHOLE),
        (["flows"], Form.WHOLE),
        (["orders_intended"], Form.WHOLE),
        (["changed", "orders_changed", "fills"], Form.WHOLE),
        (["proposals"], Form.WHOLE),
        (["fills"], Form.WHOLE),
    ],
)
def test_a_batch_goes_in_the_narrowest_form_that_writes_all_of_it(written, form):
    assert form_of({**NOTHING, **{name: [{}] for name in written}}) is form


def test_every_form_has_the_fence_the_claims_and_the_journal_and_the_whole_one_has_all():
    assert left_out(Form.WHOLE) == set()
    assert left_out(Form.TRADES) == {"state_started", "flowed", "intended", "reported", "proposed", "filled"}
    assert left_out(Form.BARS) == left_out(Form.TRADES) | {"opened", "changed"}


@pytest.mark.parametrize("form", Form)
def test_a_form_differs_from_the_whole_statement_in_nothing_but_what_it_leaves_out(form):
    whole, narrow = preparation(Form.WHOLE).split("\n\n"), preparation(form).split("\n\n")
    assert narrow[0].startswith(f"PREPARE {form} (JSONB) AS ")
    whole[0], narrow[0] = (parts[0].partition(" AS ")[2] for parts in (whole, narrow))
    differing = [part for part, other in zip(whole, narrow, strict=True) if part != other]
    assert {re.search(r"^(\w+) AS \(", part, re.MULTILINE)[1] for part in differing} == left_out(form)


def test_a_part_that_a_statement_does_not_have_cannot_be_left_out():
    with pytest.raises(ValueError, match="commit_batch has no part sold"):
        prepared("commit_batch", "JSONB", called="other", without=("sold",))
