"""--method dalr, dalr-en, svd and fga through the real command line, on digits."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import workbench
from workbench.adaptation.plans.run_keys import factor_parts
from workbench.compression.factorisation.layers import FactorisedLayer
from workbench.compression.recipes.recipes import Recipe
from workbench.models.factors import Factor
from workbench.models.weight_files import read_card
from workbench.store.mlflow_store import Store

TARGET = ("--source", "digits", "--target", "digits-3v8", "--weights", "source.safetensors")
TRAIN = ("--epochs", 1, "--schedule", "one-cycle", "--batch-size", 64)
ADAPT = ("adapt", *TARGET, *TRAIN, "--method", "dalr", "--flops", 0.4)
BOTH = ("--protocols", "pfa-fine,pfa-scratch,pfa-source", "--json")


@pytest.fixture
def adapted(at_home, run_cli):
    """The result of dalr; from the store after the first time."""
    status, out, err = run_cli(*ADAPT, *BOTH)
    assert status == 0, err
    return json.loads(out), err


def row_of(result, protocol):
    return next(row for row in result["protocols"] if row["protocol"] == protocol)


def weights_of(result, protocol):
    run = Store().run(row_of(result, protocol)["run_ids"][0])
    return Store().fetch(run, "weights.safetensors")


def test_the_networks_are_smaller_and_are_found_again(adapted, run_cli):
    result, first = adapted
    rows = {row["protocol"]: row for row in result["protocols"]}
    assert set(rows) == {"pfa-fine", "pfa-scratch", "pfa-source", "source"}
    for name in ("pfa-fine", "pfa-scratch", "pfa-source"):
        assert rows[name]["flops"] <= 0.4 * rows["source"]["flops"]
    # Before training, the projection changes the outputs of the target's images little.
    loss = rows["source"]["accuracy_mean"] - rows["pfa-source"]["accuracy_mean"]
    assert loss < 0.15
    assert "--flops 0.4: dalr at a factor of" in first
    assert {row["kind"] for row in result["factors"]} == {"low-rank"}
    status, _, err = run_cli(*ADAPT, *BOTH)
    assert status == 0
    assert "nothing to train" in err


def test_a_weight_file_is_enough_to_build_the_network(adapted):
    result, _ = adapted
    image = torch.rand(4, 1, 8, 8)
    for name in ("pfa-fine", "pfa-scratch"):
        path = weights_of(result, name)
        network = workbench.load_network(path)
        assert sum(p.numel() for p in network.parameters()) == row_of(result, name)["parameters"]
        card = read_card(path)
        assert [factor.plain() for factor in card.factors] == result["factors"]
        layer = network.get_submodule(card.factors[0].layer)
        assert isinstance(layer, FactorisedLayer)
        with torch.no_grad():
            assert torch.equal(network(image), workbench.load_network(path)(image))


def test_pfa_source_is_the_projection_of_the_source(adapted):
    """The second layer's columns are orthonormal, and the first layer is their product with W."""
    result, _ = adapted
    source, small = load_file("source.safetensors"), load_file(weights_of(result, "pfa-source"))
    for factor in result["factors"]:
        first, second = (small[f"{factor['layer']}.{part}.weight"] for part in ("first", "second"))
        basis = second.flatten(1).double()
        torch.testing.assert_close(
            basis.T @ basis, torch.eye(factor["rank"]).double(), atol=1e-5, rtol=0
        )
        weight = source[f"{factor['layer']}.weight"].flatten(1).double()
        torch.testing.assert_close(first.flatten(1).double(), basis.T @ weight, atol=1e-4, rtol=0)


def test_note_report_and_model_card_say_the_ranks(adapted, run_cli):
    result, _ = adapted
    store = Store()
    parent = store.run(result["run_id"])
    assert (
        "All filters kept; rank of the factorised layers: features."
        in parent.tags["mlflow.note.content"]
    )
    page = store.fetch(parent, "report.html").read_text()
    assert "Factorised layers" in page
    assert "earlier version" not in page
    run_id = row_of(result, "pfa-fine")["run_ids"][0]
    status, _, err = run_cli("export", run_id, "--format", "onnx", "--out", "small.onnx")
    assert status == 0, err
    assert "factorised layers" in Path("small.onnx.md").read_text()


def test_svd_and_fga_come_to_a_budget_from_weights_alone(at_home, run_cli):
    for method, kind in (("svd", "low-rank"), ("fga", "grouped")):
        analyze = ("analyze", *TARGET, "--method", method, "--footprint", 0.5, "--json")
        status, out, err = run_cli(*analyze)
        assert status == 0, err
        found = json.loads(out)
        assert found["footprint"] <= 0.5
        assert {row["kind"] for row in found["factors"]} == {kind}
    status, out, err = run_cli("analyze", *TARGET, "--method", "svd", "--energy", 0.3,
                               "--skip", "features.1*")  # fmt: skip
    assert status == 0, err
    assert "weights alone" in out
    assert "named by --skip features.1*" in out


def test_bench_shows_the_methods_side_by_side(adapted, run_cli):
    status, _, err = run_cli(
        "bench", *TARGET, *TRAIN, "--methods", "dalr,svd,fga", "--flops", 0.4, "--results", "out"
    )
    assert status == 0, err
    page = next(Path("out").glob("bench-*.md")).read_text()
    for method in ("dalr", "svd", "fga"):
        assert f"| {method} |" in page


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--compensate"], "--compensate: it corrects for removed filters"),
        (["--steps", "2"], "--steps 2: iterative PFA removes filters"),
        (["--multiple-of", "8"], "--multiple-of 8: it rounds numbers of filters"),
        (["--selection", "fp"], "--selection fp: --method dalr keeps all filters"),
        (["--recipe", "uniform"], "--recipe uniform: --method dalr decides about the layers"),
        (["--min-share", "0.1"], "--min-share 0.1: it is a share of the filters"),
        (["--scale-dropout"], "--scale-dropout: --method dalr keeps all filters"),
        (["--energy", "0.9"], "--energy is an option of --method pfa-en, dalr-en, svd, fga"),
        (["--skip", "features.26"], "--skip features.26: is the classifier"),
        (["--flops", "0.001"], "--flops 0.001: dalr makes no network that small"),
    ],
)
def test_options_that_do_not_apply_are_one_line(at_home, run_cli, options, line):
    status, _, err = run_cli("adapt", *TARGET, "--method", "dalr", "--quiet", *options)
    assert status == 2
    assert line in err
    assert [each for each in err.splitlines() if each.startswith("workbench: ")] == (
        err.splitlines()[-1:]
    )


def test_other_commands_reject_factorised_recipes(adapted, run_cli):
    result, _ = adapted
    status, _, err = run_cli("analyze", *TARGET, "--method", "svd", "--out", "r.yaml")
    assert status == 2
    assert "--out r.yaml: a recipe file says which filters stay" in err
    assert not Path("r.yaml").exists()
    file = Store().fetch(Store().run(result["run_id"]), "recipe.json")
    status, _, err = run_cli("analyze", *TARGET, "--recipe-file", file)
    assert status == 2
    assert "its layers are factorised and keep all filters" in err
    status, _, err = run_cli("shrink", *TARGET, "--recipes", "svd")
    assert status == 2
    assert "--recipes svd: keeps all filters" in err


def test_keys_contain_factors_and_where_inherited_weights_come_from():
    factor = Factor("features.3", "low-rank", 4, bias=True)
    dalr, energy, svd = (
        Recipe(name, 1, (), factors=(factor,)) for name in ("dalr", "dalr-en", "svd")
    )
    assert factor_parts(Recipe("pfa-kl", 1, ()), inherited=True) == {}
    assert factor_parts(dalr, inherited=True) == factor_parts(energy, inherited=True)
    assert factor_parts(dalr, inherited=True) != factor_parts(svd, inherited=True)
    # With random weights, the same structure is the same training.
    assert factor_parts(dalr, inherited=False) == factor_parts(svd, inherited=False)
