import pytest

from thalweg.theory import statements


def test_the_list_shows_every_statement_with_its_claim(run):
    listed = run("theory", "--list", "--json").document["statements"]
    assert [each["name"] for each in listed] == [each.name for each in statements()]
    assert all(each["claim"] and each["source"] for each in listed)
    assert run("theory", "--list").status == 0


def test_a_check_prints_its_values_and_draws(run, tmp_path):
    result = run(
        "theory", "prop-2.1", "--landscape", "banana", "--resolution", "101",
        "--picture", "a.png", "--json",
    )  # fmt: skip
    assert result.status == 0
    assert result.document["all_level_sets_connected"]
    assert (tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "arguments",
    [
        ("prop-9.9",),
        ("prop-2.1", "--landscape", "plain"),
        ("prop-2.1", "--resolution", "two"),
        ("prop-2.1", "--picture", "a.txt"),
    ],
)
def test_bad_input_is_one_sentence(run, arguments):
    run("theory", *arguments).refuses()
