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


def test_spurious_minima_have_the_keys_of_the_interface(run):
    command = ("theory", "spurious-minima", "--k", "8", "--n", "8", "--runs", "40", "--seed", "1")
    document = run(*command, "--json").document
    keys = ("spurious_percent", "mean_least_eigenvalue", "mean_objective", "runs", "converged")
    assert tuple(document)[: len(keys)] == keys
    assert document["runs"] == document["converged"] == 40
    assert document["mean_objective"] == pytest.approx(0.0215, abs=1e-3)


def test_a_check_that_does_not_hold_is_a_clean_negative(run):
    result = run("theory", "auer-1996", "--n", "4", "--d", "1", "--ratio", "1.5", "--json")
    assert result.status == 3
    assert result.document["minima"] < result.document["promised"]


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (("permutation", "--seed", 4), "swap_bound"),
        (("prop-2.2", "--widths", "2,2,2"), "path_height"),
        (("prop-2.2-ridge", "--widths", "2,2,2"), "path_height"),
        (("prop-2.3", "--angles", 4, "--pairs", 10), "sharp_lower_bound_holds"),
        (("theorem-2.4", "--units", 6, "--examples", 40, "--terms", 3), "epsilon"),
        (("orbits",), "relu_orbit_dimension"),
        (("two-gaussians", "--examples", 60), "every_path_over_variance"),
        (("tessellation", "--examples", 60), "every_path_reaches"),
        (("mixture-of-teachers", "--examples", 60), "losses"),
    ],
)
def test_every_construction_is_a_command(run, arguments, key):
    result = run("theory", *arguments, "--json")
    assert result.status == 0
    assert result.document[key]


def test_a_claim_that_does_not_hold_is_a_clean_negative(run):
    result = run("theory", "mixture-of-teachers", "--no-mirrored", "--seed", 1)
    assert result.status == 3
    assert "Not two different local minima" in result.out


@pytest.mark.parametrize(
    "arguments",
    [
        ("prop-9.9",),
        ("prop-2.2", "--widths", "3,2,3"),
        ("prop-2.2", "--share", "nan"),
        ("prop-2.2-ridge", "--ridge", "-1"),
        ("prop-2.3", "--distribution", "cauchy"),
        ("theorem-2.4", "--kappa", "0"),
        ("mixture-of-teachers", "--weight", "2"),
        ("prop-2.1", "--landscape", "plain"),
        ("prop-2.1", "--resolution", "two"),
        ("prop-2.1", "--picture", "a.txt"),
        ("spurious-minima", "--k", "5", "--n", "4"),
        ("auer-1996", "--n", "2", "--d", "3"),
        ("kawaguchi-2.3", "--outputs", "9"),
        ("karhadkar-2023", "--examples", "0"),
        ("ntk-distance", "--max-width", "20"),
    ],
)
def test_bad_input_is_one_sentence(run, arguments):
    run("theory", *arguments).refuses()
