"""Every error says what to do, and survives every wire it travels."""

import json

import pytest
from celery import Celery

from fntx_sessions.exceptions import ERRORS, Fatal, FntxError, NeedsSecond, Rejected, Retryable

FAMILIES = {"retryable": Retryable, "rejected": Rejected, "waiting": NeedsSecond, "fatal": Fatal}
backend = Celery(backend="cache+memory://", set_as_current=False).backend


def example(cls: type[FntxError]) -> FntxError:
    return cls(*(f"<{fact}>" for fact in cls.facts))


@pytest.mark.parametrize("cls", ERRORS.values(), ids=ERRORS)
def test_an_error_survives_json(cls):
    """`to_dict` is plain JSON and `from_dict` gives back the class, the facts and the sentence."""
    error = example(cls)
    back = FntxError.from_dict(json.loads(json.dumps(error.to_dict())))
    assert (type(back), back.args, str(back)) == (cls, error.args, str(error))


@pytest.mark.parametrize("cls", ERRORS.values(), ids=ERRORS)
def test_an_error_survives_celerys_result_backend(cls):
    """A raised error comes out of Celery's JSON backend as the same class with the same facts, not a bare Exception."""
    error = example(cls)
    stored = json.loads(json.dumps(backend.prepare_exception(error, serializer="json")))
    back = backend.exception_to_python(stored)
    assert (type(back), back.args, str(back)) == (cls, error.args, str(error))


@pytest.mark.parametrize("cls", ERRORS.values(), ids=ERRORS)
def test_the_sentence_holds_every_fact_it_names_and_the_family_is_that_of_the_tree(cls):
    """No sentence has a placeholder without a fact, and what is told on the wire is what the class tree says."""
    assert "{" not in str(example(cls))
    if cls is not FntxError:
        assert issubclass(cls, FAMILIES[cls.family])
        assert cls.__doc__


def test_an_error_of_a_newer_service_keeps_its_sentence():
    """A class this version does not know becomes a FntxError that says the same."""
    back = FntxError.from_dict({"error": "BrandNew", "family": "rejected", "facts": {"a": 1}, "message": "no, because"})
    assert (type(back), str(back)) == (FntxError, "no, because")


@pytest.mark.parametrize("cls", ERRORS.values(), ids=ERRORS)
def test_a_missing_fact_is_a_bug_that_shows(cls):
    """An error with a fact too many cannot be built."""
    with pytest.raises(TypeError, match="facts"):
        cls(*cls.facts, "one more")
