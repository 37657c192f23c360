"""Options that change how networks are trained, through the real command line."""

import json

import pytest

from workbench.store.mlflow_store import Store

ADAPT = (
    "adapt", "--source", "digits", "--target", "digits-0v1", "--schedule", "one-cycle",
    "--source-epochs", 1, "--epochs", 2, "--protocols", "full-fine,pfa-fine", "--json",
)  # fmt: skip
ALL = ("--ema", 0.9, "--mixup", 0.2, "--cutmix", 1, "--label-smoothing", 0.1,
       "--orthogonality", 0.01, "--scale-dropout")  # fmt: skip


def test_all_options_together_are_recorded_found_again_and_repeated(run_cli):
    plain = json.loads(run_cli(*ADAPT)[1])
    status, out, err = run_cli(*ADAPT, *ALL)
    assert status == 0, err
    result = json.loads(out)
    full, small, source = result["protocols"]
    assert [row["run_ids"] for row in plain["protocols"]][:2] != [full["run_ids"], small["run_ids"]]
    assert source["run_ids"] == plain["protocols"][2]["run_ids"]  # it is not trained
    params = Store(None).run(small["run_ids"][0]).params
    wanted = {"ema": "0.9", "mixup": "0.2", "cutmix": "1.0", "label_smoothing": "0.1",
              "orthogonality": "0.01"}  # fmt: skip
    assert wanted.items() <= params.items()
    assert params["scale_dropout"] == "True"
    assert "scale_dropout" not in Store(None).run(full["run_ids"][0]).params
    assert not wanted.keys() & Store(None).run(plain["protocols"][0]["run_ids"][0]).params.keys()

    status, out, err = run_cli(*ADAPT, *ALL)
    assert "nothing to train" in err
    assert json.loads(out)["protocols"] == result["protocols"]
    _, out, _ = run_cli(*ADAPT, *ALL, "--dry-run")
    assert {step["state"] for step in json.loads(out)["steps"]} == {"done"}
    for run_id in (result["run_id"], full["run_ids"][0], small["run_ids"][0]):
        status, out, err = run_cli("adapt", "--like", run_id, "--dry-run", "--json")
        assert status == 0, err
        assert {step["state"] for step in json.loads(out)["steps"]} == {"done"}


@pytest.mark.slow
def test_a_full_network_is_not_trained_again_for_other_dropout_rates(run_cli):
    plain = json.loads(run_cli(*ADAPT)[1])["protocols"]
    scaled = json.loads(run_cli(*ADAPT, "--scale-dropout")[1])["protocols"]
    assert plain[0]["run_ids"] == scaled[0]["run_ids"]
    assert plain[1]["run_ids"] != scaled[1]["run_ids"]


def test_a_preview_names_the_options(run_cli):
    _, out, _ = run_cli(*ADAPT[:-1], *ALL, "--dry-run")
    assert (
        "ema 0.9, label smoothing 0.1, mixup 0.2, cutmix 1, scale dropout, orthogonality 0.01"
        in out
    )


def test_a_source_is_trained_with_them(run_cli):
    command = ("train", "--source", "digits", "--epochs", 1, "--out", "source.safetensors")
    status, _, err = run_cli(*command, *ALL[:-1])
    assert status == 0, err
    (run,) = Store(None).runs(list(Store(None).experiments().values()), {})
    wanted = {"ema": "0.9", "mixup": "0.2", "cutmix": "1.0", "orthogonality": "0.01"}
    assert wanted.items() <= run.params.items()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--ema", 1], "--ema 1 is not within [0, 1); try 0.99"),
        (["--ema", "nan"], "--ema nan is not within [0, 1)"),
        (["--label-smoothing", -0.1], "--label-smoothing -0.1 is not within [0, 1); try 0.1"),
        (["--mixup", -1], "--mixup -1 is not within [0, 100]; try 0.2"),
        (["--orthogonality", -1], "--orthogonality -1 is not within [0, 100]; try 0.01"),
        (["--cutmix", "inf"], "--cutmix inf is not within [0, 100]; try 1"),
        (
            ["--protocols", "full-fine", "--scale-dropout"],
            "--scale-dropout has no effect without a compressed network",
        ),
        (
            ["--model", "resnet56", "--scale-dropout"],
            "--scale-dropout has no effect: resnet56 has no dropout layers",
        ),
    ],
)
def test_a_wrong_value_is_one_line(run_cli, options, line):
    status, _, err = run_cli(*ADAPT, *options)
    assert status == 2
    assert line in err
    assert err.count("\n") == 1
