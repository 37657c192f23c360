"""``--attack`` end to end on digits through the real command line."""

import json

import pytest

from workbench.store.mlflow_store import Store

ADAPT = (
    "adapt", "--source", "digits", "--target", "digits-3v8", "--schedule", "one-cycle",
    "--source-epochs", 1, "--epochs", 1, "--batch-size", 64, "--protocols", "pfa-fine",
    "--seeds", 2, "--stages", "clustered",
)  # fmt: skip


def test_attacks_are_measured_once_recorded_and_shown(run_cli):
    status, out, err = run_cli(*ADAPT, "--attack", "8,32", "--json")
    assert status == 0, err
    result = json.loads(out)
    assert result["settings"]["attack"] == ["8", "32"]
    for row in result["protocols"]:
        assert list(row["attacks"]) == ["fgsm_8", "pgd_8", "fgsm_32", "pgd_32"]
        for name, shares in row["attacks"].items():
            metrics = [Store(None).run(run_id).metrics for run_id in row["run_ids"]]
            assert shares == [each[name] for each in metrics]
            assert all(0 <= share <= clean for share, clean in
                       zip(shares, row["accuracies"], strict=True))  # fmt: skip
        assert row["attacks"]["pgd_32"] < row["attacks"]["fgsm_8"]
    # Only the best seed keeps its weights, as without attacks.
    kept = [run.tags["workbench.weights"] for run in
            (Store(None).run(each) for each in result["protocols"][0]["run_ids"])]  # fmt: skip
    assert sorted(kept) == ["dropped", "kept"]
    assert all(row["weights"] for row in result["protocols"] + result["stages"])
    assert not any("attacks" in row for row in result["stages"])

    again = json.loads(run_cli(*ADAPT, "--attack", "8,32", "--json")[1])
    assert again == result | {"trained": 0}
    status, out, _ = run_cli("compare", "--json")
    rows = {row["protocol"]: row for row in json.loads(out)}
    assert rows["pfa-fine"]["pgd_32"] == result["protocols"][0]["attacks"]["pgd_32"]
    status, out, err = run_cli(
        "compare", "--columns", "protocol,pgd_32,pgd_5", "--sort", "pgd_32", "--where", "fgsm_8>1%"
    )
    assert status == 0, err
    assert "PGD 32/255" in out
    # The dropped seed cannot be attacked any more: one of two is reported.
    status, out, err = run_cli(*ADAPT, "--attack", "16")
    assert status == 0, err
    assert "nothing to train" in err
    assert "Accuracy under attack" in out
    assert "FGSM 16/255" in out
    assert "(1 of 2 seeds)" in out


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--attack", "2,x"], "--attack x: is not a whole number of 1 to 255"),
        (["--attack", "2,2"], "--attack"),
        (
            ["--attack", "2", "--stages", "", "--keep-weights", "none"],
            "there would be no network to attack",
        ),
    ],
)
def test_a_wrong_value_is_one_line(run_cli, tmp_path, options, line):
    status, _, err = run_cli(*ADAPT, *options)
    assert status == 2
    assert line in err
    assert err.count("\n") == 1
    assert not (tmp_path / "mlruns").exists()
