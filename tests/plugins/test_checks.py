"""Whatever a plugin module holds, the checks accept it or raise one kind of error."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cryorepro.plugins.checks import check_api, check_descriptors
from cryorepro.plugins.errors import ContractError
from cryorepro.plugins.types import API_VERSION, KINDS, Probe

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(object())
    | st.just(Probe) | st.builds(Probe, st.just("p"), st.just("s"), st.just("a:b"), requires=st.none()),
    lambda part: st.lists(part) | st.dictionaries(st.text(), part),
)  # fmt: skip


@given(st.sampled_from(sorted(KINDS)), ANYTHING)
def test_whatever_a_hook_gives_is_accepted_or_a_contract_error(kind: str, given_back: object) -> None:
    try:
        accepted = check_descriptors(kind, given_back)
    except ContractError as error:
        assert str(error)
    else:
        assert accepted == []


@given(ANYTHING)
def test_whatever_a_module_declares_as_api_is_accepted_or_a_contract_error(declared: object) -> None:
    module = type("Module", (), {"CRYOREPRO_API": declared})
    try:
        assert check_api(module).split(".")[0] == API_VERSION.split(".")[0]
    except ContractError as error:
        assert str(error)
