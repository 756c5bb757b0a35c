import pytest

from thalweg.study import Store, atlas_levels


def test_an_atlas_is_printed_drawn_and_exported(run, tmp_path):
    arguments = (
        "atlas", "--task", "quadratic-small", "--models", "3", "--levels", "0.1,0.05",
    )  # fmt: skip
    result = run(*arguments, "--json")
    assert result.status == 0
    document = result.document
    assert [count["level"] for count in document["components"]] == [0.05, 0.1]
    assert document["components"][0]["at_most"] == 1
    assert len(document["links"]) == 2
    assert all(link["certificate"] == "proved" for link in document["links"])
    assert max(map(max, document["upper"])) <= 0.05
    folder = tmp_path / "atlas"
    assert (folder / "disconnectivity.png").stat().st_size > 1000
    assert len((folder / "links.csv").read_text().splitlines()) == 3
    assert len((folder / "min.data").read_text().splitlines()) == 3
    assert len((folder / "ts.data").read_text().splitlines()) == 2
    assert "graphml" in (folder / "graph.graphml").read_text()
    assert run("report", "studies.db", "--out", "atlas.html").status == 0
    page = (tmp_path / "atlas.html").read_text()
    assert "3 minima; at loss on test of 0.05 they lie in at most 1 component." in page
    assert "Disconnectivity graph" in page
    # Components are counted at every level asked for, also where no search was needed.
    store = Store("studies.db", create=False)
    assert atlas_levels(store, "quadratic-small") == (0.05, 0.1)
    store.close()
    assert page.count("(2 rows)") == 2  # of components, and of searches
    run("report", "studies.db", "--atlas", "none", "--out", "b.html").refuses("quadratic-small")
    again = run(*arguments)
    assert again.status == 0
    assert "at most 1 component" in again.out


@pytest.mark.parametrize(
    "arguments",
    [
        ("--levels", "0.1"),
        ("--levels", "0.1", "--task", "nothing"),
        ("--levels", "a,b", "--task", "quadratic"),
        ("--levels", "-1", "--task", "quadratic"),
        ("--levels", "0.1", "--task", "quadratic", "--models", "1"),
        ("--levels", "0.1", "--task", "quadratic", "--store", "mysql://there"),
    ],
)
def test_bad_input_is_one_sentence(run, arguments):
    run("atlas", *arguments).refuses()
